---@meta kafka_history.view

--- The latest value of each key of a topic, held in C and kept live: a table that is built from the history without a Lua
--- value for a message that nobody looks at.
---
--- ```lua
--- local view = assert(require "kafka_history.view".new { addresses = "localhost:9092", topics = "orders" })
--- assert(view:read { stop_at = "caught_up" })
--- print(view:get "a", #view)
--- view:close()
--- ```
---
--- It can be read while it is being built. A tombstone removes its key; messages without a key are not kept. With one topic a
--- key is enough; with several each question names the topic, and one that does not raises. In a group a view has one topic.
--- [A page](../view.md) says what is seen when.
---
--- Methods that fail return nil, a message and a code as a [consumer's](consumer.md). `require "kafka_history.view"` blocks; in
--- an event loop `require "kafka_history.cqueues".view` (`.luv`, `.copas`, `.resty`) is the same and yields to the loop.

---@class kafka_history.view
local module = {}

--- Makes a view: the [configuration](../configuration.md) is a consumer's, and so are the errors. In a group
--- `from_beginning` is true unless it is given: what others have committed is in none of this view's keys.
---@param config kafka_history.config
---@return kafka_history.view.object? view
---@return string? err
---@return string? code
function module.new(config) end

--- The same for the module of an event loop: what is the field `view` of `kafka_history.cqueues` and its like.
---@param module kafka_history what `history.with_host` returned
---@return kafka_history.view view
function module.over(module) end

---@class kafka_history.view.object
---@operator len: integer
local view = {}

--- Reads, as `consumer:read_history` does, without a handler: returns true when it stopped as `stop_at` says; else nil, a
--- message and a code.
---@param opts? kafka_history.view.read_options
---@return true? stopped
---@return string? err
---@return string? code
function view:read(opts) end

--- What `read` takes: as in `consumer:read_history`.
---@class kafka_history.view.read_options
--- Default: none, live messages follow.
---@field stop_at? "caught_up"
--- Default: none. Seconds for the whole call.
---@field timeout? number
--- Default: 500. How many messages are taken in at once.
---@field batch? integer
--- Default: none. Called with the view about every `tick` seconds.
---@field on_tick? fun(view: kafka_history.view.object)
--- Default: 1 s.
---@field tick? number
--- Default: none. The bytes that the kept messages may take; more end the call with `MAX_BYTES`.
---@field max_bytes? integer

--- One turn that never blocks: takes in at most a batch of messages that are there. Returns how many, and whether there is
--- more to do at once; nil, a message and a code as `read`.
---@param opts? kafka_history.view.step_options
---@return integer? taken
---@return boolean|string more
---@return string? code
function view:step(opts) end

--- What `step` takes.
---@class kafka_history.view.step_options
--- Default: 500. The most that one step takes in.
---@field batch? integer
--- Default: none. As in `read`.
---@field max_bytes? integer

--- The latest value of a key.
---@param key string
---@param topic? string required with several topics
---@return string? value nil: there is none, or it was deleted
function view:get(key, topic) end

--- The latest message of a key.
---@param key string
---@param topic? string required with several topics
---@return kafka_history.message? message
function view:message(key, topic) end

--- An iterator over all keys with their values, in the order in which they came: `for key, value in view:pairs() do`. The
--- view may change meanwhile: a key that stays is met once.
---@param topic? string required with several topics
---@return fun(): string?, string?
function view:pairs(topic) end

--- How many keys it has: without a topic those of all, as `#view`.
---@param topic? string
---@return integer
function view:len(topic) end

--- A function that is called after each change that comes after the signal: with the key, its new value (nil: deleted), the
--- one before (nil: there was none), and the topic. One function; nil takes it away. An error in it ends the call that reads
--- with `CALLBACK`.
---@param callback? fun(key: string, new: string?, old: string?, topic: string)
---@return true ok
function view:on_change(callback) end

--- The [waitable](waitable.md) that is released when everything that was in the topics at the start has been taken in.
---@return kafka_history.waitable? waitable
---@return string? err
---@return string? code
function view:caught_up() end

--- How far reading has come, as [consumer:progress](consumer.md), with three numbers more.
---@return kafka_history.view.progress_report
function view:progress() end

--- What `progress` returns beside a consumer's.
---@class kafka_history.view.progress_report: kafka_history.progress_report
--- How many keys it has.
---@field keys integer
--- Bytes that its messages take.
---@field kept_bytes integer
--- Messages that had no key, and so were not kept.
---@field without_key integer

--- The partitions that this view reads now.
---@return { topic: string, partition: integer }[]? places
---@return string? err
---@return string? code
function view:assignment() end

--- In a group: commits what was taken in, as [consumer:commit](consumer.md).
---@param seconds? number 5 by default
---@return true? committed
---@return string? err
---@return string? code
function view:commit(seconds) end

--- Ends a running `read`: nil, "cancelled", "CANCELLED".
---@return true? ok
---@return string? err
---@return string? code
function view:cancel() end

--- Ends the view and frees what it holds. Also `__close` and the collector.
---@return true ok
function view:close() end

--- A descriptor that is readable when `step` has something to do.
---@return integer? descriptor
---@return string? err
---@return string? code
function view:pollfd() end

--- What to poll the descriptor for: `"r"`.
---@return string? events
---@return string? err
---@return string? code
function view:events() end

--- Seconds after which `step` is needed even if the descriptor stays silent; nil: no need.
---@return number? seconds
---@return string? err
---@return string? code
function view:timeout() end

return module
