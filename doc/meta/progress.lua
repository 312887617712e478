---@meta kafka_history.progress

--- A progress bar for people, on a terminal; plain lines elsewhere. stdout is not touched: by default it writes to stderr.
---
--- ```lua
--- local progress = require "kafka_history.progress"
--- local bar = progress.new()
--- consumer:read_history(handler, { stop_at = "caught_up", on_tick = bar, tick = 0.1 })
--- bar:finish(consumer)
--- ```

---@class kafka_history.progress
local progress = {}

--- Makes a bar.
---@param options? kafka_history.progress.options
---@return kafka_history.progress.bar bar
function progress.new(options) end

--- What `new` takes.
---@class kafka_history.progress.options
--- Default: io.stderr. A file to write to.
---@field stream? file*
--- Default: found out for io.stdout and io.stderr, false for others. Whether it is a terminal; one with `TERM=dumb` is none.
--- `NO_COLOR` is respected.
---@field terminal? boolean
--- Default: 5 s. Between two plain lines.
---@field interval? number
--- Default: the terminal's. How many columns it has.
---@field width? integer

--- A bar is called with the consumer, `bar(consumer)`, as often as you like, and draws what `consumer:progress()` says. It is
--- what `on_tick` takes.
---@class kafka_history.progress.bar
---@overload fun(consumer: kafka_history.consumer)
local bar = {}

--- Leaves the last state on a line of its own, drawn anew where the consumer is given. The bar may be used again after that.
---@param consumer? kafka_history.consumer
function bar:finish(consumer) end

return progress
