--- kafka_history: reads Kafka topics from the beginning, says when it has caught up with what was there
-- at the start, and goes on with live messages.
--
--     local history = require "kafka_history"
--     local consumer = assert(history.new { addresses = "localhost:9092", topics = "orders" })
--     consumer:read_history(function(msg) prices[msg.key] = msg.value end, { stop_at = "caught_up" })

local core = require "kafka_history.core"
local host = require "kafka_history.host"
local options = require "kafka_history.options"
local reader = require "kafka_history.reader"

local engine = core.consumer
local now = engine.now
local methods = engine.methods
local waitable = core.waitable

-- Of each waitable that was made here.
local hosts = setmetatable({}, { __mode = "k" })

local history = { _VERSION = "kafka-history scm" }

--- The version of librdkafka that is loaded, as in "2.0.2".
history.librdkafka_version = core.librdkafka_version

local callbacks = { "on_event", "on_log", "on_stats" }

-- The configuration without what is Lua's: a copy, so that the caller's table stays as it is.
local function split(config, level)
  local shared = { batch = {}, handled = 0, skipped = 0, limit = 0, stride = 1, pause_at = 0 }
  local rest = {}
  for key, value in pairs(config) do rest[key] = value end
  for _, name in ipairs(callbacks) do
    if rest[name] ~= nil and not options.callable(rest[name]) then
      error(("new: %s: expected a function, got %s"):format(name, options.describe(rest[name])),
        level + 1)
    end
    shared[name], rest[name] = rest[name], nil
  end
  return rest, shared
end

local function new(config, its_host)
  if type(config) ~= "table" then
    error("new: expected a table of configuration, got " .. options.describe(config), 2)
  end
  local rest, shared = split(config, 2)
  shared.host = its_host
  local consumer, err, code = engine.new(rest, shared)
  if code == "CONFIG" then error("new: " .. err:gsub("^CONFIG: ", ""), 2) end
  if consumer and engine.is_member(consumer) then shared.alive_at = 0 end
  return consumer, err, code
end

--- Makes a consumer. Nothing is asked of a broker before reading begins.
-- @tparam table config
--   addresses          "host:port" strings: an array, or one string separated by commas; required
--   topics             names: an array, or one string; required
--   client_id          a string
--   version            of brokers that do not tell theirs, as in "2.8.0" (broker.version.fallback)
--   consumer_group     a name: the members of that group share the partitions of the topics, and an
--                      offset is committed when its message was handled; nil: every consumer reads all
--   commit_interval    seconds (5) between two commits of a group's member; math.huge: only when it
--                      gives partitions back, and by commit()
--   from_beginning     boolean. Without a group (true): false: from the end as of now. In one (false):
--                      true: what this consumer is given it reads from the beginning, once; false: from
--                      the group's commit, the beginning where there is none
--   start              { timestamp = milliseconds since 1970 } | { last = n } of each partition |
--                      { topic = { [partition] = offset } }
--   target             "end" (the default): all that is there at the start is history, open transactions
--                      included; "stable": up to the first open transaction
--   start_timeout, stall_timeout   seconds (60, 30); math.huge: never
--   on_truncation      "error" (the default) | "continue"
--   on_event, on_log   functions, called with a table; on_stats: with librdkafka's JSON
--   options            any property of librdkafka, by its name
-- @return the consumer; nil, err, code when the client cannot be made (a missing CA file, say).
-- Raises an error for a mistake in the configuration: it names the key.
function history.new(config)
  return new(config, host.blocking)
end

--- The same module with a host's way to wait, which is what `kafka_history.cqueues` and its like return.
-- lua/kafka_history/host.lua says what a host is.
function history.with_host(its_host)
  local module = {}
  for name, value in pairs(history) do module[name] = value end
  function module.new(config)
    return new(config, its_host)
  end
  module.view = require("kafka_history.view").over(module)
  return module
end

-- --- the consumer's methods -----------------------------------------------------------------------------

local function closed()
  return nil, "closed", "CLOSED"
end

methods.read_history = reader.read_history
methods.messages = reader.messages
methods.step = reader.step
methods.progress = engine.progress

--- Readable when step() has something to do: a file descriptor.
function methods.pollfd(consumer)
  local _, is_closed = engine.shared(consumer)
  if is_closed then return closed() end
  return engine.pollfd(consumer)
