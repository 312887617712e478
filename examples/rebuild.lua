-- Rebuilds the state of orders from their history, then follows it live.
--
--   lua5.4 examples/rebuild.lua ADDRESSES TOPIC
--
-- The topic has an order's number as the key and its present state as the value; a message without
-- a value, a tombstone, deletes the order.

local history = require "kafka_history"
local progress = require "kafka_history.progress"

-- `live` is how the last step reads: demo.lua makes it end; by hand it goes on until Ctrl-C.
local addresses, topic, live = ...
if not topic then error("usage: lua5.4 examples/rebuild.lua ADDRESSES TOPIC", 0) end

io.stdout:setvbuf "line"
local orders, count = {}, 0

local function apply(message)
  if not message.key then return end -- nobody's order
  local before, now = orders[message.key], message:data()
  orders[message.key] = now
  if now and not before then count = count + 1 end
  if before and not now then count = count - 1 end
end

local consumer = assert(history.new { addresses = addresses, topics = topic })

-- 1. All that was there when reading began, and nothing later.
local bar = progress.new()
assert(consumer:read_history(apply, { stop_at = "caught_up", on_tick = bar, tick = 0.1 }))
bar:finish(consumer)

-- 2. The state is complete: a pricing engine would begin to answer now.
local verdict = consumer:progress()
print(("caught up: %d messages of %d partitions in %.1f s; %d gaps, %d truncated; %d orders are open")
  :format(verdict.messages, #verdict.partitions, verdict.seconds, verdict.gaps, verdict.truncated, count))

-- 3. What happens from now on.
print("live:")
local _, err, code = consumer:read_history(function(message)
  apply(message)
  print(("  %s %s (%d orders are open)"):format(message.key or "no key", message:data() or "deleted", count))
end, type(live) == "table" and live or nil)
consumer:close()
if code ~= "TIMEOUT" then error(err, 0) end
