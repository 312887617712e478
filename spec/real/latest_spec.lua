-- read_history { latest = ... } on a real broker, against an independent model: kcat's dump, folded by
-- support.compacted. spec/latest_spec.lua has the interface.

local cleaned = require "support.cleaned"
local compacted = require "support.compacted"
local history = require "kafka_history"
local kafka = require "support.kafka"
local member = require "support.member"
local mixed = require "support.mixed"
local oracle = require "support.oracle"
local producer = require "kafka_history.producer"
local protocols = require "support.protocols"
local reading = require "support.reading"
local staging = require "support.staging"

-- The same at every run: a generator of its own.
local function generator(seed)
  return function(below)
    seed = seed * 16807 % 2147483647
    return seed % below
  end
end

-- Messages at random: of some keys, without one, tombstones of both.
local function fill(topic, partitions, count, keys, seed)
  local random = generator(seed)
  local to = assert(producer.new { addresses = kafka.addresses(), options = { ["linger.ms"] = 5 } })
  for i = 1, count do
    assert(to:send(topic, { partition = random(partitions),
      key = random(20) > 0 and "key-" .. random(keys) or nil,
      value = random(4) > 0 and ("v"):rep(random(60)) .. i or nil }))
  end
  assert(to:flush(30))
  to:close()
end

local function created(partitions, count, keys, seed)
  local topic = kafka.create("latest", { partitions = partitions })
  fill(topic, partitions, count, keys, seed or 1)
  return topic
end

local function consumer_of(topics, more)
  local config = { addresses = kafka.addresses(), topics = topics }
  for key, value in pairs(more or {}) do config[key] = value end
  return reading.keep(assert(history.new(config)))
end

local function options(latest, more)
  local all = { latest = latest, stop_at = "caught_up", timeout = 20 }
  for key, value in pairs(more or {}) do all[key] = value end
  return all
end

