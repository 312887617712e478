-- kafka_history.view on a real broker. The oracle is what kcat shows of the topics, folded here: of each key
-- the last message of each partition that has it.

local cleaned = require "support.cleaned"
local kafka = require "support.kafka"
local library = require "support.library"
local mixed = require "support.mixed"
local oracle = require "support.oracle"
local producer = require "kafka_history.producer"
local protocols = require "support.protocols"
local reading = require "support.reading"
local staging = require "support.staging"
local view = require "kafka_history.view"

local to_caught_up = { stop_at = "caught_up", timeout = 20 }

-- This one never fetches again from a topic that it has seen missing.
local loses_missing_topics = library.is_at_least(2, 5, 0) and not library.is_at_least(2, 6, 0)

-- What may be shown of each key: { key = { message, ... } }, of the partitions that `owned` names, or of all.
local function fold(topic, owned)
  local keys = {}
  for partition, messages in pairs(oracle.read(topic, "read_committed")) do
    local latest = {}
    if not owned or owned[partition] then
      for _, message in ipairs(messages) do
        if message.key then latest[message.key] = message end
      end
    end
    for key, message in pairs(latest) do
      keys[key] = keys[key] or {}
      table.insert(keys[key], message)
    end
  end
  return keys
end

local function is_one_of(msg, messages)
  for _, message in ipairs(messages) do
    if message.value == nil and not msg then return true end
    if msg and not oracle.difference({ message }, { oracle.like(msg) }) then return true end
  end
  return false
end

-- The view shows of the topic what the oracle does; how many keys these are.
local function check(made, topic, owned)
  local keys, count = fold(topic, owned), 0
  for key, messages in pairs(keys) do
    local msg = made:message(key, topic)
    assert(is_one_of(msg, messages), ("the wrong value of key %q"):format(key:sub(1, 60)))
    assert(made:get(key, topic) == (msg and msg.value))
    if msg then count = count + 1 end
  end
  for key, value in made:pairs(topic) do
    assert(keys[key] and made:get(key, topic) == value, ("the key %q is one too many"):format(key:sub(1, 60)))
  end
  assert.equal(count, made:len(topic))
  return count
end

local function open(topics, more)
  local config = { addresses = kafka.addresses(), topics = topics, options = { ["fetch.wait.max.ms"] = 50 } }
  for key, value in pairs(more or {}) do config[key] = value end
  return (assert(reading.keep(view.new(config))))
end

-- Steps all of them until the condition holds.
local function step_until(views, condition, seconds, what)
  local deadline = reading.now() + seconds
  while not condition() do
    if reading.now() > deadline then error(what .. ": not within " .. seconds .. " s", 2) end
    local any = false
    for _, made in ipairs(views) do
      local _, more, code = assert(made:step())
      assert.is_nil(code)
      any = any or more
    end
    if not any then reading.sleep(0.005) end
  end
end

-- Has it read all that is in the topic now?
local function is_level(made, topic)
  local ends = kafka.ends(topic)
  for _, place in ipairs(made:progress().partitions) do
    if place.topic == topic and place.position < ends[place.partition].high then return false end
  end
  return true
end

local function owned_by(made)
  local owned, count = {}, 0
  for _, place in ipairs(made:assignment()) do
    owned[place.partition], count = true, count + 1
  end
  return owned, count
end

