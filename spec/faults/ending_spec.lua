-- The end of a consumer in the middle of every fault, on a real broker of this spec's own: close()
-- within 5 s, collecting it at once, and nothing left of it then: no thread, no file descriptor. (That
-- no memory is left is seen where this runs in the sanitizers' build.)

local cluster = require "support.cluster"
local history = require "kafka_history"
local kafka = require "support.kafka"
local proxy = require "support.proxy"
local reading = require "support.reading"

local port = 19000 + math.floor(reading.now() * 1000) % 4000
local messages = 4000

-- Small fetches, so that a fault in the middle of the history finds most of it unread.
local slow = {
  ["fetch.message.max.bytes"] = 4096, ["fetch.max.bytes"] = 65536, ["queued.min.messages"] = 100,
  ["message.max.bytes"] = 65536, ["reconnect.backoff.max.ms"] = 500,
  ["topic.metadata.refresh.interval.ms"] = 500,
}

local broker, between, credentials

local function with(options)
  local all = {}
  for property, value in pairs(slow) do all[property] = value end
  for property, value in pairs(options) do all[property] = value end
  return all
end

local function listener(name)
  return broker:tool("addresses --listener " .. name):match "%S+"
end

local function fill(topic)
  local producer = require "kafka_history.producer"
  local out = assert(producer.new { addresses = broker.address })
  for i = 1, messages do assert(out:send(topic, { partition = 0, value = ("%08d"):format(i):rep(12) })) end
  assert(out:flush(60))
  out:close()
end

local function new_topic()
  local topic = broker:create("ending", 1)
  fill(topic)
  return topic
end

local function say(command)
  return function() between:say(command) end
end

local function through_proxy()
  return { addresses = "127.0.0.1:" .. port }
end

local function tool(verb)
  return function() broker:tool(verb) end
end

local function access(name, options)
  return function() return { addresses = listener(name), options = with(options()) } end
end

-- name; config: what the consumer is made with, beside the topic; strike, heal: what happens in the
-- middle of the history and how it ends. Without `strike` the fault is there from the start.
local faults = {
  { name = "the broker is dead", strike = tool "kill 1", heal = tool "restart 1" },
  { name = "the broker is stopped", strike = tool "pause 1", heal = tool "cont 1" },
  { name = "the network is cut", config = through_proxy, strike = say "cut", heal = say "pass" },
  { name = "the network is cut on the way up", config = through_proxy, strike = say "cut up",
    heal = say "pass" },
  { name = "the network is cut on the way down", config = through_proxy, strike = say "cut down",
    heal = say "pass" },
  { name = "connections are refused", config = through_proxy, strike = say "refuse", heal = say "pass" },
  { name = "a request is lost", config = through_proxy, strike = say "swallow 1", heal = say "pass" },
  { name = "the topic is deleted", own_topic = true,
    strike = function(topic) broker:admin("delete " .. topic) end },
  { name = "the topic is deleted and made anew", own_topic = true,
    strike = function(topic)
      broker:admin("delete " .. topic)
      broker:admin("create " .. topic .. " 1")
    end },
  { name = "the topic is deleted and made anew, longer", own_topic = true,
    strike = function(topic)
      broker:admin("delete " .. topic)
      broker:admin("create " .. topic .. " 1")
      fill(topic)
      fill(topic)
    end },
  { name = "records are deleted in front of the reader", own_topic = true,
    strike = function(topic) broker:admin(("delete-records %s 0 %d"):format(topic, messages - 1)) end },
  { name = "there is no broker", config = function() return { addresses = "127.0.0.1:1" } end },
  { name = "the broker does not answer at the start", config = through_proxy, before = say "cut",
    heal = say "pass" },
  { name = "the password is wrong", config = access("SASL", function()
    return { ["security.protocol"] = "sasl_plaintext", ["sasl.mechanism"] = "PLAIN",
      ["sasl.username"] = "reader", ["sasl.password"] = "wrong" }
  end) },
  { name = "the broker's certificate is by another CA", config = access("SSL", function()
    return { ["security.protocol"] = "ssl", ["ssl.ca.location"] = credentials.other_ca }
  end) },
  { name = "the broker's certificate has expired", config = access("EXPIRED", function()
    return { ["security.protocol"] = "ssl", ["ssl.ca.location"] = credentials.ca }
  end) },
  { name = "the topic is not allowed", config = access("SASL", function()
    return { ["security.protocol"] = "sasl_plaintext", ["sasl.mechanism"] = "PLAIN",
      ["sasl.username"] = "stranger", ["sasl.password"] = credentials.stranger }
  end) },
  { name = "the topic is missing", config = function()
    return { topics = kafka.topic_name "missing" }
  end },
}

local ways = {
  ["be closed within 5 s"] = function(held)
    local began = reading.now()
    assert.is_true(held.consumer:close())
    assert.is_true(reading.now() - began < 5.5)
    held.consumer = nil -- what wakes a loop lives as long as the object
  end,
  ["be collected at once"] = function(held)
    held.consumer = nil
    local began = reading.now()
    collectgarbage()
    collectgarbage()
    assert.is_true(reading.now() - began < 1)
  end,
}

describe("a consumer leaves no thread and no descriptor, and can", function()
  local shared

  setup(function()
    broker = cluster.start(1, "--secure --proxy-port " .. port)
    credentials = {}
    for name, value in broker:tool("credentials"):gmatch "(%S-)=(%S+)\n" do credentials[name] = value end
    between = proxy.start(port, listener("PROXY"):match ":(%d+)")
    shared = new_topic()
  end)

  teardown(function()
    if between then between:stop() end
    if broker then broker:stop() end
  end)

  -- Makes the consumer and brings it into the fault; on a stack of its own, as what is collected must
  -- not be held by a slot of this one.
  local function strike(fault, topic, held)
    local config = { addresses = broker.address, topics = topic, options = slow, stall_timeout = 0.5 }
    for key, value in pairs(fault.config and fault.config() or {}) do config[key] = value end
    if fault.before then fault.before() end
    held.consumer = assert(history.new(config))
    if fault.strike then
      local count = 0
      local _, err, code = held.consumer:read_history(function(_, reader)
        count = count + 1
        if count == 100 then reader:cancel() end
      end, { timeout = 20, batch = 10 })
      assert.equal("CANCELLED", code, err)
      fault.strike(topic)
    end
    local _, _, code = held.consumer:read_history(function() end, { timeout = 1.5, batch = 10 })
    assert.is_string(code)
  end

  for way, finish in pairs(ways) do
    for _, fault in ipairs(faults) do
      it(way .. " while " .. fault.name, function()
        local topic = fault.own_topic and new_topic() or shared
        local fds, threads = reading.settled_resources()
        local held = {}
        local ok, err = pcall(reading.apart, function() strike(fault, topic, held) end)
        if ok then ok, err = pcall(finish, held) end
        local as_before = ok and reading.is_as_before(fds, threads)
        if fault.heal then fault.heal() end
        assert(ok, err)
        assert.is_true(as_before, "threads or descriptors are left")
      end)
    end
  end
end)