-- A handler that keeps what it is given while the signal is not out, and that array.
local function collector(consumer)
  local got, latch = {}, consumer:caught_up()
  return function(msg)
    assert(not latch:is_ready(), "the signal is out, and there is more of the history")
    got[#got + 1] = msg
  end, got
end

local function read(consumer, opts)
  local handler, got = collector(consumer)
  local ok, err = consumer:read_history(handler, opts)
  assert(ok, err)
  assert.is_true(consumer:caught_up():is_ready())
  return got
end

-- What the model makes of a topic: { [partition] = array }. of: start and target, by partition; level.
local function expect(topic, tombstones, of)
  of = of or {}
  local expected = {}
  for partition, messages in pairs(oracle.read(topic, of.level or "read_committed")) do
    local first, target = of.start and of.start[partition] or 0, of.target and of.target[partition]
    local history_messages = {}
    for _, message in ipairs(messages) do
      if message.offset >= first and message.offset < (target or math.huge) then
        history_messages[#history_messages + 1] = message
      end
    end
    expected[partition] = compacted.fold(history_messages, tombstones)
  end
  return expected
end

-- That this was handed out of a topic: just what is expected, in a row for each partition. Returns how many
-- messages that is.
local function compare(topic, expected, got)
  local given = compacted.by_partition(got)[topic] or {}
  local count = 0
  for partition in pairs(given) do assert(expected[partition], partition) end
  for partition, messages in pairs(expected) do
    local like = {}
    for i, msg in ipairs(given[partition] or {}) do like[i] = oracle.like(msg) end
    local difference = oracle.difference(messages, like)
    assert(not difference, ("%s[%d]: %s"):format(topic, partition, tostring(difference)))
    count = count + #messages
  end
  return count
end

local function check(topic, latest, config, of)
  local consumer = consumer_of(topic, config)
  local got = read(consumer, options(latest))
  local count = compare(topic, expect(topic, latest == "tombstones", of), got)
  assert.equal(count, #got)
  assert.equal(count, consumer:progress().messages)
  consumer:close()
  return count, got
end

describe("the latest value of each key, on a real broker, is what a model makes of kcat's dump:", function()
  after_each(reading.clean)
  after_each(member.clean)
  lazy_teardown(staging.close)

  it("a topic of messages of all kinds and codecs", function()
    local topic = mixed.create()
    local with_tombstones = check(topic, "tombstones")
    local without = check(topic, true)
    assert(0 < without and without < with_tombstones and with_tombstones < mixed.total / 2)
  end)

  it("tombstones and messages without a key, in two topics at once", function()
    local topics = { created(3, 2000, 50, 1), created(2, 1500, 400, 2) }
    for _, latest in ipairs { true, "tombstones" } do
      local consumer = consumer_of(topics)
      local got = read(consumer, options(latest))
      local count = 0
      for _, topic in ipairs(topics) do
        count = count + compare(topic, expect(topic, latest == "tombstones"), got)
      end
      assert.equal(count, #got)
      assert.equal(3500, consumer:progress().read)
    end
  end)

  it("a topic that the cleaner has compacted, with holes", function()
    local topic = kafka.create("latest", { config = cleaned.config })
    cleaned.fill(topic, "send")
    cleaned.await({ topic }, "read_committed")
    -- 30 keys of the rounds, 18 that stay.
    assert.equal(48, (check(topic, true)))
  end)

  it("transactions, of which an aborted one is nobody's latest value", function()
    local topic = kafka.create "latest"
    staging.commit(topic, 30, { keys = 10, text = "committed" })
    staging.abort(topic, 30, { keys = 10, text = "aborted" })
    local count, got = check(topic, true)
    assert.equal(10, count)
    for _, msg in ipairs(got) do assert.truthy(msg.value:find "^committed") end
    count, got = check(topic, true, { options = { ["isolation.level"] = "read_uncommitted" } },
      { level = "read_uncommitted" })
    assert.equal(10, count)
    for _, msg in ipairs(got) do assert.truthy(msg.value:find "^aborted") end
  end)

  it("from offsets in the middle, with the tombstones of what may have been there before", function()
    local topic = created(2, 2000, 60)
    local start = { [0] = 300, [1] = 777 }
    local consumer = consumer_of(topic, { start = { [topic] = start } })
    local got = read(consumer, options(true))
    compare(topic, expect(topic, true, { start = start }), got)

    local ends = kafka.ends(topic)
    consumer = consumer_of(topic, { start = { last = 200 } })
    got = read(consumer, options(true))
    compare(topic, expect(topic, true, { start = { [0] = ends[0].high - 200, [1] = ends[1].high - 200 } }),
      got)
  end)

  it("from the beginning where the first messages are deleted: that is the start", function()
    local topic = created(2, 2000, 60)
    kafka.delete_records(topic, { [0] = 500, [1] = 100 })
    check(topic, true)
  end)

  it("after a failing handler: nothing is lost, and nothing comes twice", function()
    local topic = created(3, 3000, 300)
    local consumer = consumer_of(topic)
    local random, failures = generator(5), 0
    local keep, got = collector(consumer)
    local failed_at
    assert.is_true(reading.becomes(function()
      local ok, _, code = consumer:read_history(function(msg)
        local place = msg.partition .. "@" .. msg.offset
        if failed_at then
          assert(failed_at == place, place .. " after " .. failed_at)
          failed_at = nil
        elseif random(40) == 0 then
          failures, failed_at = failures + 1, place
          return false, "no"
        end
        keep(msg)
      end, options("tombstones", { batch = 30 }))
      if not ok then assert.equal("HANDLER", code) end
      return ok
    end, 20))
    assert(failures > 5, failures)
    assert.equal(#got, compare(topic, expect(topic, true), got))
    assert.equal(#got, consumer:progress().messages)
  end)

  it("in calls that end before their time, of a topic of 100 000 messages", function()
    local topic = kafka.create("latest", { partitions = 4 })
    for partition = 0, 3 do staging.queue(topic, 25000, { partition = partition, keys = 1000 }) end
    staging.flush()
    local consumer = consumer_of(topic)
    local keep, got = collector(consumer)
    local timeouts = 0
    assert.is_true(reading.becomes(function()
      local ok, _, code = consumer:read_history(keep, options(true, { timeout = 0.004 }))
      if ok then return true end
      assert.equal("TIMEOUT", code)
      timeouts = timeouts + 1
    end, 20))
    assert(timeouts > 1, timeouts)
    assert.equal(4000, compare(topic, expect(topic), got))
    assert.equal(4000, #got)
    assert.equal(100000, consumer:progress().read)

    -- What is kept has a bound, and so the whole topic is never there.
    consumer = consumer_of(topic)
    assert.equal(4000, #read(consumer, options(true, { max_bytes = 1000000 })))
    consumer = consumer_of(topic)
    local ok, err, code = consumer:read_history(function() error "nothing is handed out" end,
      options(true, { max_bytes = 50000 }))
    assert.is_nil(ok)
    assert.equal("MAX_BYTES", code, err)
    assert.is_false(consumer:caught_up():is_ready())
  end)

  it("of what was there at the start; what arrives meanwhile comes after the signal, all of it", function()
    local topic = created(3, 2000, 100)
    local expected = expect(topic)
    local live = {}
    local consumer
    consumer = consumer_of(topic, { on_event = function(event)
      if event.name ~= "snapshot" then return end
      for partition = 0, 2 do
        staging.queue(topic, 10, { partition = partition, keys = 2, text = "live" })
      end
      staging.flush()
    end })
    local latch, got = consumer:caught_up(), {}
    local _, err, code = consumer:read_history(function(msg, reader)
      if msg.value and msg.value:find "^live" then
        assert(latch:is_ready())
        live[#live + 1] = msg
      else
        assert(not latch:is_ready())
        got[#got + 1] = msg
      end
      if #live == 30 then reader:cancel() end
    end, { latest = true, timeout = 20 })
    assert.equal("CANCELLED", code, err)
    assert.equal(#got, compare(topic, expected, got))
    local next_offset = {}
    for partition, ends in pairs(kafka.ends(topic)) do next_offset[partition] = ends.high - 10 end
    for _, msg in ipairs(live) do
      assert.equal(next_offset[msg.partition], msg.offset)
      next_offset[msg.partition] = msg.offset + 1
    end
  end)

  -- librdkafka 2.5.3 never fetches again from a topic that was gone.
  local can_come_back = os.getenv "KH_LIBRDKAFKA" ~= "2.5.3"

  local come_back = "of a topic that is made anew meanwhile, and nothing of the one that was there"
  if can_come_back then it(come_back, function()
    local topic = kafka.create("latest", { partitions = 2 })
    local function send(count, text)
      for partition = 0, 1 do
        staging.queue(topic, count, { partition = partition, keys = 500, text = text })
      end
      staging.flush()
    end
    send(20000, "old")
    local is_new = false
    local consumer = consumer_of(topic, { on_truncation = "continue",
      options = { ["topic.metadata.refresh.interval.ms"] = 200, ["queued.min.messages"] = 100,
        ["fetch.message.max.bytes"] = 20000, ["fetch.wait.max.ms"] = 50 },
      on_event = function(event)
        if event.name ~= "snapshot" or is_new then return end
        is_new = true
        kafka.delete(topic)
        kafka.recreate(topic, { partitions = 2 })
        send(20, "new")
      end })
    local got = read(consumer, options(true))
    assert.equal(40, compare(topic, expect(topic), got))
    assert.equal(40, #got)
    assert.equal(2, consumer:progress().truncated)
    assert.equal(0, consumer:progress().kept_bytes)
  end) end

  it("with a writer that never stops", function()
    local topic = kafka.create "latest"
    staging.send(topic, 100, { keys = 30 })
    local stop = staging.write_for_ever(topic, 0)
    local ok, err = pcall(function()
      kafka.wait_until(function() return kafka.ends(topic)[0].high >= 1000 end, 10, "the writer")
      local consumer = consumer_of(topic)
      local got = read(consumer, options(true))
      local target = consumer:progress().partitions[1].target
      assert(target >= 1000)
      assert.equal(31, compare(topic, expect(topic, false, { target = { [0] = target } }), got))
      assert.equal(31, #got)
      assert.equal(target - 1, got[31].offset)
      assert.equal(target, consumer:progress().read)
      -- It is still so, and now every message comes.
      local next_offset = target
      local _, failure, code = consumer:read_history(function(msg, reader)
        assert(msg.offset == next_offset, msg.offset)
        next_offset = next_offset + 1
        if next_offset == target + 500 then reader:cancel() end
      end, { latest = true, timeout = 20 })
      assert.equal("CANCELLED", code, failure)
    end)
    stop()
    assert(ok, err)
  end)

  for _, protocol in ipairs(protocols) do
    it("shared by a group (" .. protocol.name .. ") while a member joins and takes partitions", function()
      local topic, group = created(4, 2400, 150), protocol:group()
      -- As long as the first one has all of them it takes its time: what it has kept is handed out for
      -- seconds, while another one waits for its share.
      local function start(name)
        return member.start { topics = topic, group = group, name = name,
          config = { options = protocol:options() },
          handle = "if #consumer:assignment() == 4 then system.sleep(0.02) end", life = [[
            self:read { latest = true, batch = 5 }
            self:note("state", self.consumer:caught_up():state())
            self:close()
          ]] }
      end
      local first = start "the first"
      first:wait_for_messages(20, 20)
      local second = start "the joiner"
      second:wait_for_partitions(2, 20)
      local members = { first, second }
      for _, one in ipairs(members) do one:wait_for_signal(20) end
      for _, one in ipairs(members) do
        one:stop()
        assert.equal("caught_up", one:noted("state").text)
      end
      assert(first.count > 20 and second.count > 0, second.count)
      -- A partition that goes on at a commit shows the tombstones behind it.
      local seen = {}
      for _, one in ipairs(members) do
        for _, entry in ipairs(one.entries) do
          if entry.kind == "message" then
            local place = ("%d@%d"):format(entry.partition, entry.offset)
            assert(not seen[place], place .. " was handled twice")
            seen[place] = true
          end
        end
      end
      for partition, messages in pairs(expect(topic, true)) do
        for _, message in ipairs(messages) do
          local place = ("%d@%d"):format(partition, message.offset)
          assert(seen[place] or message.value == nil, place .. " was not handled")
          seen[place] = nil
        end
      end
      assert(not next(seen), tostring(next(seen)) .. " is no key's latest message")
      -- What was not kept is done, too.
      local committed = kafka.committed(topic, group)
      for partition, ends in pairs(kafka.ends(topic)) do assert.equal(ends.high, committed[partition]) end
    end)
  end
end)
