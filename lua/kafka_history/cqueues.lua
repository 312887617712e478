--- kafka_history for cqueues: the same module, but waiting yields to the running controller, so that
-- other coroutines of it run beside the reader. Handlers may use whatever of cqueues yields.
--
--     local cqueues = require "cqueues"
--     local history = require "kafka_history.cqueues"
--
--     local consumer = assert(history.new { addresses = "localhost:9092", topics = "orders" })
--     local queue = cqueues.new()
--     queue:wrap(function() assert(consumer:read_history(handler)) end)
--     queue:wrap(function()
--       assert(consumer:caught_up():wait())
--       print "caught up"
--     end)
--     assert(queue:loop())
--
-- A waitable is pollable as it is, beside others: cqueues.poll(consumer:caught_up(), socket, 1.0).
-- Outside of a controller everything waits as in `kafka_history`.

local cqueues = require "cqueues"
local history = require "kafka_history"

local core = require "kafka_history.core"
local host = require "kafka_history.host"

local loop = {}

function loop.inside()
  return cqueues.running() ~= nil and host.is_yieldable()
end

function loop.wait(fd, seconds)
  cqueues.poll({ pollfd = fd, events = "r" }, seconds)
end

function loop.pause()
  cqueues.poll(0)
end

-- A controller takes an fd out of the kernel's list only when the coroutine that has polled it yields
-- again, and fails then if the fd is closed.
core.set_forget(cqueues.cancel)

return history.with_host(host.adapt(loop))
