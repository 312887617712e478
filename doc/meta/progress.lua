---@meta kafka_history.progress

--- A progress bar for people, on a terminal; plain lines elsewhere; and a verdict. stdout is not touched: by default it
--- writes to stderr.
---
--- ```lua
--- local history = require "kafka_history"
--- local progress = require "kafka_history.progress"
--- local bar = progress.new()
--- local consumer = assert(history.new {
---   addresses = "localhost:9092", topics = "orders", on_event = function(event) bar:note(event) end,
--- })
--- consumer:read_history(handler, { stop_at = "caught_up", on_tick = bar, tick = 0.1 })
--- bar:finish(consumer)
--- ```

---@class kafka_history.progress
local progress = {}

--- Makes a bar.
---@param options? kafka_history.progress.options
---@return kafka_history.progress.bar bar
function progress.new(options) end

--- The verdict on what was read, in one line, as in
--- "caught up: 3 000 000 messages of 6 partitions in 2.0 s (1 503 006/s), 600 000 handled".
---@param p kafka_history.progress_report what `consumer:progress()` returned
---@param heading? string instead of "caught up", "failed at 40%" or "ended at 40%"
---@return string verdict
function progress.verdict(p, heading) end

--- What `new` takes.
---@class kafka_history.progress.options
--- Default: io.stderr. A file to write to.
---@field stream? file*
--- Default: found out for io.stdout and io.stderr, false for others. Whether it is a terminal; one with `TERM=dumb` is none.
--- `NO_COLOR` is respected.
---@field terminal? boolean
--- Default: 5 s. Between two plain lines.
---@field interval? number
--- Default: `COLUMNS`, or the terminal's, which is asked about every second, as it may be resized. How many columns it has.
---@field width? integer

--- A bar is called with the consumer, `bar(consumer)`, as often as you like, and draws what `consumer:progress()` says. It is
--- what `on_tick` takes.
---@class kafka_history.progress.bar
---@overload fun(consumer: kafka_history.consumer)
local bar = {}

--- Takes an event of `on_event`, and makes something of "stalled" ones: the bar then says what is waited for, until that partition
--- goes on.
---@param event kafka_history.event
function bar:note(event) end

--- Takes the bar away and writes the verdict on what the consumer has read; without one leaves the last state on a line of its
--- own. The bar may be used again after that.
---@param consumer? kafka_history.consumer
function bar:finish(consumer) end

return progress
