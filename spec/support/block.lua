-- Runs a block of Lua from the manual, as a reader would who has a broker at localhost:9092 with a few
-- messages: `lua block.lua FILE ADDRESSES`. What differs from that is here:
--
-- * Every consumer reads from ADDRESSES. The configuration is checked as it is printed, files of
--   certificates excepted, and used without what the embedded broker lacks (TLS, logins, groups' options).
-- * What reads on with live messages ends when it has caught up.
-- * A fragment finds what its page talks of as globals (below); another global is an error.
-- * A block of keys alone, as in `consumer_group = "pricing",`, is a configuration; what a block assigns to
--   `options` too. A function that it returns is a handler, and gets the messages.
--
-- A block that brings a broker of its own runs as it is.
--
-- spec/manual/blocks_spec.lua calls it.

local file_name, addresses = ...

local core = require "kafka_history.core"
local history = require "kafka_history"

local function read_file(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local text = read_file(file_name)

if text:find("kafka_history.broker", 1, true) then
  dofile(file_name)
  return
end

local methods = core.consumer.methods

local function copy(from)
  local to = {}
  for key, value in pairs(from or {}) do to[key] = value end
  return to
end

-- --- configurations --------------------------------------------------------------------------------------

local new = history.new

local function without_files(options)
  local kept = {}
  for name, value in pairs(options or {}) do
    if not name:find "%.location$" then kept[name] = value end
  end
  return kept
end

-- Raises for what the module does not take.
local function check(config)
  local checked = copy(config)
  checked.addresses = checked.addresses or addresses
  checked.topics = checked.topics or "orders"
  checked.options = without_files(config.options)
  -- What needs a newer librdkafka than Debian's says so itself.
  local consumer = assert(new(checked))
  consumer:close()
end

-- What the embedded broker has not.
local unlike = { "^ssl%.", "^sasl%.", "^security%." }

local function adapt(config)
  check(config)
  local adapted = copy(config)
  adapted.addresses, adapted.options = addresses, {}
  for name, value in pairs(config.options or {}) do
    local is_like = true
    for _, pattern in ipairs(unlike) do is_like = is_like and not name:find(pattern) end
    if is_like then adapted.options[name] = value end
  end
  return adapted
end

local made = {}

local function patch(module)
  local plain = module.new
  function module.new(config)
    if type(config) ~= "table" then return plain(config) end
    local consumer, err, code = plain(adapt(config))
    made[#made + 1] = consumer
    return consumer, err, code
  end
  return module
end

-- --- live reading ------------------------------------------------------------------------------------------

-- Adds to a method that reads an end at the signal.
local function end_at_signal(table_of_methods, name, options_at)
  local read = table_of_methods[name]
  table_of_methods[name] = function(reader, ...)
    local given = { ... }
    local opts = copy(given[options_at])
    if opts.stop_at then return read(reader, ...) end
    local on_tick, ended = opts.on_tick, false
    opts.tick = 0.01
    function opts.on_tick(...)
      if on_tick then on_tick(...) end
      if reader:progress().state == "caught_up" then
        ended = true
        reader:cancel()
      end
    end
    given[options_at] = opts
    local ok, err, code, raised = read(reader, given[1], given[2])
    if ended and code == "CANCELLED" then return true end
    return ok, err, code, raised
  end
end

end_at_signal(methods, "read_history", 2)

local messages = methods.messages
function methods.messages(consumer, given)
  local opts = copy(given)
  opts.stop_at = "caught_up"
  return messages(consumer, opts)
end

patch(history)
local require_plain = require
local patched = { kafka_history = true }

-- Debian's copas goes on when no thread is left.
local function end_loop(copas)
  local add, threads = copas.addthread, 0
  function copas.addthread(body, ...)
    threads = threads + 1
    return add(function(...)
      body(...)
      threads = threads - 1
    end, ...)
  end
  function copas.loop()
    while threads > 0 do copas.step(0.1) end
  end
end

local function require_patched(name)
  local module = require_plain(name)
  if name == "copas" and not patched[name] then
    patched[name] = true
    end_loop(module)
  end
  if not patched[name] and name:find "^kafka_history" then
    patched[name] = true
    if name == "kafka_history.view" then
      local view_new = module.new
      function module.new(config)
        local view = assert(view_new(adapt(config)))
        local class = getmetatable(view).__index
        if not patched[class] then
          patched[class] = true
          end_at_signal(class, "read", 1)
        end
        made[#made + 1] = view
        return view
      end
    elseif name == "kafka_history.producer" then
      local producer_new = module.new
      function module.new(config)
        config = copy(config)
        config.addresses = addresses
        return producer_new(config)
      end
    elseif module.with_host then
      patch(module)
    end
  end
  return module
end

-- --- what fragments find ---------------------------------------------------------------------------------

local lazily = {}

function lazily.history() return history end

function lazily.consumer() return assert(history.new { addresses = addresses, topics = "orders" }) end

function lazily.view()
  local view = assert(require_patched "kafka_history.view".new {
    addresses = addresses, topics = "orders",
  })
  assert(view:read { stop_at = "caught_up" })
  return view
end

function lazily.handler() return function() end end

lazily.handle = lazily.handler

function lazily.prices() return {} end

function lazily.cjson() return require_plain "cjson" end

function lazily.cqueues() return require_plain "cqueues" end

function lazily.uv() return require_plain "luv" end

function lazily.socket() return require_plain "socket" end

function lazily.server() return require_plain "socket".bind("127.0.0.1", 0) end

function lazily.message()
  local found
  local consumer = assert(new { addresses = addresses, topics = "orders" })
  for given in messages(consumer, { stop_at = "caught_up" }) do found = found or given end
  consumer:close()
  return found
end

function lazily.secret() return "secret" end

-- Neovim's, of which its page uses this.
function lazily.vim() return { schedule = function(call) call() end, notify = print } end

local system = copy(os)

function system.getenv(name)
  return name:find "PASSWORD" and "secret" or os.getenv(name)
end

local environment = { require = require_patched, os = system, arg = { addresses, "orders" } }
local turns = 0

setmetatable(environment, { __index = function(_, name)
  if rawget(_G, name) ~= nil then return _G[name] end
  if name == "running" then -- a loop that goes on until the history has been read
    turns = turns + 1
    local consumer = made[#made]
    return turns < 1e6 and not (consumer and consumer:progress().state == "caught_up")
  end
  local make = lazily[name]
  if not make then error(("the block uses %s, which nobody has defined"):format(name), 2) end
  local value = make()
  rawset(environment, name, value)
  return value
end })

-- --- the block ---------------------------------------------------------------------------------------------

local function compile(code, name)
  if _VERSION ~= "Lua 5.1" then return load(code, name, "t", environment) end
  local chunk, err = loadstring(code, name) -- luacheck: std max
  return chunk and setfenv(chunk, environment), err -- luacheck: std max
end

local chunk, err = compile(text, "=block")
local is_config = false
if not chunk then
  is_config = true
  chunk = assert(compile("return {\n" .. text .. "\n}", "=block"), err)
end
local result = chunk()

if is_config then check(result) end
local options = rawget(environment, "options")
if options then check { options = options } end

local handle = type(result) == "table" and result.handle or result
if not is_config and type(handle) == "function" then
  local consumer = assert(new { addresses = addresses, topics = "orders" })
  assert(consumer:read_history(handle, { stop_at = "caught_up" }))
  consumer:close()
end

-- What a page of a loop that runs by itself (Neovim's) has left to it; and what waits for a signal.
local consumer = rawget(environment, "consumer")
if consumer and consumer:caught_up() and not consumer:caught_up():is_ready() then
  assert(consumer:read_history(function() end, { stop_at = "caught_up", timeout = 10 }))
end
if package.loaded.luv then package.loaded.luv.run() end
for _, reader in ipairs(made) do reader:close() end
