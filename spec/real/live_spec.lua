-- What can happen to a topic of a real broker while it is being read.

local history = require "kafka_history"
local kafka = require "support.kafka"
local library = require "support.library"
local oracle = require "support.oracle"
local staging = require "support.staging"
local watched = require "support.watched"

-- Little is fetched ahead, so that what happens to the log happens before the reader has all of it.
local small = {
  ["fetch.message.max.bytes"] = 10000, ["queued.min.messages"] = 1, ["queued.max.messages.kbytes"] = 1,
}

local function with(options, more)
  local all = {}
  for property, value in pairs(options) do all[property] = value end
  for property, value in pairs(more) do all[property] = value end
  return all
end

-- Kilobytes, by kcat, in small batches, as a fetch takes at least one: a producer that knew the topic
-- before it was made anew would be in the way.
local function fill(topic, count, text)
  local lines = {}
  for i = 1, count do
    lines[i] = ("%d:%s %d %s"):format(i, text or "value", i, (text or "padding"):rep(120))
  end
  kafka.kcat({ "-P", "-t", topic, "-p", "0", "-K", ":", "-X", "batch.num.messages=10" },
    table.concat(lines, "\n") .. "\n")
  kafka.wait_until(function() return kafka.ends(topic)[0].high >= count end, 10, "the messages")
end

-- Closing waits for 5 s at the most, and needs none of them: below 2.1, librdkafka cannot end after a
-- topic was deleted unless it is helped.
local function close_in_time(reader)
  local began = watched.clock()
  reader:close()
  assert.is_true(watched.clock() - began < 4)
end

