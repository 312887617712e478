-- What the specs of the reader share: a broker and consumers that are closed after each test, and
-- ways to look at what a consumer hands out.

local broker = require "kafka_history.broker"
local history = require "kafka_history"
local system = require "system"

local reading = {}

reading.now = system.monotime
reading.sleep = system.sleep

local opened = {}

-- Closes it after the test.
function reading.keep(value, ...)
  if value then opened[#opened + 1] = value end
  return value, ...
end

-- For after_each: closes everything.
function reading.clean()
  for i = #opened, 1, -1 do
    opened[i]:close()
    opened[i] = nil
  end
end

-- topics: { name = number of partitions }
function reading.broker(topics, brokers)
  return (assert(reading.keep(broker.new { topics = topics, brokers = brokers })))
end

-- Waits for nobody: the broker answers a fetch that finds nothing only after this time.
local quick = { ["fetch.wait.max.ms"] = 10 }

-- A configuration for the broker's topics; `more` has further keys.
function reading.config(of, topics, more)
  local config = { addresses = of:addresses(), topics = topics, options = quick }
  for key, value in pairs(more or {}) do config[key] = value end
  return config
end

function reading.consumer(of, topics, more)
  return (assert(reading.keep(history.new(reading.config(of, topics, more)))))
end

-- A broker whose topic "t" has one partition with these values, and a consumer of it.
function reading.values(values, more)
  local of = reading.broker { t = 1 }
  assert(of:produce("t", values))
  return reading.consumer(of, "t", more), of
end

-- The numbers from first to last as values.
function reading.numbers(first, last)
  local values = {}
  for i = first, last do values[#values + 1] = tostring(i) end
  return values
end

-- A handler that keeps the values in an array, and that array. `also` is called after.
function reading.collector(also)
  local got = {}
  return function(msg, consumer)
    got[#got + 1] = msg.value
    if also then return also(msg, consumer, got) end
  end, got
end

local to_caught_up = { stop_at = "caught_up", timeout = 20 }

-- Reads to the end of history; the values in the order in which they came.
function reading.history(consumer)
  local handler, got = reading.collector()
  assert(consumer:read_history(handler, to_caught_up))
  return got
end

-- Reads until the condition holds, which is looked at after each message and at every tick.
function reading.until_true(consumer, handler, condition)
  local function look(_, c)
    if condition() then c:cancel() end
  end
  local _, err, code = consumer:read_history(function(msg, c)
    handler(msg, c)
    look(nil, c)
  end, { timeout = 20, tick = 0.01, on_tick = function(c) look(nil, c) end })
  if code ~= "CANCELLED" then error("the condition did not come to hold: " .. tostring(err), 2) end
end

-- Waits until the condition holds; true when it does, in time.
function reading.becomes(condition, seconds)
  local deadline = reading.now() + (seconds or 10)
  while not condition() do
    if reading.now() > deadline then return false end
    system.sleep(0.01)
  end
  return true
end

local function count_of(directory)
  local pipe = assert(io.popen("ls /proc/$PPID/" .. directory .. " | wc -l", "r"))
  local count = tonumber(pipe:read("*a"))
  pipe:close()
  return count
end

-- How many file descriptors and threads this process has.
function reading.resources()
  return count_of("fd"), count_of("task")
end

-- The same, once what was closed or dropped is gone: while the numbers still fall it waits.
function reading.settled_resources()
  local fds, threads = math.huge, math.huge
  local since = reading.now()
  repeat
    collectgarbage()
    local fds_now, threads_now = reading.resources()
    if fds_now < fds or threads_now < threads then since = reading.now() end
    fds, threads = math.min(fds, fds_now), math.min(threads, threads_now)
  until reading.now() - since > 0.5
  return fds, threads
end

-- Have the numbers gone back to what they were?
function reading.is_as_before(fds, threads)
  return reading.becomes(function()
    collectgarbage()
    local fds_now, threads_now = reading.resources()
    return fds_now <= fds and threads_now <= threads
  end)
end

-- Calls the function on a stack of its own: slots of this one keep what it has made from being collected.
function reading.apart(call)
  return coroutine.wrap(call)()
end

-- The counter of an eventfd, which is what makes it readable; nil where the fd is none.
function reading.counter(fd)
  local file = io.open("/proc/self/fdinfo/" .. fd)
  if not file then return nil end
  local count = file:read("*a"):match("eventfd%-count:%s*(%x+)")
  file:close()
  return tonumber(count, 16)
end

-- The error that the call raises, as text; fails when it raises none.
function reading.raised(call, ...)
  local ok, err = pcall(call, ...)
  if ok then error("no error was raised", 2) end
  return tostring(err)
end

return reading
