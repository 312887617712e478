--- The reading loop: one C call a batch, the handler called from Lua, so that handlers may yield on
-- every Lua. What waits, and how, is the host's: lua/kafka_history/host.lua says what one is.

local core = require "kafka_history.core"
local host = require "kafka_history.host"
local options = require "kafka_history.options"

local engine = core.consumer
local now = engine.now
local sooner = host.sooner
local unpack = table.unpack or unpack -- luacheck: std max

local reader = {}

local BATCH = 500

-- How long a reader that has enough to do may keep its host's loop from the others, in seconds.
local SLICE = 0.005

-- A member of a group takes a step this often at least, in the middle of a batch too: it learns so
-- what was revoked, and is not taken for dead.
local ALIVE = 1

-- Of this many messages at the most the clock is asked once; of one when they take their time.
local STRIDE = 16
local SWIFT = 0.0002

-- --- failures ---------------------------------------------------------------------------------------

local function to_text(value)
  if type(value) == "string" then return value end
  local ok, text = pcall(tostring, value)
  return ok and type(text) == "string" and text or "(an error value of type " .. type(value) .. ")"
end

-- What xpcall's handler makes of an error: the value itself, and where it came from.
local function on_raise(value)
  return { raised = value, text = debug.traceback(to_text(value), 2) }
end

-- What xpcall has caught: out of memory, and in an error about errors, Lua calls no handler.
local function to_failure(caught)
  if type(caught) == "table" and caught.text then return caught end
  return { raised = caught, text = to_text(caught) }
end

-- Ctrl-C in the stock interpreter raises "interrupted!" wherever Lua happens to be, and gives SIGINT
-- back to the system. It is nobody's failure.
local function is_interrupt(shared, failure)
  return shared.catches_sigint and type(failure.raised) == "string"
    and failure.raised:find("interrupted!", 1, true) and not engine.catches_sigint()
end

--- The waitable may have been released.
function reader.tell_host(consumer, shared)
  if shared.host.turned then shared.host.turned(consumer, shared.waitable) end
end

--- Reading has failed: releases the waitable; the results of the call.
local function fail(consumer, shared, code, text, raised)
  engine.fail(consumer, code, text)
  reader.tell_host(consumer, shared)
  return nil, code .. ": " .. text, code, raised
end

-- A callback of the user's (on_event, on_log, on_tick): its error ends the call, as there is no
-- better place to tell it.
local function call_back(consumer, shared, name, callback, ...)
  local ok, caught = xpcall(callback, on_raise, ...)
  if ok then return true end
  local failure = to_failure(caught)
  if is_interrupt(shared, failure) then error(failure.raised, 0) end
  return fail(consumer, shared, "CALLBACK", name .. " raised an error: " .. failure.text, failure.raised)
end

reader.fail, reader.call_back = fail, call_back

local function tell_reports(consumer, shared)
  while true do
    local kind, report = engine.report(consumer)
    if not kind then return true end
    local name = "on_" .. kind
    if shared[name] then
      local ok, err, code, raised = call_back(consumer, shared, name, shared[name], report)
      if not ok then return nil, err, code, raised end
    end
  end
end

-- --- the handler --------------------------------------------------------------------------------------

local run = {}

-- Has `due` come? Asking the clock costs as much as a small handler.
local function is_due(shared, at, due)
  local time = now()
  local per_message = (time - shared.looked) / shared.stride
  shared.looked = time
  shared.stride = per_message < SWIFT and math.min(2 * shared.stride, STRIDE) or 1
  shared.look_at = at + shared.stride
  return time >= due
end

-- The rest of the batch, until it is handled, the handler fails, somebody asks to stop (limit becomes
-- 0), or `due` has come. shared.handled says how far it got.
function run.message(shared, handler, consumer, due)
  local batch, at = shared.batch, shared.handled
  while at < shared.limit do
    at = at + 1
    local ok, err = handler(batch[at], consumer)
    if ok == false or err ~= nil and not ok then return "failed", err end
    shared.handled = at
    if due and at >= shared.look_at and is_due(shared, at, due) then return end
  end