describe("on a real broker", function()
  lazy_teardown(staging.close)

  describe("a topic that does not exist", function()
    it("is an error after some 10 s that names a near one, and asking for it does not create it", function()
      -- This broker creates what is asked for, of those who allow it.
      local created = kafka.topic_name("created")
      kafka.kcat({ "-P", "-t", created }, "value\n")
      assert.is_true(oracle.has_topic(created))

      local missing = kafka.topic_name("missing")
      local near = missing .. "s"
      kafka.recreate(near, { partitions = 1 })
      local consumer = assert(history.new { addresses = kafka.addresses(), topics = missing })
      local latch = consumer:caught_up()
      local began = watched.clock()
      local ok, err, code = consumer:read_history(function() end, { timeout = 20 })
      local waited = watched.clock() - began
      assert.is_nil(ok)
      assert.equal("UNKNOWN_TOPIC_OR_PART", code)
      assert.truthy(err:find(missing .. ": the brokers know no such topic (asked for 10 s)", 1, true))
      assert.truthy(err:find(('did you mean "%s"'):format(near), 1, true), err)
      assert.is_true(waited > 9 and waited < 15)
      assert.equal("failed", latch:state())
      assert.equal("failed", consumer:progress().state)
      assert.is_false(oracle.has_topic(missing))

      -- The start is taken anew by the next call.
      kafka.recreate(missing, { partitions = 2 })
      assert(consumer:read_history(function() end, { timeout = 10, stop_at = "caught_up" }))
      assert.equal("caught_up", latch:state())
      assert(consumer:close())
    end)
  end)

  describe("partitions that are added later", function()
    local options = { ["topic.metadata.refresh.interval.ms"] = 1000 }

    it("are announced and read from their beginning, and change nothing about the signal", function()
      local topic = kafka.create("grows")
      fill(topic, 10)
      local reader = watched.new({ topic }, "read_committed", { options = options }):expect(10)
      local grown = false
      reader:read_until(function()
        if reader.signal and not grown then
          grown = true
          kafka.add_partitions(topic, 3)
          staging.send(topic, 7, { partition = 1 })
          staging.send(topic, 7, { partition = 2 })
        end
        return reader:count() >= 24
      end, 20)
      assert.equal(24, reader:check_messages(true))
      local added = reader:events_named("partition_added")
      assert.equal(2, #added)
      for i, event in ipairs(added) do
        assert.equal(topic, event.topic)
        assert.equal(i, event.partition)
        assert.equal(0, event.offset)
      end
      assert.equal(1, #reader:events_named("caught_up"))
      assert.equal(1, #reader:events_named("partition_caught_up"))
      local progress = reader.consumer:progress()
      assert.equal("caught_up", progress.state)
      assert.equal(3, #progress.partitions)
      assert.is_nil(progress.partitions[2].target)
      reader:close()
    end)

    it("are no history while it is still being read: nobody waits for them", function()
      local topic = kafka.create("grows")
      local transaction = staging.open(topic, 5)
      local reader = watched.new({ topic }, "read_committed", { options = options }):expect(5)
      local grown = false
      reader:read_until(function()
        if #reader:events_named("snapshot") == 0 then return false end
        if not grown then
          grown = true
          kafka.add_partitions(topic, 2)
          staging.send(topic, 7, { partition = 1 })
        elseif reader:count() == 7 and transaction then
          assert.is_nil(reader.signal)
          assert(transaction:commit())
          transaction = nil
        end
        return reader.signal
      end, 20)
      assert.equal(1, #reader:events_named("partition_added"))
      assert.equal(12, reader:check_messages(true))
      reader:close()
    end)
  end)

  describe("records that are deleted in front of a reader", function()
    it("are a gap: it is counted and told, and reading goes on behind it to the signal", function()
      local topic = kafka.create("gap")
      fill(topic, 2000)
      local reader = watched.new({ topic }, "read_committed", { options = small })
      local deleted = false
      reader:read_history(20, { batch = 5, handle = function(msg)
        if msg.offset == 10 and not deleted then
          deleted = true
          kafka.delete_records(topic, { [0] = 1500 })
        end
      end })
      local gaps = reader:events_named("gap")
      assert.equal(1, #gaps)
      assert.equal(topic, gaps[1].topic)
      assert.equal(0, gaps[1].partition)
      assert.equal(1500, gaps[1].to)
      local from = gaps[1].offset
      assert.is_true(from > 10 and from < 1500)
      -- Everything up to the gap and everything behind it, once.
      local read = reader.read[topic .. "[0]"]
      assert.equal(from + 500, #read)
      for i, message in ipairs(read) do
        assert.equal(i <= from and i - 1 or 1500 + i - from - 1, message.offset)
      end
      local progress = reader.consumer:progress()
      assert.equal(1, progress.gaps)
      assert.equal(0, progress.truncated)
      assert.equal("caught_up", progress.state)
      assert.equal(1, progress.fraction)
      assert.equal(2000, progress.partitions[1].position)
      close_in_time(reader)
    end)

    it("are the end of the history when they are all that was left of it", function()
      local topic = kafka.create("gap-to-end")
      fill(topic, 2000)
      local reader = watched.new({ topic }, "read_committed", { options = small })
      local deleted = false
      reader:read_history(20, { batch = 5, handle = function(msg)
        if msg.offset == 10 and not deleted then
          deleted = true
          kafka.delete_records(topic, { [0] = -1 })
        end
      end })
      local gaps = reader:events_named("gap")
      assert.equal(1, #gaps)
      assert.equal(2000, gaps[1].to)
      assert.equal(reader:count(), gaps[1].offset)
      assert.equal(2000, reader.consumer:progress().partitions[1].position)
      close_in_time(reader)
    end)
  end)

  -- How long the new log is. The old one has 2000 messages.
  local recreations = {
    { name = "shorter than what was read", count = 5 },
    { name = "longer than what was read, and shorter than T", count = 500 },
    { name = "longer than T", count = 2500 },
  }
  -- By its offsets a new log longer than T is the old one. Its id tells, where librdkafka does.
  local tells_ids = library.is_at_least(2, 3, 0)

  -- Deletes the topic in the handler of a message of the old log, makes it anew with `count` messages,
  -- and reads on. Offsets begin again, so that a watched reader is of no use. What is handed out of the
  -- new log is in `unnoticed` as long as it goes on where the old one was left, and then in `new`.
  -- slow: for the handler of these; the end is not reached before the ids were compared.
  local function read_recreated(count, on_truncation, slow)
    local topic = kafka.create("recreated")
    fill(topic, 2000)
    local events, old, unnoticed, new = {}, 0, 0, {}
    local consumer = assert(history.new {
      addresses = kafka.addresses(), topics = topic, options = with(small,
        { ["topic.metadata.refresh.interval.ms"] = 500 }),
      on_truncation = on_truncation,
      on_event = function(event) events[#events + 1] = event end,
    })
    local latch = consumer:caught_up()
    local ok, err, code = consumer:read_history(function(msg)
      assert(not latch:is_ready())
      if msg.value:find("^new ") then
        if #new == 0 and msg.offset == old + unnoticed then
          unnoticed = unnoticed + 1
          if slow then kafka.sleep(0.01) end
        else
          new[#new + 1] = msg
        end
        return
      end
      old = old + 1
      assert(msg.offset == old - 1 and unnoticed + #new == 0)
      if old == 10 then
        kafka.delete(topic)
        kafka.recreate(topic)
        fill(topic, count, "new")
      end
    end, { batch = 5, stop_at = "caught_up", timeout = 20 })
    -- It is what the case is about.
    assert.is_true(old >= 10 and old < 400 and (old > count or count > 400))
    return { topic = topic, consumer = consumer, latch = latch, events = events, old = old,
      unnoticed = unnoticed, new = new, ok = ok, err = err, code = code,
      close = function(self) self.consumer:close() end }
  end

  local function named(events, name)
    local found = {}
    for _, event in ipairs(events) do
      if event.name == name then found[#found + 1] = event end
    end
    return found
  end

  local function check_truncated(r)
    assert.is_nil(r.ok)
    assert.equal("TRUNCATED", r.code)
    assert.truthy(r.err:find(r.topic, 1, true))
    assert.equal("failed", r.latch:state())
    local ok, _, code = r.latch:wait(0)
    assert.same({ nil, "TRUNCATED" }, { ok, code })
    assert.equal(0, #r.new)
    assert.equal(1, #named(r.events, "truncated"))
    assert.equal(0, #named(r.events, "caught_up"))
    local progress = r.consumer:progress()
    assert.equal("failed", progress.state)
    assert.equal(1, progress.truncated)
    assert.is_true(progress.fraction < 1)
    -- It stays so: this history is gone for good.
    assert.equal("TRUNCATED", (select(3, r.consumer:read_history(function() end, { timeout = 5 }))))
  end

  local function check_continued(r, count)
    assert(r.ok, r.err)
    assert.equal(count, #r.new)
    for i, msg in ipairs(r.new) do assert.equal(i - 1, msg.offset) end
    local truncated = named(r.events, "truncated")
    assert.equal(1, #truncated)
    assert.equal(2000, truncated[1].target)
    assert.equal(count, truncated[1].end_offset)
    assert.equal(r.old + r.unnoticed, truncated[1].offset)
    assert.equal(1, #named(r.events, "caught_up"))
    assert.equal(0, #named(r.events, "gap"))
    local progress = r.consumer:progress()
    assert.equal("caught_up", progress.state)
    assert.equal(1, progress.truncated)
    assert.equal(1, progress.fraction)
    assert.equal(count, progress.partitions[1].position)
    assert.equal(count, progress.partitions[1].target)
    assert.equal(count, progress.partitions[1].end_offset)
    assert.equal(0, progress.lag)
  end

  -- Two logs are read as one, up to T.
  local function check_unnoticed(r)
    assert(r.ok, r.err)
    assert.equal(2000, r.old + r.unnoticed)
    assert.equal(0, #r.new)
    assert.equal(0, #named(r.events, "truncated"))
    assert.equal("caught_up", r.latch:state())
  end

  for _, recreation in ipairs(recreations) do
    local count = recreation.count
    local needs_ids = count > 2000

    local name = "a topic that is deleted and made anew, %s, while it is read"
    describe(name:format(recreation.name), function()
      if needs_ids and not tells_ids then
        it("is truncated if a fetch comes while it is still short, and else read on in: no hang", function()
          for _, on_truncation in ipairs { "error", "continue" } do
            local r = read_recreated(count, on_truncation)
            if #named(r.events, "truncated") == 0 then
              check_unnoticed(r)
            elseif on_truncation == "error" then
              check_truncated(r)
            else
              check_continued(r, count)
            end
            close_in_time(r)
          end
        end)
        return
      end

      it("is truncated: an error that releases the waiters, and no signal", function()
        local r = read_recreated(count, nil, needs_ids)
        check_truncated(r)
        close_in_time(r)
      end)

      it('with on_truncation = "continue" it is told, and read from its beginning to the new end', function()
        local r = read_recreated(count, "continue", needs_ids)
        check_continued(r, count)
        close_in_time(r)
      end)
    end)
  end

  describe("a topic that is deleted for good", function()
    local options = { ["topic.metadata.refresh.interval.ms"] = 500 }

    it("while its history is read, is truncated", function()
      local topic = kafka.create("deleted")
      fill(topic, 2000)
      local reader = watched.new({ topic }, "read_committed", { options = with(small, options) })
      local deleted = false
      local ok, err, code = reader.consumer:read_history(reader:handler(function()
        if reader:count() == 10 and not deleted then
          deleted = true
          kafka.delete(topic)
        end
      end), { batch = 5, timeout = 20 })
      assert.is_nil(ok)
      assert.equal("TRUNCATED", code)
      assert.truthy(err:find("deleted", 1, true))
      assert.equal("failed", reader.latch:state())
      assert.equal(1, #reader:events_named("truncated"))
      assert.equal(0, #reader:events_named("caught_up"))
      close_in_time(reader)
    end)

    it("after the signal, is truncated, and the signal stays", function()
      local topic = kafka.create("deleted")
      fill(topic, 10)
      local reader = watched.new({ topic }, "read_committed", { options = options }):expect(10)
      local deleted = false
      local ok, _, code = reader.consumer:read_history(reader:handler(), {
        timeout = 20, tick = 0.1, on_tick = function()
          if reader.signal and not deleted then
            deleted = true
            kafka.delete(topic)
          end
        end,
      })
      assert.is_nil(ok)
      assert.equal("TRUNCATED", code)
      assert.equal("caught_up", reader.latch:state())
      assert.equal(1, #reader:events_named("truncated"))
      assert.is_false(oracle.has_topic(topic))
      close_in_time(reader)
    end)

    it('with on_truncation = "continue" it is done, and the others are read to their end', function()
      local topic, other = kafka.create("deleted"), kafka.create("stays")
      fill(topic, 2000)
      fill(other, 10)
      local reader = watched.new({ topic, other }, "read_committed",
        { options = with(small, options), on_truncation = "continue" })
      local deleted = false
      reader:read_history(20, { batch = 5, handle = function()
        if reader:count() == 20 and not deleted then
          deleted = true
          kafka.delete(topic)
        end
      end })
      assert.equal(10, #reader.read[other .. "[0]"])
      assert.is_true(#reader.read[topic .. "[0]"] < 2000)
      assert.equal(1, #reader:events_named("truncated"))
      assert.equal(1, #reader:events_named("caught_up"))
      local progress = reader.consumer:progress()
      assert.equal(1, progress.truncated)
      assert.equal("caught_up", progress.state)
      for _, place in ipairs(progress.partitions) do
        assert.equal(#reader.read[place.topic .. "[0]"], place.position)
      end
      assert.is_false(oracle.has_topic(topic))
      close_in_time(reader)
    end)
  end)

  describe("progress() after the signal", function()
    local topic, reader

    -- The places by partition.
    local function places()
      local found = {}
      for _, place in ipairs(reader.consumer:progress().partitions) do found[place.partition] = place end
      return found
    end

    local function lag() return reader.consumer:progress().lag end

    before_each(function()
      topic = kafka.create("lag", { partitions = 2 })
      staging.send_to_all(topic, 2, 10)
    end)

    -- A transaction that a failed test has left open; mostly there is none, and abort raises.
    after_each(function()
      pcall(function() return staging.transactional():abort() end)
      if reader then reader:close() end
      reader = nil
    end)

    it("has a lag that rises while a handler is slow, falls with each message, and ends at 0", function()
      local seen = {}
      reader = watched.new({ topic }, "read_committed"):expect(20)
      local slow = false
      local function handle(msg)
        if not slow then return end
        if #seen == 0 then
          -- The handler is in the middle of the first live message, and nothing is read meanwhile.
          staging.queue(topic, 40, { partition = 0 })
          staging.queue(topic, 70, { partition = 1 })
          staging.flush()
          kafka.wait_until(function() return lag() == 111 end, 10, "a lag of the whole log")
        end
        local now, place = reader.consumer:progress(), places()[msg.partition]
        assert.equal(msg.offset, place.position)
        assert.equal(msg.partition == 0 and 51 or 80, place.end_offset)
        assert.equal("caught_up", now.state)
        assert.equal(1, now.fraction)
        seen[#seen + 1] = now.lag
      end
      reader:read_until(function()
        if reader.signal and not slow then
          assert.equal(0, lag())
          slow = true
          staging.send(topic, 1)
        end
        return #seen == 111
      end, 20, { handle = handle })
      for i, value in ipairs(seen) do assert.equal(112 - i, value) end
      local ends = kafka.ends(topic)
      assert.equal(0, lag())
      for partition, place in pairs(places()) do
        assert.equal(ends[partition].high, place.position)
        assert.equal(ends[partition].high, place.end_offset)
        assert.equal(10, place.target)
      end
    end)

    for _, level in ipairs { "read_committed", "read_uncommitted" } do
      for _, ending in ipairs { "commit", "abort" } do
        it(("has a lag of 0 behind the marker of a transaction: %s, %s"):format(ending, level), function()
          reader = watched.new({ topic }, level):expect(20)
          local read, transaction, ends = 20, nil, nil
          reader:read_until(function()
            if reader.signal and not transaction then
              transaction = staging.open(topic, 5)
              kafka.wait_until(function() return kafka.ends(topic)[0].high == 15 end)
            elseif transaction and not ends then
              -- Open, it is what a reader of committed messages is behind by.
              if lag() ~= (level == "read_committed" and 5 or 0) then return false end
              if places()[0].end_offset ~= 15 then return false end
              assert(transaction[ending](transaction))
              -- The broker's answer may come before the marker is in the log.
              kafka.wait_until(function() return kafka.ends(topic)[0].high == 16 end)
              ends = true
              if ending == "commit" or level == "read_uncommitted" then read = 25 end
            elseif ends then
              return reader:count() == read and places()[0].position == 16 and lag() == 0
            end
          end, 20)
          assert.equal(16, places()[0].end_offset)
          assert.equal(read, reader:check_messages(true))
        end)
      end
    end
  end)

  describe("an open transaction", function()
    it("is told as the cause of a stall, and is none when it has ended", function()
      local topic = kafka.create("stalled")
      staging.send(topic, 4)
      local transaction = staging.open(topic, 3)
      local reader = watched.new({ topic }, "read_committed", { stall_timeout = 1 }):expect(7)
      local ended_at
      reader:read_until(function()
        if transaction and #reader:events_named("stalled") == 2 then
          assert(transaction:commit())
          transaction, ended_at = nil, watched.clock()
        end
        return reader.signal
      end, 20)
      local stalls = reader:events_named("stalled")
      assert.equal(2, #stalls)
      for _, event in ipairs(stalls) do
        assert.equal("open transaction", event.cause)
        assert.equal(topic, event.topic)
        assert.equal(0, event.partition)
        assert.equal(4, event.offset)
        assert.equal(7, event.target)
        assert.is_true(event.end_offset >= 7)
      end
      -- The pauses grow.
      assert.is_true(stalls[1].at - reader.events[1].at < 2.5)
      assert.is_true(stalls[2].at - stalls[1].at > 1.5)
      assert.is_true(reader.signal.at - ended_at < 1)
      assert.equal(7, reader:check_messages(true))
      reader:close()
    end)
  end)
end)
