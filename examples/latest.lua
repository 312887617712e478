-- The latest value of each key: the history is compacted while it is read, as Kafka's cleaner would do it.
--
--   lua5.4 examples/latest.lua ADDRESSES TOPIC
--
-- Where only the latest state of a key counts, most of a history is of no interest: what was said of the
-- key before, and all of a key that was deleted. With `latest` such messages never get as far as Lua: the
-- handler sees each key once, with its last message, when everything has been read; then the signal, then
-- live messages one by one.

local history = require "kafka_history"

local addresses, topic = ...
if not topic then error("usage: lua5.4 examples/latest.lua ADDRESSES TOPIC", 0) end

io.stdout:setvbuf "line"
local consumer = assert(history.new { addresses = addresses, topics = topic })

local function handle(message)
  print(message.key, message:data()) -- live, no data is a tombstone; before that there is none
end

-- What is kept until then takes memory: `max_bytes` is the most, and an error with the code MAX_BYTES what
-- happens when it does not suffice. Without it, all memory of the machine is the most.
assert(consumer:read_history(handle, { latest = true, max_bytes = 1e9, stop_at = "caught_up" }))
local verdict = consumer:progress()
print(("caught up: %d messages read, %d handled"):format(verdict.read, verdict.messages))

assert(consumer:read_history(handle))
