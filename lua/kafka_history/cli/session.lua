--- One run of the command: brokers, handler, reading, and what is said about how it ended.

local core = require "kafka_history.core"
local failure = require "kafka_history.cli.failure"
local format = require "kafka_history.cli.format"
local handler = require "kafka_history.cli.handler"
local history = require "kafka_history"
local host = require "kafka_history.host"
local output = require "kafka_history.cli.output"
local screen = require "kafka_history.cli.screen"
local start = require "kafka_history.cli.start"

local now = core.consumer.now

local session = {}

local TICK = 0.1
local HANDLER_TICK = 1
local LOOK = 0.3 -- at the handler's file

-- What has collected in stdout goes out before the thread sleeps.
local module
do
  local its_host = {}
  for name, part in pairs(host.blocking) do its_host[name] = part end
  function its_host.wait(...)
    output.flush()
    return host.blocking.wait(...)
  end
  function its_host.rest(...)
    output.flush()
    return host.blocking.rest(...)
  end
  module = history.with_host(its_host)
end

-- What ends a run from within: how (a name of run.lua's status), and what to say.
local function stop(ended, text, ...)
  error({ ended = ended, text = text and select("#", ...) > 0 and text:format(...) or text }, 0)
end

-- --- the consumer -----------------------------------------------------------------------------------------

local told_events = { gap = true, truncated = true, stalled = true, error = true }

local function configuration(run)
  local options = run.options
  local config = {
    addresses = options.addresses, topics = options.topics, consumer_group = options.group,
    client_id = options.client_id, version = options.version, options = options.properties,
    on_event = function(event)
      run.screen:note(event)
      if told_events[event.name] then run.screen:tell("%s: %s", event.name, event.text) end
    end,
  }
  if options.log then
    function config.on_log(line) run.screen:tell("log %d %s: %s", line.level, line.facility, line.text) end
  end
  return config
end

-- A mistake in the configuration is raised by the module, named by its keys.
local function new(config)
  local ok, consumer, err, code = pcall(module.new, config)
  if ok then return consumer, err, code end
  local mistake = tostring(consumer):gsub("^.-new: ", "", 1):gsub('^options%["(.-)"%]: ', "%1: ", 1)
  stop("usage", mistake)
end

local function open(run)
  local config = configuration(run)
  local ok, err = start.configure(new, config, run.options.from)
  if not ok then stop("kafka", err) end
  local consumer
  consumer, err = new(config)
  if not consumer then stop("kafka", err) end
  run.consumer = consumer
end

-- --- the handler ------------------------------------------------------------------------------------------

local function is_interrupt(value)
  return type(value) == "string" and value:find("interrupted!", 1, true)
    and not core.consumer.catches_sigint()
end

local function keep_trace(value)
  if type(value) ~= "string" or is_interrupt(value) then return value end
  return { text = debug.traceback(value, 2) }
end

-- Calls a part of the handler that is not `handle`.
local function call(run, name)
  local part = run.parts[name]
  if not part then return end
  local ok, value = xpcall(part, keep_trace, run.consumer)
  if ok then return end
  if is_interrupt(value) then error(value, 0) end
  stop("handler", "the handler's %s failed: %s", name,
    type(value) == "table" and value.text or tostring(value))
end

-- The function that prints, with the fields it needs; or the handler, which gets messages.
local function load_parts(run)
  local options = run.options
  local parts, mistake
  output.collect(nil)
  run.fields = nil
  if options.code then
    parts, mistake = handler.body(options.code)
  elseif options.file then
    run.text, mistake = handler.read(options.file)
    if not run.text then stop("usage", mistake) end
    parts, mistake = handler.load(options.file, run.text)
  else
    local printer = format.compile(options.format, output.write, options.group ~= nil)
    output.collect(printer.drain)
    parts, run.fields = { handle = printer.handle }, printer.fields
  end
  if not parts then stop("handler", mistake) end
  run.parts = parts
end

local function failed(ok, err)
  return ok == false or err ~= nil and not ok
end

-- Messages of other partitions than those asked for are passed over.
local function only(run, handle, places)
  if not run.fields then
    return function(msg, consumer)
      if places[msg.partition] then return handle(msg, consumer) end
    end
  end
  local fields = { "partition" }
  for _, name in ipairs(run.fields) do fields[#fields + 1] = name end
  run.fields = fields
  return function(partition, ...)
    if places[partition] then return handle(...) end
  end
end

-- What is handled must be out before it is committed.
local function flushed(handle)
  return function(...)
    local ok, err = handle(...)
    if failed(ok, err) then return ok, err end
    output.flush()
  end
end

local function counted(run, handle, count)
  local done = 0
  return function(...)
    local ok, err = handle(...)
    if failed(ok, err) then return ok, err end
    done = done + 1
    if done >= count then
      run.reason = "count"
      run.consumer:cancel()
    end
  end
end

local function build_handle(run)
  local options, handle = run.options, run.parts.handle
  if options.group then handle = flushed(handle) end
  if options.count then handle = counted(run, handle, options.count) end
  if options.from and options.from.places then handle = only(run, handle, options.from.places) end
  return handle
end

local function policy(run)
  local chosen = run.options.on_error
  if chosen ~= "skip" then return chosen end
  return function(err, msg)
    if err == output.failure then return "stop" end
    run.screen:tell("skipped %s[%d], offset %d: %s", msg.topic, msg.partition, msg.offset, tostring(err))
    return "skip"
  end
end

-- --- the handler's file, watched --------------------------------------------------------------------------

-- Has it changed? Not before it looks the same twice: it may be half written.
local function has_changed(run)
  local text = handler.read(run.options.file)
  local settled = text == run.seen
  run.seen = text
  return settled and text ~= nil and text ~= "" and text ~= run.text
end

local function watch(run)
  if not run.options.watch or now() < run.look_at then return end
  run.look_at = now() + LOOK
  if has_changed(run) then
    run.reason = "changed"
    run.consumer:cancel()
  end
end

local function await_change(run)
  output.flush()
  run.screen:tell("waiting for %s to change", run.options.file)
  while not has_changed(run) do host.blocking.rest(run.consumer, LOOK) end
end

-- --- reading ----------------------------------------------------------------------------------------------

local function tick(run)
  output.flush()
  run.screen:draw(run.consumer)
  watch(run)
  if run.parts.tick and now() >= run.handler_tick_at then
    run.handler_tick_at = now() + HANDLER_TICK
    call(run, "tick")
  end
end

local function is_caught_up(run)
  return run.consumer:progress().fraction == 1
end

local function on_timeout(run)
  if is_caught_up(run) then return "done" end
  stop("timeout", "not caught up after %g s", run.options.timeout)
end

-- How a call of read_history has ended; nil: it goes on.
local function conclude(run, ok, err, code, raised)
  if ok then return nil end
  if code == "CANCELLED" or code == "CLOSED" then return run.reason == "changed" and "changed" or "done" end
  if code == "TIMEOUT" then return on_timeout(run) end
  if type(raised) == "table" and (raised == output.failure or raised.ended) then error(raised, 0) end
  if code == "HANDLER" then stop("handler", failure.describe(run.options, err)) end
  stop("kafka", err)
end

local function read(run, handle, stop_at)
  local options = run.options
  local left = run.deadline and math.max(run.deadline - now(), 0)
  return conclude(run, run.consumer:read_history(handle, {
    stop_at = stop_at, timeout = left, fields = run.fields, on_error = policy(run),
    latest = options.latest, max_bytes = options.max_bytes,
    on_tick = function() tick(run) end, tick = TICK,
  }))
end

local function read_all(run)
  local handle = build_handle(run)
  local ended = read(run, handle, "caught_up")
  if ended then return ended end
  output.flush()
  run.told = true
  run.screen:verdict(run.consumer, "caught up", not run.options.until_caught_up
    and "waiting for more messages; Ctrl-C ends it")
  call(run, "caught_up")
  output.flush()
  if run.options.until_caught_up then return "done" end
  return read(run, handle, nil)
end

-- --- ending -----------------------------------------------------------------------------------------------

-- What was raised: how it ended, and what to say about it.
local function explain(value)
  if value == output.failure then
    if value.gone then return "gone" end
    return "output", "stdout cannot be written: " .. tostring(value.text)
  end
  if type(value) == "table" and value.ended then return value.ended, value.text end
  if is_interrupt(value) then return "interrupted" end
  error(value, 0)
end

local function attempt(run, body)
  local function raised(value)
    if type(value) == "string" and not is_interrupt(value) then return debug.traceback(value, 2) end
    return value
  end
  local ok, value, text = xpcall(body, raised, run)
  if ok then return value, text end
  return explain(value)
end

-- The reading has ended at the end of history, and the verdict has been given.
local function is_over(run, ended)
  return ended == "done" and run.options.until_caught_up and run.told
end

local silent = { usage = true, output = true, gone = true, changed = true }

local function conclude_output(run, ended)
  return attempt(run, function()
    if ended ~= "output" and ended ~= "gone" then output.flush() end
    if not run.consumer or silent[ended] or is_over(run, ended) then return "done" end
    if #run.consumer:progress().partitions == 0 then return "done" end
    run.screen:verdict(run.consumer, ended == "interrupted" and ended or is_caught_up(run) and "ended" or nil)
    return "done"
  end)
end

local function finish_handler(run)
  if not run.parts then return "done" end
  local ended, text = attempt(run, function()
    call(run, "close")
    output.flush()
    return "done"
  end)
  run.parts = nil
  return ended, text
end

local function one_reading(run)
  run.reason, run.parts, run.told = nil, nil, false
  run.screen:begin()
  run.look_at, run.handler_tick_at = now() + LOOK, now() + HANDLER_TICK
  open(run)
  load_parts(run)
  return read_all(run)
end

local function say(run, ended, text)
  if text and ended ~= "usage" then run.screen:tell(text) end
end

local goes_on = { changed = true, done = true, handler = true, timeout = true }

-- Reads until it is over; with --watch again and again.
local function read_and_watch(run)
  while true do
    local ended, text = attempt(run, one_reading)
    local closed, its_text = conclude_output(run, ended)
    say(run, ended, text)
    local finished, last_text = finish_handler(run)
    say(run, finished, last_text)
    say(run, closed, its_text)
    if ended == "done" then ended = closed ~= "done" and closed or finished end
    if not (run.options.watch and goes_on[ended]) then return ended, text end
    if ended ~= "changed" then
      local awaited = attempt(run, function()
        await_change(run)
        return "changed"
      end)
      if awaited ~= "changed" then return awaited end
    end
    run.screen:tell("%s has changed: reading from the start", run.options.file)
    run.consumer:close()
  end
end

local function open_broker(run)
  local options = run.options
  if not options.embedded then return end
  local shop, topics = require "kafka_history.cli.embedded".open(options)
  if not shop then stop("usage", topics) end
  run.shop, options.addresses, options.topics = shop, shop:addresses(), topics
end

--- Runs it: how it ended (a name of run.lua's status), and what is left to say.
function session.run(options)
  output.open()
  local run = { options = options, screen = screen.new(options.progress) }
  output.before = function() run.screen:clear() end
  run.deadline = options.timeout and now() + options.timeout
  local ended, text = attempt(run, function()
    open_broker(run)
    return read_and_watch(run)
  end)
  if run.consumer then run.consumer:close() end
  if run.shop then run.shop:close() end
  return ended, text
end

return session
