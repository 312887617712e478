---@meta _

--- A consumer, as `history.new` makes it. It belongs to the Lua state that made it, and is read by one call at a time; a
--- second one while it is being read raises an error.
---
--- Methods that fail return nil, a message and a code: `nil, "NAME: text", "NAME"`, NAME being librdkafka's or one of
--- [these](../errors-and-retries.md#codes). Wrong arguments raise. After `close()` every method but `progress`, `close` and
--- `messages` returns `nil, "closed", "CLOSED"`; after a fork they raise in the child. Durations are in seconds, with fractions.
---
--- `consumer:close()` is also its `__close`, so that `local consumer <close>` ends it with the block (Lua 5.4). The collector
--- ends it too, without waiting.

---@alias kafka_history.handler fun(message: kafka_history.message, consumer: kafka_history.consumer): any, any

---@alias kafka_history.on_error "stop"|"skip"|{ retry: integer, backoff: number? }|fun(err: any, message: kafka_history.message, attempt: integer): "retry"|"skip"|"stop"

---@class kafka_history.consumer
local consumer = {}

--- Reads: calls `handler(message, consumer)` with each message, in offset order within a partition, and goes on with live
--- messages after the history. It returns true when it stopped as `stop_at` says; else nil, a message and a code:
--- `TIMEOUT`, `CANCELLED`, `CLOSED`, `HANDLER` (with the value that the handler raised or returned as a fourth result),
--- `CALLBACK`, `TRUNCATED`, `MAX_BYTES`, or librdkafka's.
---
--- A handler has failed when it raises, or returns `false`, or `nil` and an error that is not nil; everything else is
--- success, returning nothing included. Only success consumes the message: called again, `read_history` begins with the one
--- that failed ([errors and retries](../errors-and-retries.md)). A handler may yield, where the host's loop lets it.
---
--- The start asks for the ends of all partitions, once. A start that failed is taken anew by the next call.
---@param handler kafka_history.handler
---@param opts? kafka_history.read_options
---@return true? stopped
---@return string? err
---@return string? code
---@return any raised with code HANDLER or CALLBACK: the value itself
function consumer:read_history(handler, opts) end

--- What `read_history` takes.
---@class kafka_history.read_options
--- Default: none, live messages follow. `"caught_up"`: return true when the history has been handled; the handler gets
--- exactly the messages of the history, later ones wait for the next call.
---@field stop_at? "caught_up"
--- Default: none. Seconds for the whole call; then nil, "timeout", "TIMEOUT". The signal stays pending.
---@field timeout? number
--- Default: 500. How many messages are taken from the engine at once, 1 to 10 000.
---@field batch? integer
--- Default: none, the handler gets a message. Names of up to 8 fields, as in `{ "key", "value" }`: the handler gets these
--- as arguments, then the consumer, and no message is made, which is faster.
---@field fields? string[]
--- Default: `"stop"`. What follows a failed handler: `"stop"`; `"skip"`, the message counts as consumed;
--- `{ retry = n, backoff = seconds }`, the same message again up to n times, then stop; or a function
--- `(err, message, attempt)` that returns `"retry"`, `"skip"` or `"stop"`.
---@field on_error? kafka_history.on_error
--- Default: none. Called with the consumer about every `tick` seconds, between messages and while idle.
---@field on_tick? fun(consumer: kafka_history.consumer)
--- Default: 1 s. How often.
---@field tick? number
--- Default: false. The history is compacted in C while it is read, by topic, partition and key: when all of it has come,
--- the handler gets each key once, with its last message, and every message without a key, partition by partition in offset
--- order; then the signal, then live messages as ever. `true`: deleted keys not at all; `"tombstones"`: as tombstones, which
--- is always so for a partition that was not read from its start.
---@field latest? boolean|"tombstones"
--- Default: none. With `latest`: the bytes that the kept messages may take; more end the call with `MAX_BYTES`.
---@field max_bytes? integer

--- An iterator over the messages, for `for message in consumer:messages() do`. A message is consumed when the next one is
--- asked for, so not after `break`. It ends when `stop_at` says so; any other end raises the error's message as
--- `read_history` would return it, also a consumer that is closed.
---@param opts? kafka_history.iterator_options
---@return fun(): kafka_history.message?
function consumer:messages(opts) end

--- What `messages` takes: as in `read_history`.
---@class kafka_history.iterator_options
--- Default: none.
---@field stop_at? "caught_up"
--- Default: none. Seconds for the whole loop; then it raises "timeout".
---@field timeout? number
--- Default: 500.
---@field batch? integer
--- Default: none.
---@field on_tick? fun(consumer: kafka_history.consumer)
--- Default: 1 s.
---@field tick? number
--- Default: false.
---@field latest? boolean|"tombstones"
--- Default: none.
---@field max_bytes? integer

--- One turn that never blocks: handles at most a batch of messages that are there. Returns how many, and whether there is
--- more to do at once; nil, a message and a code as `read_history`. With `pollfd`, `events` and `timeout` it puts a consumer
--- into [any loop](../hosts/loops.md).
---@param handler kafka_history.handler
---@param opts? kafka_history.step_options
---@return integer? handled
---@return boolean|string more
---@return string? code
---@return any raised with code HANDLER or CALLBACK: the value itself
function consumer:step(handler, opts) end

--- What `step` takes: as in `read_history`.
---@class kafka_history.step_options
--- Default: 500. The most that one step handles.
---@field batch? integer
--- Default: none.
---@field fields? string[]
--- Default: `"stop"`. Attempts are counted over the steps; during a backoff `step` does nothing, and `timeout()` says
--- how long.
---@field on_error? kafka_history.on_error
--- Default: false.
---@field latest? boolean|"tombstones"
--- Default: none.
---@field max_bytes? integer

--- The [waitable](waitable.md) that is released when everything that was in the topics at the start has been handled: the
--- same one at every call.
---@return kafka_history.waitable? waitable
---@return string? err
---@return string? code
function consumer:caught_up() end

--- How far reading has come: a new table. Never blocks, asks no broker, answers in every state, also after `close()`.
--- [Metrics](../metrics.md#progress) says when each number changes.
---@return kafka_history.progress_report
function consumer:progress() end

--- What `progress` returns.
---@class kafka_history.progress_report
--- `"starting"`, `"reading"`, `"caught_up"`, `"failed"` or `"closed"`.
---@field state string
--- Messages handled, skipped ones included.
---@field messages integer
--- Messages taken in, which `latest` may keep from the handler.
---@field read integer
--- Bytes that `latest` keeps.
---@field kept_bytes integer
--- Bytes of the keys and values of the handled messages.
---@field bytes integer
--- Messages that `on_error` has skipped.
---@field skipped integer
--- How often records were deleted in front of the reader.
---@field gaps integer
--- How often a log had lost its end, or its topic.
---@field truncated integer
--- Offsets of the history that have been passed.
---@field offsets_done integer
--- Offsets of the history.
---@field offsets_total integer
--- 0 to 1, and 1 exactly when caught up.
---@field fraction number
--- Messages a second, of late.
---@field rate number
--- Seconds until caught up; nil: not known yet.
---@field eta? number
--- Seconds since reading began, until the signal.
---@field seconds number
--- Offsets that all partitions lack.
---@field lag integer
--- An array, one for each partition that is read.
---@field partitions kafka_history.partition_report[]

--- One of `progress().partitions`.
---@class kafka_history.partition_report
--- Its topic.
---@field topic string
--- Its number, from 0.
---@field partition integer
--- The offset where reading began.
---@field start integer
--- The offset where reading would go on: the checkpoint that `start` takes.
---@field position integer
--- The end of its history, an offset; nil for a partition that was added later.
---@field target? integer
--- The end of its log, an offset, as the last fetch told it.
---@field end_offset? integer
--- `end_offset - position`.
---@field lag integer
--- Whether its history has been handled.
---@field caught_up boolean

--- Ends a running `read_history` after the current handler: that returns nil, "cancelled", "CANCELLED", and the consumer can
--- be read again. To be called from the handler, a tick or another coroutine; it wakes the reader. Nothing when none runs.
---@return true? ok
---@return string? err
---@return string? code
function consumer:cancel() end

--- Ends the consumer: commits what was handled (in a group), releases who waits for the signal, frees everything, within 5 s
--- whatever the broker does. While it is being read, from the handler say, it takes effect after the current handler, and
--- `read_history` returns nil, "closed", "CLOSED". May be called again; always returns true.
---@return true ok
function consumer:close() end

--- The partitions that this consumer reads now.
---@return { topic: string, partition: integer }[]? places
---@return string? err
---@return string? code
function consumer:assignment() end

--- Commits what was handled so far, and waits for the answer, at most so long. Returns true when the group has it; after
--- `seconds` nil, "timeout", "TIMEOUT", and it may still be committed; else nil, a message and a code. Raises for a consumer
--- that is in no group.
---@param seconds? number 5 by default
---@return true? committed
---@return string? err
---@return string? code
function consumer:commit(seconds) end

--- A descriptor that is readable when `step` has something to do. It is not to be read from, and not to be closed.
---@return integer? descriptor
---@return string? err
---@return string? code
function consumer:pollfd() end

--- What to poll the descriptor for: `"r"`.
---@return string? events
---@return string? err
---@return string? code
function consumer:events() end

--- Seconds after which `step` is needed even if the descriptor stays silent; nil: no need.
---@return number? seconds
---@return string? err
---@return string? code
function consumer:timeout() end

return consumer
