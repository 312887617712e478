---@meta kafka_history.broker

--- A Kafka broker within the process, for demos and specs: librdkafka's mock cluster, listening on 127.0.0.1, with a producer
--- that fills it.
---
--- ```lua
--- local history = require "kafka_history"
--- local broker = assert(require "kafka_history.broker".new { topics = { orders = 3 } })
--- assert(broker:produce("orders", { { key = "a", value = "1" }, { key = "a" } }))
--- local consumer = assert(history.new { addresses = broker:addresses(), topics = "orders" })
--- ```
---
--- Methods that fail return nil, a message and a code; wrong arguments raise. After `close()` each returns nil, "closed",
--- "CLOSED"; after a fork it raises in the child.
---
--- What it is not: it keeps no transaction markers, has no compaction, no deletion of topics, no TLS or logins; it answers
--- every question for a time with the end; a fetch that finds nothing waits its whole `fetch.wait.max.ms`. A topic that
--- nobody named in `new` is created, with 4 partitions, when a client asks for it and allows that.

---@class kafka_history.broker
local module = {}

--- Makes one, which listens when it returns.
---@param config kafka_history.broker.config
---@return kafka_history.broker.object? broker
---@return string? err
---@return string? code
function module.new(config) end

--- What `new` takes.
---@class kafka_history.broker.config
--- Required. `{ [name] = number of partitions }`, 1 to 10 000.
---@field topics table<string, integer>
--- Default: 1. How many brokers, up to 100. Their ids are 1, 2, ...; a partition's leader is
--- `partition % min(brokers, 3) + 1`.
---@field brokers? integer

--- What `produce` and a producer's `send` take; a string alone is a value.
---@class kafka_history.broker.record
--- Default: null. Any bytes.
---@field key? string
--- Default: null, a tombstone. Any bytes; numbers are refused.
---@field value? string
--- Default: none. In order, duplicates kept; a value that is nil is null.
---@field headers? { name: string, value: string? }[]
--- Default: now. Milliseconds since 1970, 1 or more.
---@field timestamp? integer
--- Default: by the key's CRC32, as every librdkafka producer; messages without a key go to the partitions in turn.
---@field partition? integer

---@class kafka_history.broker.object
local broker = {}

--- `"127.0.0.1:port,..."`, as a consumer's `addresses` takes it.
---@return string? addresses
---@return string? err
---@return string? code
function broker:addresses() end

--- Stores messages, in the array's order within each partition: they are there when it returns. It returns how many.
---
--- Code `FULL`: a partition keeps 5 MB of batches (compressed) and would drop its oldest for another. Nothing is dropped, and
--- nothing has a hole: of each partition's messages a first part is stored, and nothing after the partition that was full.
--- `_MSG_TIMED_OUT`: faults (below) kept the messages out for `timeout`.
---@param topic string one that was named in `new`
---@param messages string|kafka_history.broker.record|(string|kafka_history.broker.record)[]
---@param opts? kafka_history.broker.produce_options
---@return integer? stored
---@return string? err
---@return string? code
---@return integer? stored how many were stored before
function broker:produce(topic, messages, opts) end

--- What `produce` takes.
---@class kafka_history.broker.produce_options
--- Default: 10 s. For the whole call.
---@field timeout? number

--- Another leader for a partition.
---@param topic string
---@param partition integer
---@param broker_id integer|false|nil nil or false: none
---@return true? ok
---@return string? err
---@return string? code
function broker:leader(topic, partition, broker_id) end

--- The replica that consumers are told to fetch from instead of the leader.
---@param topic string
---@param partition integer
---@param broker_id integer|false|nil nil or false: the leader
---@return true? ok
---@return string? err
---@return string? code
function broker:follower(topic, partition, broker_id) end

--- What that replica has: its first offset and its end.
---@param topic string
---@param partition integer
---@param low? integer nil: what the leader has
---@param high? integer nil: what the leader has
---@return true? ok
---@return string? err
---@return string? code
function broker:follower_watermarks(topic, partition, low, high) end

--- Closes a broker's connections, and refuses new ones.
---@param broker_id integer
---@return true? ok
---@return string? err
---@return string? code
function broker:down(broker_id) end

--- Takes connections again.
---@param broker_id integer
---@return true? ok
---@return string? err
---@return string? code
function broker:up(broker_id) end

--- How late each of a broker's answers comes.
---@param broker_id integer
---@param seconds number
---@return true? ok
---@return string? err
---@return string? code
function broker:round_trip_time(broker_id, seconds) end

--- The rack that a broker says it is in.
---@param broker_id integer
---@param rack string
---@return true? ok
---@return string? err
---@return string? code
function broker:rack(broker_id, rack) end

--- The next requests of an API fail with these errors, one each. `"_TRANSPORT"` closes the connection, `"NO_ERROR"` lets one
--- through. The producer within is a client, too: errors for "Produce" are spent by `produce`, which tries again.
---@param api string|integer as in "Fetch", "ListOffsets", "Metadata", or Kafka's number of it
---@param codes string|integer|(string|integer)[] as in "NOT_LEADER_FOR_PARTITION"
---@return true? ok
---@return string? err
---@return string? code
function broker:error(api, codes) end

--- Forgets the errors that are left.
---@param api string|integer
---@return true? ok
---@return string? err
---@return string? code
function broker:clear_errors(api) end

--- What Metadata reports for a topic.
---@param topic string
---@param code? string|integer nil: nothing any longer
---@return true? ok
---@return string? err
---@return string? code
function broker:topic_error(topic, code) end

--- Ends it. Its clients see their connections end; they can be closed before or after it. Also `__close` and the collector.
---@return true ok
function broker:close() end

return module
