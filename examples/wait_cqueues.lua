-- Three ways to live with a history that takes its time, in cqueues.
--
--     lua5.4 examples/wait_cqueues.lua [ADDRESSES [TOPIC]]

local cqueues = require "cqueues"
local history = require "kafka_history.cqueues"

io.stdout:setvbuf "line"
local consumer = assert(history.new {
  addresses = arg[1] or "localhost:9092",
  topics = arg[2] or "orders",
})
local caught_up = consumer:caught_up()
local count = 0
local queue = cqueues.new()

-- 1. Do not care: history and live messages alike.
queue:wrap(function()
  local _, err, code = consumer:read_history(function()
    count = count + 1 -- whatever you do with a message
  end)
  assert(code == "CLOSED", err)
end)

-- 2. Block until caught up: this coroutine alone.
queue:wrap(function()
  assert(caught_up:wait())
  print(("caught up after %d messages"):format(count))
  cqueues.sleep(1) -- live, for a second
  consumer:close()
end)

-- 3. Do other work on ticks until then. What is polled may be a socket as well, or several.
queue:wrap(function()
  repeat
    print(("meanwhile: %3.0f %%"):format(100 * consumer:progress().fraction))
  until cqueues.poll(caught_up, 0.1) == caught_up
end)

assert(queue:loop())
