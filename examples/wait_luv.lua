-- Three ways to live with a history that takes its time, in luv.
--
--     lua5.4 examples/wait_luv.lua [ADDRESSES [TOPIC]]

local uv = require "luv"
local history = require "kafka_history.luv"

io.stdout:setvbuf "line"
local consumer = assert(history.new {
  addresses = arg[1] or "localhost:9092",
  topics = arg[2] or "orders",
})
local caught_up = consumer:caught_up()
local count = 0

-- 1. Do not care: history and live messages alike.
coroutine.wrap(function()
  local _, err, code = consumer:read_history(function()
    count = count + 1 -- whatever you do with a message
  end)
  assert(code == "CLOSED", err)
end)()

-- 2. Block until caught up: this coroutine alone.
coroutine.wrap(function()
  assert(caught_up:wait())
  print(("caught up after %d messages"):format(count))
  local timer = uv.new_timer()
  timer:start(1000, 0, function() -- live, for a second
    timer:close()
    consumer:close()
  end)
end)()

-- 3. Do other work on ticks until then.
local ticks = uv.new_timer()
ticks:start(0, 100, function()
  print(("meanwhile: %3.0f %%"):format(100 * consumer:progress().fraction))
  if caught_up:is_ready() then ticks:close() end
end)

uv.run()
