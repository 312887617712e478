--- The latest value of each key of a topic, held in C and kept live: no Lua value is made for a message
-- that nobody looks at.
--
--     local view = assert(require "kafka_history.view".new { addresses = "k1:9092", topics = "prices" })
--     assert(view:read { stop_at = "caught_up" })
--     print(view:get "GOLD", #view)
--
-- A view is a consumer whose handler is the table. In an event loop it is made by the loop's module, as in
-- `require "kafka_history.cqueues".view.new(config)`. doc/view.md says what is seen when.

local core = require "kafka_history.core"
local history = require "kafka_history"
local options = require "kafka_history.options"
local reader = require "kafka_history.reader"

local engine, tables = core.consumer, core.view
local methods = tables.methods
local now = engine.now

local function consumer_of(view)
  return tables.shared(view).consumer
end

-- --- reading ------------------------------------------------------------------------------------------

-- Everything at once, as nobody is told.
local function take_all(consumer, shared, view, opts)
  local handled, code, text = tables.put(view, shared.handled, shared.limit, opts.max_bytes)
  shared.handled = handled
  if code then return reader.fail(consumer, shared, code, text) end
  return true
end

-- One message after the other. What is told is in the table, and counts as handled.
local function take_each(consumer, shared, view, opts, due)
  local own = tables.shared(view)
  while own.on_change and shared.handled < shared.limit do
    local key, new, old, topic = tables.change(view, shared.handled, opts.max_bytes)
    if key == false then return reader.fail(consumer, shared, new, old) end
    shared.handled = shared.handled + 1
    if key then
      local ok, err, code, raised =
        reader.call_back(consumer, shared, "on_change", own.on_change, key, new, old, topic)
      if not ok then return nil, err, code, raised end
    end
    if due and now() >= due then break end
  end
  return true
end

-- The rest of the batch. A batch holds history or what came later, never both.
local function take(consumer, shared, view, opts, due)
  if tables.shared(view).on_change and engine.is_caught_up(consumer) then
    return take_each(consumer, shared, view, opts, due)
  end
  return take_all(consumer, shared, view, opts)
end

local read_options = {
  stop_at = "stop_at", timeout = "seconds", batch = "batch", on_tick = "callback", tick = "pause",
  max_bytes = "bytes",
}
local step_options = { batch = "batch", max_bytes = "bytes" }

local no_fields = {} -- so that no message becomes a Lua value

local function complete(view, opts)
  opts.numbers, opts.handle, opts.owner = no_fields, take, view
  return opts
end

--- Reads into the table and goes on with live messages, as consumer:read_history does, without a handler.
-- @tparam ?table opts stop_at, timeout, batch, on_tick (called with the view), tick, and max_bytes: what
-- the table may take of memory
-- @return true when it stopped as asked; nil, err, code
function methods.read(view, opts)
  local checked = complete(view, reader.check_options("read", opts, read_options, 2))
  return reader.run("read", consumer_of(view), view, checked)
end

--- One turn that never blocks: how many messages it took, and whether there is more; nil, err, code.
-- @tparam ?table opts batch, max_bytes
function methods.step(view, opts)
  local checked = complete(view, reader.check_options("step", opts, step_options, 2))
  return reader.run("step", consumer_of(view), view, checked)
end

--- Has a function called with key, new value, old value and topic after each change that comes after the
-- signal; nil values: the key was not there before, or is not any more. One function; nil: none.
function methods.on_change(view, callback)
  if callback ~= nil and not options.callable(callback) then
    error("on_change: expected a function, got " .. options.describe(callback), 2)
  end
  tables.shared(view).on_change = callback
  return true
end

-- --- what a consumer has ---------------------------------------------------------------------------------

for _, name in ipairs { "caught_up", "cancel", "pollfd", "events", "timeout", "assignment", "commit" } do
  methods[name] = function(view, ...)
    return engine.methods[name](consumer_of(view), ...)
  end
end

--- As consumer:progress(), and `keys`, `kept_bytes` and `without_key`, the messages that had none.
function methods.progress(view)
  local progress = engine.methods.progress(consumer_of(view))
  local keys, bytes, without_key = tables.counts(view)
  if not keys then bytes, without_key = nil, nil end -- closed
  progress.keys, progress.kept_bytes, progress.without_key = keys or 0, bytes or 0, without_key or 0
  return progress
end

--- Ends reading and frees the table; while it is being read, that takes effect after the current turn.
function methods.close(view)
  engine.methods.close(consumer_of(view))
  tables.release(view)
  return true
end

tables.metamethods.__close = methods.close

-- --- making one --------------------------------------------------------------------------------------------

-- The configuration as a view's consumer needs it. Raises.
local function prepare(config)
  if type(config) ~= "table" then return config end
  if config.worker ~= nil then
    error("new: worker: a view is of the worker that reads it, so each worker has one of its own", 3)
  end
  if config.consumer_group == nil then return config end
  if type(config.topics) == "table" and #config.topics > 1 then
    error("new: topics: a view in a group has one topic", 3)
  end
  local own = {}
  for name, value in pairs(config) do own[name] = value end
  -- What others have committed is in none of this view's tables.
  if own.from_beginning == nil then own.from_beginning = true end
  return own
end

local function new(module, config)
  -- Called by pcall, an error has no place in a file of ours before its text.
  local ok, consumer, err, code = pcall(module.new, prepare(config))
  if not ok then error(consumer, 2) end
  if not consumer then return nil, err, code end
  return tables.new(consumer, {})
end

local view = {}

--- The views of a module: their consumers are made by it, and wait as they do.
function view.over(module)
  return { new = function(config) return new(module, config) end }
end

--- Makes a view; nothing is asked of a broker before it is read.
-- @tparam table config as history.new takes it. In a group a view has one topic, and from_beginning is true
-- unless it is given.
-- @return the view; nil, err, code
function view.new(config)
  return new(history, config)
end

return view
