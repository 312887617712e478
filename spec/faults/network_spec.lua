-- What happens when the network between client and broker fails: build/proxy stands between them, and
-- the broker tells clients to come back through it.

local cluster = require "support.cluster"
local history = require "kafka_history"
local proxy = require "support.proxy"
local system = require "system"

local port = 15000 + math.floor(system.gettime() * 1000) % 4000

local options = {
  ["reconnect.backoff.ms"] = 50, ["reconnect.backoff.max.ms"] = 500, ["socket.timeout.ms"] = 2000,
  ["fetch.message.max.bytes"] = 4096, ["fetch.max.bytes"] = 65536, ["queued.min.messages"] = 100,
  ["message.max.bytes"] = 65536,
}

describe("a history read through a network that fails", function()
  local one, between, bound, topic, small

  setup(function()
    one = cluster.start(1, "--proxy-port " .. port)
    bound = one:tool("addresses --listener PROXY"):match ":(%d+)"
    between = proxy.start(port, bound)
    topic = one:create("network", 2)
    small = one:create("network", 3)
    local producer = require "kafka_history.producer"
    local out = assert(producer.new { addresses = one.address })
    for i = 0, 7999 do
      assert(out:send(topic, { partition = i % 2, value = ("%08d"):format(i):rep(12) }))
    end
    for i = 0, 29 do assert(out:send(small, { partition = i % 3, value = "x" })) end
    assert(out:flush(60))
    out:close()
  end)

  teardown(function()
    between:stop()
    one:stop()
  end)

  -- Reads to the end; `fault` is called in the middle with later(seconds, action).
  local function read(name, fault, seconds)
    local consumer = assert(history.new {
      addresses = "127.0.0.1:" .. port, topics = name, options = options,
      start_timeout = 15, stall_timeout = 2,
    })
    local caught_up = consumer:caught_up()
    local nexts, count, actions = {}, 0, {}
    local ok, err, code = consumer:read_history(function(msg)
      assert(not caught_up:is_ready(), "released before the history was handled")
      assert(msg.offset == (nexts[msg.partition] or 0), "lost, repeated or out of order")
      nexts[msg.partition] = msg.offset + 1
      count = count + 1
      if count == 500 and fault then
        fault(function(after, action)
          table.insert(actions, { at = system.monotime() + after, run = action })
        end)
      end
    end, {
      stop_at = "caught_up", timeout = seconds, tick = 0.1,
      on_tick = function()
        for i = #actions, 1, -1 do
          if system.monotime() >= actions[i].at then table.remove(actions, i).run() end
        end
      end,
    })
    local began = system.monotime()
    consumer:close()
    assert.is_true(system.monotime() - began < 5.5)
    return ok, err, code, count
  end

  for _, fault in ipairs { "cut", "cut up", "cut down", "refuse" } do
    it(("is whole after \"%s\" for 5 seconds"):format(fault), function()
      local ok, err, _, count = read(topic, function(later)
        between:say(fault)
        later(5, function() between:say "pass" end)
      end, 60)
      between:say "pass"
      assert.same({ true, nil, 8000 }, { ok, err, count })
    end)

    it(("cannot start during \"%s\", and says so at start_timeout"):format(fault), function()
      between:say(fault)
      local consumer = assert(history.new {
        addresses = "127.0.0.1:" .. port, topics = small, options = options, start_timeout = 2,
      })
      local began = system.monotime()
      local ok, err, code = consumer:read_history(function() end, { timeout = 30 })
      local took = system.monotime() - began
      between:say "pass"
      assert.is_nil(ok)
      assert.is_true(code == "_TRANSPORT" or code == "_TIMED_OUT", tostring(err))
      assert.matches("answered within 2 s", err, 1, true)
      assert.is_true(took < 8, tostring(took))
      -- The next call takes a new start.
      assert(consumer:read_history(function() end, { stop_at = "caught_up", timeout = 20 }))
      consumer:close()
    end)
  end

  -- The broker is reached; it tells clients to come to where nobody answers.
  it("cannot start where the address that the broker advertises is out of reach, and says that", function()
    between:say "refuse"
    local consumer = assert(history.new {
      addresses = "127.0.0.1:" .. bound, topics = small, options = options, start_timeout = 2,
    })
    local ok, err = consumer:read_history(function() end, { timeout = 30 })
    between:say "pass"
    assert.is_nil(ok)
    assert.matches("names leaders of the partitions that have not all answered within 2 s", err, 1, true)
    assert.matches(("127.0.0.1:%d, which a broker named ("):format(port), err, 1, true)
    assert(consumer:read_history(function() end, { stop_at = "caught_up", timeout = 20 }))
    consumer:close()
  end)

  for _, fault in ipairs { "close", "swallow" } do
    it(("is whole, or ends with an error, when a request is lost: \"%s n\", n = 1 to 30"):format(fault),
      function()
        for n = 1, 30 do
          between:say(("%s %d"):format(fault, n))
          local ok, err, code, count = read(small, nil, 40)
          between:say "pass"
          assert.is_true(ok == true and count == 30 or (ok == nil and code ~= nil and code ~= "TIMEOUT"),
            ("n = %d: %s, %d messages"):format(n, tostring(err), count))
        end
      end)
  end
end)
