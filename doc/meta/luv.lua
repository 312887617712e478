---@meta kafka_history.luv

--- [kafka_history](kafka_history.md) for luv's loop (libuv), Neovim's included: the same functions and the same consumers,
--- but waiting yields to the loop, so that whatever else it has runs beside the reader. Handlers may yield.
---
--- Whatever waits must be called in a coroutine; elsewhere it raises an error that says so.
--- [The host's page](../hosts/luv.md) has an example.

---@class kafka_history.luv: kafka_history
--- [Views](view.md) that wait in this loop: `view.new(config)`.
---@field view kafka_history.view
local history = {}

return history
