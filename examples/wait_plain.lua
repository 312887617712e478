-- Three ways to live with a history that takes its time, in a program without an event loop.
--
--     lua5.4 examples/wait_plain.lua [ADDRESSES [TOPIC]]

local history = require "kafka_history"

io.stdout:setvbuf "line"
local consumer = assert(history.new {
  addresses = arg[1] or "localhost:9092",
  topics = arg[2] or "orders",
})
local count = 0

local function handle()
  count = count + 1 -- whatever you do with a message
end

-- 1. Do other work on ticks until then: a function that is called between messages, and while idle.
local function show_progress()
  print(("meanwhile: %3.0f %%"):format(100 * consumer:progress().fraction))
end
show_progress()
assert(consumer:read_history(handle, { stop_at = "caught_up", on_tick = show_progress, tick = 0.1 }))

-- 2. Block until caught up: that is what the call has just done; it returns at once now.
assert(consumer:read_history(handle, { stop_at = "caught_up" }))
print(("caught up after %d messages"):format(count))

-- 3. Do not care: history and live messages alike. Here for a second only.
local _, err, code = consumer:read_history(handle, { timeout = 1 })
assert(code == "TIMEOUT", err)
consumer:close()
