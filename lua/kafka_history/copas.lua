--- kafka_history for copas: the same module, but waiting yields to copas' loop, so that servers and
-- other threads run beside the reader. Whatever waits must be called in one of copas' threads; elsewhere
-- it waits as in `kafka_history`, which is for the time before the loop.
--
--     local copas = require "copas"
--     local history = require "kafka_history.copas"
--
--     local consumer = assert(history.new { addresses = "localhost:9092", topics = "orders" })
--     copas.addthread(function() assert(consumer:read_history(handler)) end)
--     copas.addthread(function()
--       assert(consumer:caught_up():wait())
--       print "caught up"
--     end)
--     copas.loop()
--
-- copas waits in LuaSocket's select, which takes no descriptor above 1023.

local copas = require "copas"
local socket = require "socket"
local history = require "kafka_history"

local core = require "kafka_history.core"
local host = require "kafka_history.host"

local now = core.consumer.now

local loop = { inside = host.is_yieldable }

-- What copas takes for a socket: it asks receive(), and while that says "timeout" lets the others run
-- until select finds getfd()'s descriptor readable, or dirty().
local shim = {}
shim.__index = shim

function shim:getfd() return self.fd end

function shim:dirty() return self.deadline ~= nil and now() >= self.deadline end

function shim:receive()
  if self.was_asked then return true end
  self.was_asked = true
  return nil, "timeout"
end

function shim.settimeout() end

function shim.close() end -- copas closes with what a thread has waited for last

local function park(fd, deadline)
  if fd >= socket._SETSIZE then
    error(("file descriptor %d: LuaSocket's select takes none above %d; use another event loop"):format(
      fd, socket._SETSIZE - 1), 0)
  end
  copas.receive(setmetatable({ fd = fd, deadline = deadline }, shim))
end

-- copas 1.2 has no timers, so that the system's takes part; where there is none, the loop needs a timeout
-- to notice that a deadline has come, as in copas.loop(0.1).
function loop.wait(fd, seconds)
  if not seconds or not core.alarm then return park(fd, seconds and now() + seconds) end
  local alarm = core.alarm(fd, seconds)
  park(alarm:getfd())
  alarm:close()
end

function loop.pause(fd)
  park(fd, 0)
end

return history.with_host(host.adapt(loop))