end

function methods.events(consumer)
  local _, is_closed = engine.shared(consumer)
  if is_closed then return closed() end
  return "r"
end

--- Seconds until step() is needed even if the fd stays silent; nil: no need.
function methods.timeout(consumer)
  local shared, is_closed = engine.shared(consumer)
  if is_closed then return closed() end
  if shared.step_retry_at then return math.max(shared.step_retry_at - engine.now(), 0) end
  return engine.timeout(consumer)
end

--- The waitable that is released when everything that was in the topics at the start has been handled.
function methods.caught_up(consumer)
  local shared, is_closed = engine.shared(consumer)
  if is_closed then return closed() end
  if not shared.waitable then
    shared.waitable = engine.waitable(consumer)
    hosts[shared.waitable] = shared.host
  end
  return shared.waitable
end

--- The partitions that this consumer reads now: an array of { topic, partition }.
function methods.assignment(consumer)
  local _, is_closed = engine.shared(consumer)
  if is_closed then return closed() end
  local places = {}
  for i, place in ipairs(engine.progress(consumer).partitions) do
    places[i] = { topic = place.topic, partition = place.partition }
  end
  return places
end

local function check_seconds(method, seconds)
  if seconds ~= nil and not (type(seconds) == "number" and seconds >= 0) then
    error(("%s: expected a number of seconds, 0 or more, got %s"):format(method,
      options.describe(seconds)), 3)
  end
end

--- Commits what was handled so far: true when the group has it; nil, err, code; nil, "timeout", "TIMEOUT"
-- when there was no answer yet: it may still be committed. Members of a group only.
-- @tparam ?number seconds to wait at most (5)
function methods.commit(consumer, seconds)
  check_seconds("commit", seconds)
  local shared, is_closed = engine.shared(consumer)
  if is_closed then return closed() end
  if not engine.is_member(consumer) then
    error("commit: this consumer is in no group, so there is nothing to commit to; "
      .. "progress().partitions has the positions, for `start`", 2)
  end
  local deadline = now() + math.min(seconds or 5, 1e9)
  local number = engine.commit(consumer)
  while true do
    local done, err, code = engine.commit_state(consumer, number)
    if err then return nil, err, code end
    if done then return true end
    local left = deadline - now()
    if left <= 0 then return nil, "timeout", "TIMEOUT" end
    shared.host.answer(consumer, left)
    is_closed = select(2, engine.shared(consumer))
    if is_closed then return closed() end
  end
end

-- Makes the running call look up after the current handler.
local function interrupt(consumer, shared)
  shared.limit = 0
  engine.wake(consumer)
end

--- Ends the running read_history after the current handler; nothing when none runs.
function methods.cancel(consumer)
  local shared, is_closed = engine.shared(consumer)
  if is_closed then return closed() end
  if shared.running then
    shared.cancelled = true
    interrupt(consumer, shared)
  end
  return true
end

--- Ends the consumer. While it is being read, that takes effect after the current handler.
function methods.close(consumer)
  local shared, is_closed = engine.shared(consumer)
  if is_closed then return true end
  if shared.running then
    shared.closing = true
    interrupt(consumer, shared)
  else
    shared.host.close(consumer)
    reader.tell_host(consumer, shared)
  end
  return true
end

engine.metamethods.__close = methods.close

-- --- the waitable's wait -----------------------------------------------------------------------------------

--- Waits until it is released: true when caught up; nil, err, code when reading failed or the consumer
-- was closed; nil, "timeout", "TIMEOUT". In a host's loop only the coroutine waits.
-- @tparam ?number seconds at most; nil: without end. 0 only looks.
function waitable.methods.wait(latch, seconds)
  check_seconds("wait", seconds)
  local deadline = seconds and seconds < math.huge and engine.now() + seconds or nil
  if seconds == 0 or not waitable.is_owned(latch) or latch:state() ~= "pending" then
    return host.blocking.await(latch, deadline)
  end
  local its_host = hosts[latch]
  if its_host.inside() then return its_host.await(latch, deadline) end
  if its_host.refusal then error("wait: " .. its_host.refusal, 2) end
  error("wait: this state owns the consumer, so nobody would read while it waits; use "
    .. 'read_history(handler, { stop_at = "caught_up" }), or the adapter of your event loop and a '
    .. "coroutine of the loop's", 2)
end

return history
