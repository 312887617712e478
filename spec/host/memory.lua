-- What spec/host/memory.c runs where Lua's memory is lacking. Each function keeps in `kept` what
-- check() looks at; its slots are there before, so that keeping something allocates nothing.

local MESSAGES = 4

local kept, seen

local functions = {}

function functions.prepare(_, loaded)
  kept = { consumer = false, other = false, view = false, broker = false, producer = false, waitable = false }
  seen = { false, false, false, false }
  if loaded == "loaded" then
    require "kafka_history"
    require "kafka_history.broker"
    require "kafka_history.producer"
    require "kafka_history.view"
  end
end

function functions.load()
  require "kafka_history.core"
  require "kafka_history"
  require "kafka_history.broker"
  require "kafka_history.producer"
  require "kafka_history.view"
end

-- Asks for everything that a message has, and marks it as seen once that has succeeded.
local function handle(msg)
  local text, all = tostring(msg), msg:totable()
  if not text:find("t[0]@" .. msg.offset, 1, true) or #all.headers ~= #msg.headers
    or msg:data() ~= msg.value or msg:header("a") ~= all.headers[1].value
    or msg.key ~= "key " .. msg.offset or msg.topic ~= "t" or not msg.timestamp or msg:is_tombstone() then
    error("a wrong message")
  end
  if seen[msg.offset + 1] then error("a message comes twice") end
  seen[msg.offset + 1] = true
end

local function open(addresses)
  return assert(require "kafka_history".new {
    addresses = { addresses }, topics = "t", client_id = "memory", version = "2.8.0",
    options = { ["fetch.wait.max.ms"] = 10 }, start = { t = { [0] = 0 } },
    on_event = function(event) return event.text .. event.name end,
    on_log = function(line) return line.text end,
  })
end

local function read(consumer)
  local ok, err = consumer:read_history(handle, { stop_at = "caught_up", timeout = 10, batch = 3 })
  if not ok then error(err, 0) end
end

function functions.read(addresses)
  kept.consumer = open(addresses)
  kept.waitable = kept.consumer:caught_up()
  read(kept.consumer)
  local progress = kept.consumer:progress()
  if progress.messages ~= MESSAGES or #progress.partitions ~= 1 then error("wrong progress") end
  if not kept.waitable:wait(0) or kept.waitable:state() ~= "caught_up" then error("no signal") end
  return tostring(kept.consumer) .. tostring(kept.waitable) .. kept.waitable:pollfd()
end

-- The other ways to read, and a handler that fails.
function functions.read_otherwise(addresses)
  kept.other = open(addresses)
  local fields = { "topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers" }
  local ok, err, _, raised = kept.other:read_history(function(topic, _, offset, _, _, _, _, headers)
    if offset == 2 then error("in the middle") end
    return topic .. headers[1].name .. offset
  end, { fields = fields, timeout = 10 })
  if not tostring(raised):find("in the middle", 1, true) then error(ok or err, 0) end
  for msg in kept.other:messages { stop_at = "caught_up", timeout = 10 } do
    if msg.offset < 2 then error("a message comes twice") end
  end
  assert(kept.other:step(handle))
  kept.other:close()
end

local function read_view()
  local ok, err = kept.view:read { stop_at = "caught_up", timeout = 10, batch = 3 }
  if not ok then error(err, 0) end
end

local function look_at_view()
  local count = 0
  for key, value in kept.view:pairs() do
    local msg = kept.view:message(key)
    if key ~= "key " .. msg.offset or value ~= "v" .. msg.offset or msg.value ~= value
      or msg:header("a") ~= "x" .. msg.offset or kept.view:get(key) ~= value then
      error("a wrong message")
    end
    count = count + 1
  end
  if count ~= MESSAGES or #kept.view ~= MESSAGES then error("a message is missing") end
  return tostring(kept.view) .. kept.view:progress().keys
end

function functions.view(addresses)
  kept.view = assert(require "kafka_history.view".new {
    addresses = { addresses }, topics = "t", options = { ["fetch.wait.max.ms"] = 10 },
  })
  kept.view:on_change(function(key) return key end)
  read_view()
  look_at_view()
end

local function make_broker()
  kept.broker = assert(require "kafka_history.broker".new { topics = { t = 2, other = 1 }, brokers = 1 })
end

local function use_broker()
  assert(kept.broker:produce("t", {
    { key = "a", value = "1", headers = { { name = "a", value = "b" }, { name = "c" } }, timestamp = 5 },
    { value = "2", partition = 1 }, "3",
  }))
  assert(kept.broker:error("Fetch", { "NOT_LEADER_FOR_PARTITION", "NO_ERROR" }))
  assert(kept.broker:clear_errors("Fetch"))
  assert(kept.broker:leader("t", 0, 1))
  return tostring(kept.broker) .. kept.broker:addresses()
end

function functions.broker()
  make_broker()
  use_broker()
  kept.broker:close()
end

local function make_producer(addresses)
  kept.producer = assert(require "kafka_history.producer".new {
    addresses = { addresses }, client_id = "memory",
    options = { ["linger.ms"] = 0, ["enable.idempotence"] = false },
  })
end

local function use_producer()
  assert(kept.producer:send("sent", { key = "k", value = "v", headers = { { name = "a", value = "b" } } }))
  assert(kept.producer:flush(10))
  return tostring(kept.producer)
end

function functions.producer(addresses)
  make_producer(addresses)
  use_producer()
  kept.producer:close()
end

-- With memory again: the consumer reads what is left, each message once; the others work or are closed.
function functions.check(addresses)
  if kept.consumer then
    read(kept.consumer)
    for offset = 1, MESSAGES do
      if not seen[offset] then error("a message is missing") end
    end
    if kept.waitable and kept.waitable:state() ~= "caught_up" then error("no signal") end
    assert(kept.consumer:close())
  end
  if kept.other then assert(kept.other:close()) end
  if kept.view then
    read_view()
    look_at_view()
    assert(kept.view:close())
  end
  if kept.broker and kept.broker:addresses() then use_broker() end
  if kept.producer and kept.producer:flush() then use_producer() end
  for name, module in pairs(package.loaded) do
    -- LuaJIT's require() does not try again what has failed.
    if name:find("^kafka_history") and type(module) ~= "table" then package.loaded[name] = nil end
  end
  for _, name in ipairs { "kafka_history", "kafka_history.broker", "kafka_history.producer",
    "kafka_history.view" } do
    if type(require(name).new) ~= "function" then error(name .. " is broken") end
  end
  return addresses
end

return functions
