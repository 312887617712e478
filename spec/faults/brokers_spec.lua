-- What happens when brokers die, stop, move or cannot be reached, on a real cluster of this spec's own.
--
-- The checker reads the log of handled messages: in every case each message of the history exactly
-- once and in order per partition, the signal not before the last of them, close() bounded. Or the
-- documented error within its documented time.

local cluster = require "support.cluster"
local history = require "kafka_history"
local system = require "system"

local partitions, per_partition = 3, 4000

-- Small fetches, so that a fault in the middle of the history finds most of it unread.
local slow_options = {
  ["fetch.message.max.bytes"] = 4096, ["fetch.max.bytes"] = 65536, ["queued.min.messages"] = 100,
  ["message.max.bytes"] = 65536, ["reconnect.backoff.max.ms"] = 500,
}

-- Fills a topic: every partition gets per_partition messages, value = its offset.
local function fill(address, topic)
  local producer = require "kafka_history.producer"
  local out = assert(producer.new {
    addresses = address, options = { ["enable.idempotence"] = true },
  })
  for offset = 0, per_partition - 1 do
    for partition = 0, partitions - 1 do
      assert(out:send(topic, { partition = partition, value = ("%08d"):format(offset) }))
    end
  end
  assert(out:flush(60))
  out:close()
end

-- Reads the history; `fault` is called once, in the middle of it, with what is to be done later:
-- later(seconds, action). Checks what was handled.
local function read_through(address, topic, fault, seconds)
  local consumer = assert(history.new {
    addresses = address, topics = topic, options = slow_options, stall_timeout = 2,
  })
  local caught_up = consumer:caught_up()
  local nexts, count, actions = {}, 0, {}
  for partition = 0, partitions - 1 do nexts[partition] = 0 end
  local function later(after, action)
    table.insert(actions, { at = system.monotime() + after, run = action })
  end
  local ok, err = consumer:read_history(function(msg)
    assert(not caught_up:is_ready(), "released before the history was handled")
    assert(msg.offset == nexts[msg.partition] and tonumber(msg.value) == msg.offset,
      "lost, repeated or out of order: " .. tostring(msg))
    nexts[msg.partition] = msg.offset + 1
    count = count + 1
    if count == 1000 then fault(later) end
  end, {
    stop_at = "caught_up", timeout = seconds, tick = 0.1,
    on_tick = function()
      for i = #actions, 1, -1 do
        if system.monotime() >= actions[i].at then table.remove(actions, i).run() end
      end
    end,
  })
  for _, action in ipairs(actions) do action.run() end
  local progress = consumer:progress()
  local began = system.monotime()
  consumer:close()
  assert.is_true(system.monotime() - began < 5.5)
  assert.same({ true, nil }, { ok, err })
  assert.equal(partitions * per_partition, count)
  assert.equal(1, progress.fraction)
  assert.equal(0, progress.gaps + progress.truncated)
  assert.is_true(caught_up:is_ready())
end

describe("a history read from one broker", function()
  local one, topic

  setup(function()
    one = cluster.start(1)
    topic = one:create("faults", partitions)
    fill(one.address, topic)
  end)

  teardown(function() one:stop() end)

  it("is whole when the broker is killed in the middle and started again", function()
    read_through(one.address, topic, function(later)
      one:tool "kill 1"
      later(2, function() one:tool "restart 1" end)
    end, 90)
  end)

  it("is whole when the broker stops for 8 seconds", function()
    read_through(one.address, topic, function(later)
      one:tool "pause 1"
      later(8, function() one:tool "cont 1" end)
    end, 60)
  end)

  it("is whole when the broker comes 5 seconds late", function()
    one:tool "kill 1"
    local consumer = assert(history.new { addresses = one.address, topics = topic })
    local started, count = false, 0
    local at = system.monotime() + 5
    assert(consumer:read_history(function() count = count + 1 end, {
      stop_at = "caught_up", timeout = 60, tick = 0.2,
      on_tick = function()
        if not started and system.monotime() >= at then
          started = true
          one:tool "restart 1"
        end
      end,
    }))
    consumer:close()
    assert.is_true(started)
    assert.equal(partitions * per_partition, count)
  end)

  it("ends with an error when there is no broker, at start_timeout, and close is bounded", function()
    local consumer = assert(history.new {
      addresses = "127.0.0.1:1", topics = "none", start_timeout = 3,
    })
    local began = system.monotime()
    local ok, err, code = consumer:read_history(function() end, { timeout = 30 })
    local took = system.monotime() - began
    assert.is_nil(ok)
    assert.equal("_TRANSPORT", code)
    assert.matches("no broker of 127.0.0.1:1 answered within 3 s", err, 1, true)
    assert.matches("refused", err)
    assert.is_true(took >= 2.5 and took < 8, tostring(took))
    assert.equal("failed", consumer:caught_up():state())
    began = system.monotime()
    consumer:close()
    assert.is_true(system.monotime() - began < 5.5)
  end)
end)

describe("a history read from three brokers", function()
  local three, topic

  setup(function()
    three = cluster.start(3)
    topic = three:create("faults", partitions, 3)
    fill(three.address, topic)
  end)

  teardown(function() three:stop() end)

  it("is whole when a leader dies and its partitions move", function()
    for _, node in ipairs { 2, 3 } do
      read_through(three.address, topic, function(later)
        three:tool("kill " .. node)
        later(3, function() three:tool("restart " .. node) end)
      end, 90)
    end
  end)

  it("is truncated by an unclean election, and says so", function()
    local short = three:create("unclean", 1, 2,
      "unclean.leader.election.enable=true min.insync.replicas=1")
    local leader, follower = three:replicas(short)
    local producer = require "kafka_history.producer"
    local out = assert(producer.new { addresses = three.address })
    local function send(count)
      for _ = 1, count do assert(out:send(short, { value = "x" })) end
      assert(out:flush(60))
    end
    send(500)
    three:tool("kill " .. follower)
    send(500) -- by the leader alone, once the follower is out of the set that is in sync
    out:close()
    local consumer = assert(history.new {
      addresses = three.address, topics = short, options = slow_options, stall_timeout = 2,
    })
    local count = 0
    local ok, _, code = consumer:read_history(function(_, reader)
      count = count + 1
      if count == 100 then
        three:tool("kill " .. leader)
        three:tool("restart " .. follower)
        reader:cancel()
      end
    end, { stop_at = "caught_up", timeout = 60 })
    assert.same({ nil, "CANCELLED" }, { ok, code })
    local err
    ok, err, code = consumer:read_history(function() count = count + 1 end,
      { stop_at = "caught_up", timeout = 90 })
    three:tool("restart " .. leader)
    consumer:close()
    -- What was fetched before the election may be all of the history: then nothing is missing.
    if ok then
      assert.equal(1000, count)
    else
      assert.equal("TRUNCATED", code, err)
    end
  end)
end)
