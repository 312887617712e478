-- A materialised view: a topic as a table that is always up to date.
--
--   lua5.4 examples/view.lua ADDRESSES TOPIC
--
-- The view holds the latest value of each key outside of Lua: no garbage, nothing for the collector to walk
-- through, and a string of Lua's is made only of a value that is asked for. It is filled from the topic's
-- history, then kept up to date for as long as it is read.

local view = require "kafka_history.view"

local addresses, topic = ...
if not topic then error("usage: lua5.4 examples/view.lua ADDRESSES TOPIC", 0) end

io.stdout:setvbuf "line"
local prices = assert(view.new { addresses = addresses, topics = topic })

-- 1. All that was there at the start.
assert(prices:read { stop_at = "caught_up" })
local keys = {}
for key in prices:pairs() do table.insert(keys, key) end
table.sort(keys)
print(("caught up after %d messages: %d keys"):format(prices:progress().messages, #keys))

-- 2. It is asked as a table would be; a key that is not there, or was deleted, is nil. message() gives the
-- whole message, with its place and time.
for i = 1, math.min(#keys, 10) do
  local message = prices:message(keys[i])
  print(("%s\t%s\t%s[%d] offset %d"):format(keys[i], prices:get(keys[i]), message.topic, message.partition,
    message.offset))
end

-- 3. What happens from now on. The view has the new value already when this is called.
prices:on_change(function(key, new, old)
  print(("%s: %s -> %s"):format(key, old or "nothing", new or "nothing"))
end)
assert(prices:read())