end

-- The same for the fields of each message, by how many they are; one field is as one message.
run[2] = function(shared, handler, consumer, due)
  local batch, at = shared.batch, shared.handled
  while at < shared.limit do
    at = at + 1
    local ok, err = handler(batch[2 * at - 1], batch[2 * at], consumer)
    if ok == false or err ~= nil and not ok then return "failed", err end
    shared.handled = at
    if due and at >= shared.look_at and is_due(shared, at, due) then return end
  end
end

function run.fields(shared, handler, consumer, due, width)
  local batch, at = shared.batch, shared.handled
  local values = {}
  while at < shared.limit do
    for i = 1, width do values[i] = batch[at * width + i] end
    values[width + 1] = consumer
    local ok, err = handler(unpack(values, 1, width + 1))
    if ok == false or err ~= nil and not ok then return "failed", err end
    at = at + 1
    shared.handled = at
    if due and at >= shared.look_at and is_due(shared, at, due) then return end
  end
end

run[1] = run.message

local function run_for(fields)
  if not fields then return run.message end
  return run[#fields] or run.fields
end

local function describe_failure(consumer, failure)
  local message = engine.current(consumer)
  return ("%s[%d]@%d: %s"):format(message.topic, message.partition, message.offset, failure.text)
end

local function stop_at_failure(consumer, shared, failure)
  return fail(consumer, shared, "HANDLER", describe_failure(consumer, failure), failure.raised)
end

local function skip(shared)
  shared.handled = shared.handled + 1
  shared.skipped = shared.skipped + 1
  return true
end

local function retry(shared, backoff)
  shared.retry_at = backoff and backoff > 0 and now() + backoff or nil
  return true
end

-- How often this message has failed: in this call of read_history, or over the calls of step.
local function count_attempt(consumer, shared)
  local message = engine.current(consumer)
  local place = ("%s[%d]@%d"):format(message.topic, message.partition, message.offset)
  if shared.failed_place ~= place then
    shared.failed_place, shared.attempt = place, 0
  end
  shared.attempt = shared.attempt + 1
  return shared.attempt
end

local function ask_policy(consumer, shared, policy, failure, attempt)
  local ok, verdict = xpcall(policy, on_raise, failure.raised, engine.current(consumer), attempt)
  if not ok then
    local worse = to_failure(verdict)
    if is_interrupt(shared, worse) then error(worse.raised, 0) end
    failure.text = failure.text .. "\non_error raised an error: " .. worse.text
    return "stop"
  end
  if verdict ~= "retry" and verdict ~= "skip" and verdict ~= "stop" then
    failure.text = failure.text .. '\non_error: expected "retry", "skip" or "stop", got '
      .. options.describe(verdict)
    return "stop"
  end
  return verdict
end

-- true: read on (the same message again, or the next); else the results of read_history.
local function on_failure(consumer, shared, policy, failure)
  local attempt = count_attempt(consumer, shared)
  if policy == "skip" then return skip(shared) end
  if policy == nil or policy == "stop" then return stop_at_failure(consumer, shared, failure) end
  if options.callable(policy) then
    local verdict = ask_policy(consumer, shared, policy, failure, attempt)
    if verdict == "skip" then return skip(shared) end
    if verdict == "retry" then return retry(shared) end
    return stop_at_failure(consumer, shared, failure)
  end
  if attempt <= policy.retry then return retry(shared, policy.backoff) end
  return stop_at_failure(consumer, shared, failure)
end

-- Runs the handler over the batch. true: read on; else the results of read_history.
local function handle_batch(consumer, shared, handler, opts, due)
  if due then
    shared.looked, shared.look_at = now(), shared.handled + shared.stride
  end
  local ok, failed, err = xpcall(opts.run, on_raise, shared, handler, consumer, due, opts.width)
  if ok and not failed then return true end
  local failure
  if ok then
    failure = { raised = err, text = err == nil and "the handler returned false" or to_text(err) }
  else
    failure = to_failure(failed)
    if is_interrupt(shared, failure) then error(failure.raised, 0) end
  end
  return on_failure(consumer, shared, opts.on_error, failure)
end

-- --- turns ----------------------------------------------------------------------------------------------

local function asked_to_stop(shared)
  if shared.closing then return nil, "closed", "CLOSED" end
  if shared.cancelled then return nil, "cancelled", "CANCELLED" end
  return true
end

-- Is it time for a member's step?
local function must_show_alive(shared)
  return shared.alive_at and now() >= shared.alive_at
end

-- Fills the batch. Returns how many messages are in it and whether caught up, or an error.
local function fill(consumer, shared, opts)
  if shared.alive_at then shared.alive_at = now() + ALIVE end
  local count, caught_up, has_reports, failed_reports =
    engine.advance(consumer, opts.batch or BATCH, opts.stop_at == "caught_up", opts.numbers, opts.latest,
      opts.max_bytes)
  reader.tell_host(consumer, shared)
  if count and not has_reports then return count, caught_up end
  if count or failed_reports then
    local ok, err, code, raised = tell_reports(consumer, shared)
    if not ok then return nil, err, code, raised end
  end
  if not count then return nil, caught_up, has_reports end -- err, code
  -- A callback may have asked to stop.
  local ok, err, code = asked_to_stop(shared)
  if not ok then return nil, err, code end
  return count, caught_up
end

-- What a call carries along: when it must end, when to tick next.
local function new_clock(opts)
  local clock = {}
  if opts.timeout and opts.timeout < math.huge then clock.deadline = now() + opts.timeout end
  if opts.on_tick then clock.tick_at = now() + (opts.tick or 1) end
  return clock
end

local function next_due(clock)
  return sooner(clock.deadline, clock.tick_at)
end

-- Ticks and checks whether the call is over. true: go on.
local function look_at_clock(consumer, shared, opts, clock)
  local due = next_due(clock)
  if not due or now() < due then return true end
  if clock.tick_at and now() >= clock.tick_at then
    clock.tick_at = now() + (opts.tick or 1)
    local ok, err, code, raised = call_back(consumer, shared, "on_tick", opts.on_tick, opts.owner or consumer)
    if not ok then return nil, err, code, raised end
  end
  if clock.deadline and now() >= clock.deadline then return nil, "timeout", "TIMEOUT" end
  return true
end

-- When the handler's loop must be left.
local function next_look(shared, clock)
  return sooner(sooner(next_due(clock), shared.host.pause and shared.pause_at), shared.alive_at)
end

-- In a host with a loop: lets the others run when it is their turn.
local function pause_if_due(consumer, shared)
  if not shared.host.pause or now() < shared.pause_at then return end
  shared.host.pause(consumer)
  shared.pause_at = now() + SLICE
end

local function wait(consumer, shared, clock)
  local due = next_due(clock)
  shared.host.wait(consumer, due and math.max(due - now(), 0) or -1)
  shared.pause_at = now() + SLICE
end

-- A pause before the same message is tried again; true when it is over.
local function rest(consumer, shared, clock)
  local left = shared.retry_at - now()
  if left <= 0 then
    shared.retry_at = nil
    return true
  end
  local due = sooner(next_due(clock), shared.alive_at)
  if due then left = math.min(left, math.max(due - now(), 0)) end
  shared.host.rest(consumer, left)
  shared.pause_at = now() + SLICE
  return false
end

-- Goes on until there is a message to handle: "messages"; or the call is over: "stop", or nil and
-- the error. `fresh`: the batch was filled in this call.
local function prepare(consumer, shared, opts, clock, fresh)
  while true do
    pause_if_due(consumer, shared)
    local ok, err, code, raised = asked_to_stop(shared)
    if ok then ok, err, code, raised = look_at_clock(consumer, shared, opts, clock) end
    if ok then ok, err, code = asked_to_stop(shared) end
    if not ok then return nil, err, code, raised end
    local alive = not must_show_alive(shared)
    if alive and shared.retry_at then
      if rest(consumer, shared, clock) then return "messages" end
    elseif alive and fresh and shared.handled < shared.limit then
      return "messages"
    else
      local count, caught_up
      fresh = true
      count, caught_up, code, raised = fill(consumer, shared, opts)
      if not count then return nil, caught_up, code, raised end
      if count == 0 then shared.retry_at = nil end
      if count > 0 and not shared.retry_at then return "messages" end
      if count == 0 then
        if opts.stop_at and caught_up then return "stop" end
        wait(consumer, shared, clock)
      end
    end
  end
end

-- --- the calls --------------------------------------------------------------------------------------------

local read_options = {
  stop_at = "stop_at", timeout = "seconds", batch = "batch", fields = "fields", on_error = "policy",
  on_tick = "callback", tick = "pause", latest = "latest", max_bytes = "bytes",
}
local iterator_options = {
  stop_at = "stop_at", timeout = "seconds", batch = "batch", on_tick = "callback", tick = "pause",
  latest = "latest", max_bytes = "bytes",
}
local step_options = {
  batch = "batch", fields = "fields", on_error = "policy", latest = "latest", max_bytes = "bytes",
}

local function check_options(method, given, allowed, level)
  local opts = { handle = handle_batch }
  for key, value in pairs(options.check(method, given, allowed, level + 1)) do opts[key] = value end
  options.check_policy(method, opts.on_error, level + 1)
  opts.numbers = options.field_numbers(method, opts.fields, engine.fields, level + 1)
  opts.width = opts.numbers and #opts.numbers
  opts.run = run_for(opts.numbers)
  if allowed.latest and opts.max_bytes and not opts.latest then
    error(method .. ": max_bytes: goes with latest, which is what keeps messages", level + 1)
  end
  return opts
end

reader.check_options = check_options

local function check_handler(method, handler, level)
  if options.callable(handler) then return end
  error(("%s: expected a handler, function(msg, consumer), got %s"):format(method,
    options.describe(handler)), level + 1)
end

-- How history is handed out is said once, before any of it is read: what was kept by one way cannot be
-- handed out by another.
local function check_latest(method, consumer, shared, latest, level)
  latest = latest or false
  if shared.latest == nil then shared.latest = latest end
  if shared.latest == latest or engine.is_caught_up(consumer) then return end
  error(("%s: latest: this consumer reads its history with latest = %s; say the same until it has caught up, "
    .. "or make a new consumer"):format(method, shared.latest == "tombstones" and '"tombstones"'
      or tostring(shared.latest)), level + 1)
end

-- Begins a call: the shared state; nil when the consumer is closed. A call within a call is misuse.
local function begin(method, consumer, opts, level)
  local shared, closed = engine.shared(consumer)
  if closed then return nil end
  if shared.running then
    error(method .. ": this consumer is being read already", level + 1)
  end
  check_latest(method, consumer, shared, opts.latest, level + 1)
  shared.cancelled = false
  shared.iterator = nil
  shared.retry_at = nil
  -- Attempts and a pause go on from step to step; any other call begins anew.
  if method ~= "step" then shared.failed_place, shared.step_retry_at = nil, nil end
  shared.catches_sigint = engine.catches_sigint()
  return shared
end

local function finish(consumer, shared)
  shared.running = false
  if shared.closing then
    shared.host.close(consumer)
  else
    engine.settle(consumer)
  end
  reader.tell_host(consumer, shared)
end

local function conclude(consumer, shared, completed, ...)
  finish(consumer, shared)
  if not completed then error((...), 0) end
  return ...
end

local function run_body(consumer, shared, body, ...)
  shared.running = true
  return body(consumer, shared, ...)
end

-- Runs the body of a call; whatever happens in it, the consumer is usable after.
local function within(consumer, shared, body, ...)
  return conclude(consumer, shared, pcall(run_body, consumer, shared, body, ...))
end

-- Reads so many batches, and returns "again"; or the results of read_history.
local function read_batches(consumer, shared, handler, opts, clock, batches)
  local fresh = false
  for _ = 1, batches do
    local ready, err, code, raised = prepare(consumer, shared, opts, clock, fresh)
    if ready == "stop" then return true end
    if not ready then return nil, err, code, raised end
    fresh = true
    local ok
    ok, err, code, raised = opts.handle(consumer, shared, handler, opts, next_look(shared, clock))
    if not ok then return nil, err, code, raised end
  end
  return "again"
end

local function read(consumer, shared, handler, opts)
  local clock = new_clock(opts)
  local function leg(batches)
    return read_batches(consumer, shared, handler, opts, clock, batches)
  end
  if shared.host.relay then return shared.host.relay(leg) end
  return leg(math.huge)
end

local function turn(consumer, shared, handler, opts)
  local handled = 0
  if shared.step_retry_at and now() < shared.step_retry_at then
    engine.rest(consumer, 0) -- which silences the fd: nobody shall turn in circles during the pause
    return 0, false
  end
  shared.step_retry_at = nil
  local count, err, code, raised = fill(consumer, shared, opts)
  if not count then return nil, err, code, raised end
  -- What an earlier call with a larger batch has left may be more.
  shared.limit = math.min(shared.limit, opts.batch or BATCH)
  while shared.handled < shared.limit do
    local ok
    ok, err, code, raised = opts.handle(consumer, shared, handler, opts, shared.alive_at)
    if not ok then return nil, err, code, raised end
    handled = shared.handled
    if must_show_alive(shared) then break end
    if shared.retry_at then
      shared.step_retry_at, shared.retry_at = shared.retry_at, nil
      return handled, false
    end
  end
  local ok
  ok, err, code = asked_to_stop(shared)
  if not ok then return nil, err, code end
  engine.settle(consumer)
  return handled, engine.timeout(consumer) == 0
end

--- The method's results: one turn if it is "step", else all of reading. For a method to end with, so that
-- misuse is an error at its caller's line.
-- @tparam table opts as check_options returns it. `handle` is what is done with a batch: it is called with
--   the consumer, what both halves share, the handler, opts and when to return at the latest; `owner` is
--   whom on_tick is called with, if not the consumer.
function reader.run(method, consumer, handler, opts)
  local shared = begin(method, consumer, opts, 2)
  if not shared then return nil, "closed", "CLOSED" end
  return within(consumer, shared, method == "step" and turn or read, handler, opts)
end

function reader.read_history(consumer, handler, given)
  check_handler("read_history", handler, 2)
  local opts = check_options("read_history", given, read_options, 2)
  return reader.run("read_history", consumer, handler, opts)
end

function reader.step(consumer, handler, given)
  check_handler("step", handler, 2)
  local opts = check_options("step", given, step_options, 2)
  return reader.run("step", consumer, handler, opts)
end

local function next_message(consumer, shared, opts, clock, fresh)
  local ready, err, code = prepare(consumer, shared, opts, clock, fresh)
  if ready == "messages" then return shared.batch[shared.handled + 1] end
  if ready == "stop" then return nil end
  return nil, err, code
end

-- An iterator: a message counts as handled when the next one is asked for.
function reader.messages(consumer, given)
  local opts = check_options("messages", given, iterator_options, 2)
  local shared, closed = engine.shared(consumer)
  if closed then error("messages: the consumer is closed", 2) end
  if shared.running then error("messages: this consumer is being read already", 2) end
  local iterator = {}
  local clock = new_clock(opts)
  local fresh, outstanding = false, false
  shared.iterator = iterator
  return function()
    if shared.iterator ~= iterator then
      error("messages: this consumer was read by another call meanwhile", 2)
    end
    if outstanding then shared.handled = shared.handled + 1 end
    outstanding = false
    if not begin("messages", consumer, opts, 2) then error("closed", 2) end
    shared.iterator = iterator
    local message, err = within(consumer, shared, next_message, opts, clock, fresh)
    if err then error(err, 2) end
    fresh, outstanding = true, message ~= nil
    return message
  end
end

return reader
