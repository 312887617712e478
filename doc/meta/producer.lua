---@meta kafka_history.producer

--- A small producer, for demos and specs, of real brokers too.
---
--- ```lua
--- local producer = assert(require "kafka_history.producer".new { addresses = "localhost:9092" })
--- assert(producer:send("orders", { key = "a", value = "1" }))
--- assert(producer:flush())
--- producer:close()
--- ```
---
--- Methods that fail return nil, a message and a code, librdkafka's names; wrong arguments raise. After `close()` each returns
--- nil, "closed", "CLOSED"; after a fork it raises in the child. math.huge seconds wait without end.

---@class kafka_history.producer
local module = {}

--- Makes a producer. It connects when it needs to: whether brokers are there shows in `flush` and `begin`. What librdkafka
--- refuses in `options` raises, with its words; values of secret properties are shown nowhere.
---@param config kafka_history.producer.config
---@return kafka_history.producer.object? producer
---@return string? err
---@return string? code
function module.new(config) end

--- What `new` takes.
---@class kafka_history.producer.config
--- Required. `"host:port,host:port"`, or an array.
---@field addresses string|string[]
--- Default: librdkafka's, "rdkafka".
---@field client_id? string
--- Default: none. The producer has transactions then, and sends only within them.
---@field transactional_id? string
--- Default: none. Properties of librdkafka.
---@field options? table<string, string|number|boolean>

---@class kafka_history.producer.object
local producer = {}

--- Queues a message: a string (its value) or a table as in [broker:produce](broker.md). Without a partition
--- librdkafka's `partitioner` chooses. When too many messages wait for delivery it waits for room, at most so long, then
--- fails with `_QUEUE_FULL`.
---@param topic string
---@param message string|kafka_history.broker.record
---@param seconds? number 5 by default
---@return true? queued
---@return string? err
---@return string? code
function producer:send(topic, message, seconds) end

--- Waits until everything that was sent is delivered or has failed, at most so long. Returns the first failure since the
--- last flush, with how many there were. When the time is over: nil, "timeout", "TIMEOUT", and the messages are still on
--- their way. How long librdkafka tries is the property `message.timeout.ms`.
---@param seconds? number 60 by default
---@return true? delivered
---@return string? err
---@return string? code
function producer:flush(seconds) end

--- Begins a transaction. The first one also asks the brokers for the transactional id.
---@param seconds? number 30 by default
---@return true? begun
---@return string? err
---@return string? code
function producer:begin(seconds) end

--- Commits the transaction. One that failed stays open; the error says whether to call it again, to abort, or to make
--- another producer.
---@param seconds? number 30 by default
---@return true? committed
---@return string? err
---@return string? code
function producer:commit(seconds) end

--- Aborts the transaction; fails as `commit` does.
---@param seconds? number 30 by default
---@return true? aborted
---@return string? err
---@return string? code
function producer:abort(seconds) end

--- Delivers what is on its way, for at most 4 s, and aborts an open transaction; over after 5 s. Also `__close`. The
--- collector drops what was not flushed.
---@return true ok
function producer:close() end

return module