describe("a view on a real broker", function()
  after_each(reading.clean)
  lazy_teardown(staging.close)

  it("shows a topic with messages of all kinds as kcat does", function()
    local topic = mixed.create()
    local made = open(topic)
    assert.is_true(made:read(to_caught_up))
    assert.is_true(check(made, topic) >= 8)
    assert.equal(mixed.total, made:progress().messages)
    assert.is_nil(made:get "null value")
    assert.is_true(made:progress().without_key > 0)
  end)

  it("shows a topic that was compacted, which a transaction ends, as kcat does", function()
    local topic = kafka.create("compacted", { config = cleaned.config })
    cleaned.fill(topic, "commit")
    cleaned.await({ topic }, "read_committed")
    local made = open(topic)
    assert.is_true(made:read(to_caught_up))
    assert.is_true(check(made, topic) >= 48)
  end)

  it("shows two topics, deletes what has a tombstone, and follows both", function()
    local one, other = kafka.create("one", { partitions = 3 }), kafka.create("other", { partitions = 2 })
    local to = reading.keep(assert(producer.new { addresses = kafka.addresses() }))
    local function send(from, till)
      for i = from, till do
        local topic = i % 3 > 0 and one or other
        assert(to:send(topic, { key = i % 17 > 0 and tostring(i % 500) or nil,
          value = i % 7 > 0 and ("v"):rep(i % 90) .. i or nil }))
      end
      assert(to:flush(20))
    end
    send(1, 5000)
    local made = open { one, other }
    assert.is_true(made:read(to_caught_up))
    local before = check(made, one) + check(made, other)
    assert.is_true(before > 100 and before == #made)
    send(5001, 8000)
    step_until({ made }, function() return is_level(made, one) and is_level(made, other) end, 10, "the rest")
    check(made, one)
    check(made, other)
  end)

  it("catches up with a writer that never stops, and is right when it has stopped", function()
    local topic = kafka.create("written", { partitions = 2 })
    staging.send_to_all(topic, 2, 3000)
    local stop = staging.write_for_ever(topic, 1)
    local made = open(topic)
    local changes = 0
    made:on_change(function(key, new)
      assert(made:get(key) == new and made:caught_up():is_ready())
      changes = changes + 1
    end)
    local ok, err = pcall(function()
      assert.is_true(made:read(to_caught_up))
      step_until({ made }, function() return changes > 500 end, 10, "changes")
    end)
    stop()
    assert(ok, err)
    kafka.sleep(0.2) -- what kcat has still to send
    step_until({ made }, function() return is_level(made, topic) end, 10, "the rest")
    check(made, topic)
  end)

  it("whose topic is made anew, or goes for good, drops what was there", function()
    local topic = kafka.create("anew")
    staging.send(topic, 3000, { prefix = "old-" })
    local made = open(topic, { on_truncation = "continue", options = {
      ["topic.metadata.refresh.interval.ms"] = 500, ["fetch.wait.max.ms"] = 50 } })
    assert.is_true(made:read(to_caught_up))
    assert.equal(3000, #made)
    kafka.delete(topic)
    step_until({ made }, function() return #made == 0 or not loses_missing_topics end, 25, "the first end")
    if loses_missing_topics then return end
    kafka.recreate(topic)
    kafka.kcat({ "-P", "-t", topic, "-p", "0", "-K", ":" }, "new-1:a\nnew-2:b\n")
    step_until({ made }, function() return made:get "new-2" end, 25, "the new topic")
    assert.is_nil(made:get "old-1")
    assert.equal(2, check(made, topic))
    kafka.delete(topic)
    step_until({ made }, function() return #made == 0 end, 25, "the end of the topic")
  end)

  it("whose topic goes for good while it is built is empty, and stays so", function()
    local topic = kafka.create("goes")
    staging.send(topic, 20000, { text = ("x"):rep(1000) })
    -- Few messages are fetched at once, so that most of them are still to come.
    local made = open(topic, { on_truncation = "continue", options = {
      ["topic.metadata.refresh.interval.ms"] = 500, ["fetch.wait.max.ms"] = 50,
      ["queued.min.messages"] = 100, ["max.partition.fetch.bytes"] = 20000 } })
    step_until({ made }, function() return #made > 0 end, 20, "messages")
    kafka.delete(topic)
    step_until({ made }, function() return made:progress().truncated > 0 end, 25, "the end of the topic")
    assert.is_true(made:progress().messages < 20000)
    assert.is_true(made:read(to_caught_up))
    local calm = reading.now() + 0.5
    step_until({ made }, function() return reading.now() > calm end, 5, "silence")
    assert.equal(0, #made)
  end)

  for _, protocol in ipairs(protocols) do
    it("in a group has the keys of its own partitions, whoever comes and goes: " .. protocol.name, function()
      local topic, group = kafka.create("shared", { partitions = 4 }), protocol:group()
      for partition = 0, 3 do
        staging.queue(topic, 500, { partition = partition, keys = 100, prefix = partition .. "-" })
      end
      staging.flush()
      local function member()
        return open(topic, { consumer_group = group, options = protocol:options() })
      end
      local function has(made, count)
        return select(2, owned_by(made)) == count and is_level(made, topic)
      end
      local first = member()
      step_until({ first }, function() return first:caught_up():is_ready() end, 20, "the first one's signal")
      assert.equal(400, check(first, topic))
      local second = member()
      step_until({ first, second }, function() return has(first, 2) and has(second, 2) end, 30, "halves")
      assert.equal(200, check(first, topic, owned_by(first)))
      assert.equal(200, check(second, topic, owned_by(second)))
      second:close()
      staging.send(topic, 50, { partition = 1, keys = 50, prefix = "more-" })
      step_until({ first }, function() return has(first, 4) and #first == 450 end, 30, "all of it again")
      assert.equal(450, check(first, topic))
      first:close()
      -- What was committed keeps nothing from a view that begins.
      local third = member()
      step_until({ third }, function() return third:caught_up():is_ready() end, 20, "the third one's signal")
      assert.equal(450, check(third, topic))
    end)
  end
end)
