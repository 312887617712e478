-- A network between client and broker that fails on command: build/proxy, driven through a pipe.

local kafka = require "support.kafka"

local proxy = {}
proxy.__index = proxy

local function answers(log)
  local file = io.open(log)
  local text = file and file:read "*a" or ""
  if file then file:close() end
  local _, count = text:gsub("ok\n", "")
  return count, text
end

--- Listens on one port of 127.0.0.1 and forwards to the other.
function proxy.start(listen_port, target_port)
  local base = os.tmpname()
  local self = setmetatable({ base = base, said = 0 }, proxy)
  assert(os.execute(("mkfifo %s.in"):format(base)))
  assert(os.execute(("build/proxy %d %d <%s.in >%s.out 2>&1 &"):format(listen_port, target_port, base,
    base)))
  self.input = assert(io.open(base .. ".in", "w"))
  kafka.wait_until(function()
    local _, text = answers(base .. ".out")
    assert(not text:find("cannot", 1, true), text)
    return text:find("ready", 1, true)
  end, 10, "the proxy")
  return self
end

--- The proxy that another process has started, and that it says nothing to: `base` is of its object.
function proxy.at(base)
  return setmetatable({ base = base, said = 0, input = assert(io.open(base .. ".in", "w")) }, proxy)
end

--- One of the proxy's commands; in force when it returns. See tools/proxy.c.
function proxy:say(command)
  self.said = self.said + 1
  self.input:write(command, "\n")
  self.input:flush()
  kafka.wait_until(function() return answers(self.base .. ".out") == self.said end, 10, command)
end

--- Ends it, with all connections.
function proxy:stop()
  self.input:close()
  os.remove(self.base)
  os.remove(self.base .. ".in")
  os.remove(self.base .. ".out")
end

return proxy
