---@meta kafka_history.copas

--- [kafka_history](kafka_history.md) for copas' loop: the same functions and the same consumers,
--- but waiting yields to the loop, so that whatever else it has runs beside the reader. Handlers may yield.
---
--- Outside of copas' threads everything waits as in `kafka_history`: the thread stops.
--- [The host's page](../hosts/copas.md) has an example.

---@class kafka_history.copas: kafka_history
--- [Views](view.md) that wait in this loop: `view.new(config)`.
---@field view kafka_history.view
local history = {}

return history
