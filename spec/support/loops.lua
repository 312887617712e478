-- The event loops that the module is tried in, all with the same face. `loops.names` are those that there
-- are for this Lua; `loops.missing` says of others why they cannot be had. loops.new(name) makes
--
--     loop.history              the module, or the adapter
--     loop:read(consumer, handler, opts)    begins to read; a table whose `results` come in the end;
--                               what it raises as nil, "raised: ..."
--     loop:turn(seconds)        a pass of the loop, which waits at most that long
--     loop:every(seconds, call) calls regularly
--     loop:run_until(condition) turns until it holds, for 20 s at the most
--     loop:clean()
--
-- and where the loop runs coroutines (loops.has_threads[name]):
--
--     loop:spawn(call, ...)     in a coroutine of the loop
--     loop:run(call)            the same, and turns until it ends: its results, or its error
--     loop.sleep(seconds)       in one, as the loop's own users do
--     loop.echo()               in one: a function that sends a text through sockets of the loop's to
--                               another coroutine of the loop and returns what came back

local compile = require "support.compile"
local core = require "kafka_history.core"

local unpack = rawget(table, "unpack") or rawget(_G, "unpack")
local now = core.consumer.now

local loops = {
  names = {}, missing = {}, now = now,
  has_threads = { cqueues = true, luv = true, copas = true },
}

local function pack(...)
  return { n = select("#", ...), ... }
end

local methods = {}

-- --- what is common -------------------------------------------------------------------------------------

function methods:every(seconds, call)
  table.insert(self.timers, { seconds = seconds, at = now() + seconds, call = call })
end

-- For loops without timers of their own: how long until the next one, and those that are due.
local function until_due(self, seconds)
  for _, timer in ipairs(self.timers) do seconds = math.min(seconds, math.max(timer.at - now(), 0)) end
  return seconds
end

local function call_due(self)
  for _, timer in ipairs(self.timers) do
    if now() >= timer.at then
      timer.at = now() + timer.seconds
      timer.call()
    end
  end
end

function methods:run_until(condition)
  local deadline = now() + 20
  while not condition() do
    if now() > deadline then error("the loop did not get there", 2) end
    self:turn(0.01)
  end
end

-- Runs it as a coroutine of the loop, to its end; returns what it returns, raises what it raises.
function methods:run(call)
  local results
  self:spawn(function()
    results = pack(xpcall(call, function(err)
      return type(err) == "string" and debug.traceback(err, 2) or err
    end))
  end)
  self:run_until(function() return results end)
  if not results[1] then error(results[2], 0) end
  return unpack(results, 2, results.n)
end

-- For loops with coroutines.
local function read_in_thread(self, consumer, handler, opts)
  local reading = {}
  self:spawn(function()
    local results = pack(pcall(consumer.read_history, consumer, handler, opts))
    reading.results = results[1] and { n = results.n - 1, unpack(results, 2, results.n) }
      or { n = 2, nil, "raised: " .. tostring(results[2]) }
  end)
  return reading
end

-- For loops without: a step whenever there is something to do, as the consumer itself tells.
local function read_in_steps(self, consumer, handler, opts)
  local reading = { consumer = consumer, handler = handler, opts = opts or {} }
  table.insert(self.readings, reading)
  return reading
end

local function step_all(self)
  for i = #self.readings, 1, -1 do
    local reading = self.readings[i]
    local consumer, opts = reading.consumer, reading.opts
    local stepped = pack(consumer:step(reading.handler))
    if not stepped[1] then
      reading.results = stepped
    elseif opts.stop_at and consumer:caught_up():is_ready() then
      reading.results = { n = 1, true }
    end
    if reading.results then table.remove(self.readings, i) end
  end
end

local function until_step(self, seconds)
  for _, reading in ipairs(self.readings) do
    seconds = math.min(seconds, reading.consumer:timeout() or seconds)
  end
  return until_due(self, seconds)
end

-- --- each of them ---------------------------------------------------------------------------------------

local makers = {}

function makers.cqueues()
  local cqueues = require "cqueues"
  local socket = require "cqueues.socket"
  local self = {
    history = require "kafka_history.cqueues", read = read_in_thread,
    sleep = cqueues.sleep,
  }
  local controller = cqueues.new()
  controller:wrap(cqueues.sleep, 3600) -- one without threads would not wait

  function self.turn(_, seconds)
    assert(controller:step(seconds))
  end

  function self.spawn(_, call, ...)
    controller:wrap(call, ...)
  end

  function self.every(_, seconds, call)
    self:spawn(function()
      while not self.cleaned do
        cqueues.sleep(seconds)
        call()
      end
    end)
  end

  function self.echo()
    local one, other = socket.pair()
    controller:wrap(function()
      for line in other:lines "*L" do other:write(line):flush() end
    end)
    return function(text)
      one:write(text, "\n"):flush()
      return one:read "*l"
    end
  end

  return self
end

