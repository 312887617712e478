---@meta _

--- A message of Kafka's. It is safe to keep for ever, also after `close()`; what is not looked at costs nothing. Fields
--- cannot be written.

---@class kafka_history.message
--- The name of its topic.
---@field topic string
--- Its partition, from 0.
---@field partition integer
--- Its offset in the partition.
---@field offset integer
--- Milliseconds since 1970; nil: it has none.
---@field timestamp? integer
--- Who gave it that time: `"create_time"`, the producer; `"log_append_time"`, the broker; nil without a time.
---@field timestamp_type? "create_time"|"log_append_time"
--- Any bytes; nil: Kafka's null, which is never the same as `""`.
---@field key? string
--- Any bytes; nil: null, a tombstone.
---@field value? string
--- In their order, duplicates kept; an empty array without headers. A null value is nil.
---@field headers { name: string, value: string? }[]
local message = {}

--- The value: the same as `message.value`.
---@return string? value nil: a tombstone
function message:data() end

--- The value of the last header with that name.
---@param name string
---@return string? value nil: there is none, or its value is null
function message:header(name) end

--- Whether its value is null: in a compacted topic, that its key was deleted.
---@return boolean
function message:is_tombstone() end

--- Its fields as a plain table, for serialisers and debuggers. `tostring(message)` is a readable line:
--- `orders[0]@42 "key" = "value"`, with long values cut.
---@return table fields
function message:totable() end

return message
