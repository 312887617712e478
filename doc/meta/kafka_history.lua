---@meta kafka_history

--- Reads Kafka topics from the beginning, says once when everything that was there at the start has been handled, and goes
--- on with live messages. The thread waits; in an event loop take the module of that loop, which has the same face
--- ([hosts](../hosts/README.md)).

---@class kafka_history
---@field _VERSION string The module's own version, as in "kafka-history scm".
local history = {}

--- Makes a consumer. No broker is asked before reading begins, and nothing blocks.
---
--- A mistake in the configuration raises an error that names the key, what was given and what is allowed. A client that
--- cannot be made (a missing CA file, no descriptors left) returns nil, a message and a code. The table that is given is
--- not kept. Every key is on [its own page](../configuration.md).
---
--- ```lua
--- local history = require "kafka_history"
--- local consumer = assert(history.new { addresses = "localhost:9092", topics = { "orders" } })
--- ```
---@param config kafka_history.config
---@return kafka_history.consumer? consumer
---@return string? err
---@return string? code
function history.new(config) end

--- The version of the librdkafka that is loaded, as in "2.0.2". Versions differ: [errors](../faults.md) and
--- [groups](../groups.md) say where.
---@return string version
function history.librdkafka_version() end

--- The same module with another way to wait: what an adapter for an event loop returns
--- ([how to write one](../hosts/README.md#an-adapter-for-another-loop)).
---@param host table as `lua/kafka_history/host.lua` describes it
---@return kafka_history module
function history.with_host(host) end

--- What `new` takes. A key that is not in this table is an error.
---@class kafka_history.config
--- Required. The brokers to ask first, `"host:port"`: an array, or one string with commas. The others are learnt from them.
---@field addresses string|string[]
--- Required. The topics to read: an array of names, or one name. Each is named in full; a pattern (`^`) is refused. Reading
--- a topic never creates it.
---@field topics string|string[]
--- Default: librdkafka's, "rdkafka". The name under which brokers log this client and count its quotas.
---@field client_id? string
--- Default: none. The version of brokers that do not tell theirs (older than 0.10), as in `"0.9.0"`.
---@field version? string
--- Default: none, and every consumer reads everything. The group whose members share the partitions
--- ([when, and when not](../groups.md#when-and-when-not)).
---@field consumer_group? string
--- Default: true without a group, false in one. Without a group, false reads from the end as of now and has caught up at
--- once. In a group, true reads each partition that this consumer is given from its beginning, once; false goes on at the
--- group's commit, and at the beginning where there is none.
---@field from_beginning? boolean
--- Default: the beginning. Where each partition starts, without a group only: `{ timestamp = ms }`, the first message at or
--- after that time (milliseconds since 1970); `{ last = n }`, the last n offsets of each partition; `{ orders = { [0] = 42 } }`,
--- offsets by topic and partition, the beginning for those that are not named. An offset outside of the log fails with
--- `_OFFSET_OUT_OF_RANGE`.
---@field start? { timestamp: integer }|{ last: integer }|table<string, table<integer, integer>>
--- Default: `"end"`. What counts as history: `"end"`, everything that is in the log at the start, transactions that are
--- still open then included; `"stable"`, what is before the first open transaction.
---@field target? "end"|"stable"
--- Default: 60 s. How long a start may go without any broker that answers, then `_TRANSPORT`. math.huge: for ever.
---@field start_timeout? number
--- Default: 30 s. After how long without progress the event "stalled" tells why; reading goes on. math.huge: never.
---@field stall_timeout? number
--- Default: 5 s. How often a member of a group commits what it has handled. math.huge: only when it gives partitions back,
--- by `commit()`, and by `close()`.
---@field commit_interval? number
--- Default: `"error"`. What happens when the log has lost what was to be read: `"error"` ends with `TRUNCATED`;
--- `"continue"` reads on from what is there, and counts it.
---@field on_truncation? "error"|"continue"
--- Default: none. Called with each [event](events.md), by the thread that reads, between two messages. An error in it
--- ends the call that reads with `CALLBACK`.
---@field on_event? fun(event: kafka_history.event)
--- Default: none, and nothing is written anywhere. Called with each line of librdkafka's log, as `on_event` is.
---@field on_log? fun(line: kafka_history.log_line)
--- Default: none. Called with librdkafka's statistics, a string of JSON, every `statistics.interval.ms`, which goes into
--- `options`.
---@field on_stats? fun(json: string)
--- Default: none. Properties of librdkafka, by their names: TLS and logins, sizes, pauses. Those that the engine needs for
--- itself are refused, with what to use instead.
---@field options? table<string, string|number|boolean>

return history