function makers.luv()
  local uv = require "luv"
  local self = { history = require "kafka_history.luv", read = read_in_thread }
  local handles = {}

  local function keep(handle)
    handles[#handles + 1] = handle
    return handle
  end

  local limit = keep(uv.new_timer())

  function self.turn(_, seconds)
    limit:start(math.max(math.ceil(seconds * 1000), 1), 0, function() end)
    uv.run "once"
    limit:stop()
  end

  function self.spawn(_, call, ...)
    coroutine.wrap(call)(...)
  end

  function self.every(_, seconds, call)
    keep(uv.new_timer()):start(math.ceil(seconds * 1000), math.ceil(seconds * 1000), call)
  end

  function self.sleep(seconds)
    local thread = coroutine.running()
    local timer = uv.new_timer()
    timer:start(math.ceil(seconds * 1000), 0, function()
      timer:close()
      assert(coroutine.resume(thread))
    end)
    coroutine.yield()
  end

  function self.echo()
    local fds = uv.socketpair("stream", nil, { nonblock = true }, { nonblock = true })
    local one, other = keep(uv.new_pipe()), keep(uv.new_pipe())
    one:open(fds[1])
    other:open(fds[2])
    other:read_start(function(_, chunk)
      if chunk then other:write(chunk) end
    end)
    return function(text)
      local thread = coroutine.running()
      one:write(text)
      one:read_start(function(_, chunk)
        one:read_stop()
        assert(coroutine.resume(thread, chunk))
      end)
      return coroutine.yield()
    end
  end

  function self.close()
    self:run_until(function() return true end)
    for _, handle in ipairs(handles) do handle:close() end
    uv.run "nowait"
  end

  return self
end

-- What copas takes for a socket that is readable from a time on.
local function sleeper(seconds)
  local socket = require("socket").udp4()
  local deadline = now() + seconds
  local self = {}
  function self.getfd() return socket:getfd() end
  function self.dirty() return now() >= deadline end
  function self.close() socket:close() end
  function self.receive()
    if now() < deadline then return nil, "timeout" end
    socket:close()
    return true
  end
  return self
end

function makers.copas()
  local copas = require "copas"
  local socket = require "socket"
  local self = { history = require "kafka_history.copas", read = read_in_thread }

  function self.turn(_, seconds)
    copas.step(until_due(self, seconds))
    call_due(self)
  end

  function self.spawn(_, call, ...)
    copas.addthread(call, ...)
  end

  -- copas has no timers: its own users would turn it often.
  function self.sleep(seconds)
    copas.receive(sleeper(seconds))
  end

  function self.echo()
    local server = assert(socket.bind("127.0.0.1", 0))
    copas.addserver(server, function(peer)
      while true do
        local line = copas.receive(peer)
        if not line then return end
        copas.send(peer, line .. "\n")
      end
    end)
    local client = socket.tcp()
    assert(copas.connect(client, server:getsockname()))
    return function(text)
      assert(copas.send(client, text .. "\n"))
      return copas.receive(client)
    end
  end

  return self
end

function makers.select()
  local socket = require "socket"
  local self = { history = require "kafka_history", read = read_in_steps }

  -- What select takes: a consumer's own fd, seen as a socket's; a waitable it takes as it is.
  local function watched(consumer)
    return { getfd = function() return consumer:pollfd() end, dirty = function() return false end }
  end

  function self.turn(_, seconds)
    local all = {}
    for i, reading in ipairs(self.readings) do all[i] = watched(reading.consumer) end
    socket.select(all, nil, until_step(self, seconds))
    step_all(self)
    call_due(self)
  end

  return self
end

local poll

function makers.poll()
  poll = poll or assert(package.loadlib(compile.module "spec/host/poll.c", "luaopen_poll"))()
  local self = { history = require "kafka_history", read = read_in_steps, poll = poll.poll }

  function self.turn(_, seconds)
    local fds = {}
    for i, reading in ipairs(self.readings) do fds[i] = reading.consumer:pollfd() end
    poll.poll(fds, until_step(self, seconds))
    step_all(self)
    call_due(self)
  end

  return self
end

-- --- the table --------------------------------------------------------------------------------------------

-- The module that each needs, and whether Debian has it for this Lua.
local needs = { cqueues = "cqueues", luv = "luv", select = "socket" }
if rawget(_G, "jit") then needs.copas = "copas" end

for _, name in ipairs { "cqueues", "luv", "copas", "select", "poll" } do
  local found, why = true, nil
  if needs[name] then found, why = pcall(require, needs[name]) end
  if not found then
    loops.missing[name] = why
  elseif needs[name] or name == "poll" then
    table.insert(loops.names, name)
  end
end

local opened = {}

--- One of them; cleaned up by loops.clean.
function loops.new(name)
  local self = makers[name]()
  self.timers, self.readings = {}, {}
  for key, method in pairs(methods) do self[key] = self[key] or method end
  opened[#opened + 1] = self
  return self
end

--- For after_each.
function loops.clean()
  for i = #opened, 1, -1 do
    opened[i].cleaned = true
    if opened[i].close then opened[i]:close() end
    opened[i] = nil
  end
end

--- Reads the whole history with a handler that is busy for `busy_s`, beside a timer of 10 ms: how long it
-- took, and by how much each tick came late, in seconds, sorted; and the longest pause without one.
function loops.read_beside_timer(loop, consumer, busy_s)
  local period = 0.01
  local count, late, longest = 0, {}, 0
  local last = now()
  loop:every(period, function()
    local pause = now() - last
    last = last + pause
    longest = math.max(longest, pause)
    late[#late + 1] = math.max(pause - period, 0)
  end)
  local began = now()
  local reading = loop:read(consumer, function()
    count = count + 1
    local done = now() + busy_s
    while now() < done do end -- luacheck: ignore 542
  end, { stop_at = "caught_up" })
  loop:run_until(function() return reading.results end)
  assert(unpack(reading.results, 1, reading.results.n))
  table.sort(late)
  return { messages = count, seconds = now() - began, late = late, longest = math.max(longest, now() - last) }
end

return loops
