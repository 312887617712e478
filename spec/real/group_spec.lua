-- A group on a real broker: what its members handle together, what they commit, and when each of them
-- has caught up.

local history = require "kafka_history"
local kafka = require "support.kafka"
local member = require "support.member"
local protocols = require "support.protocols"
local reading = require "support.reading"
local staging = require "support.staging"
local verdict = require "support.verdict"

local function note(format, ...)
  io.write("# ", format:format(...), "\n")
  io.flush()
end

local function ends_of(topic)
  local ends = {}
  for partition, of in pairs(kafka.ends(topic)) do ends[partition] = of.high end
  return ends
end

-- A topic whose partitions have so many messages each.
local function filled(partitions, count)
  local topic = kafka.create("shared", { partitions = partitions })
  staging.send_to_all(topic, partitions, count)
  return topic
end

local opened = {}

-- A member in this process.
local function join(protocol, topic, group, more)
  local config = { addresses = kafka.addresses(), topics = topic, consumer_group = group,
    options = protocol:options() }
  for key, value in pairs(more or {}) do config[key] = value end
  local consumer = assert(history.new(config))
  opened[#opened + 1] = consumer
  return consumer
end

-- Reads to the end of the history. Returns how many messages.
local function read_all(consumer, seen)
  local count = 0
  assert(consumer:read_history(function(msg)
    count = count + 1
    if seen then
      local place = msg.partition .. "@" .. msg.offset
      if seen[place] then error(place .. " comes again", 0) end
      seen[place] = true
    end
  end, { stop_at = "caught_up", timeout = 30 }))
  assert.equal("caught_up", consumer:caught_up():state())
  return count
end

for _, protocol in ipairs(protocols) do
  describe("a group (" .. protocol.name .. ")", function()
    after_each(function()
      member.clean()
      for i = #opened, 1, -1 do
        opened[i]:close()
        opened[i] = nil
      end
    end)
    lazy_teardown(staging.close)

    it("of two handles six partitions of 20 000 messages once, each signal after its share", function()
      local topic, group = filled(6, 20000), protocol:group()
      local members = {}
      for i = 1, 2 do
        members[i] = member.start { topics = topic, group = group, name = ("member %d"):format(i),
          config = { options = protocol:options() },
          handle = [[
            self.calls = (self.calls or 0) + 1
            if self.calls % 25 == 0 then system.sleep(0.001) end
          ]] }
      end
      for _, one in ipairs(members) do one:wait_for_signal(40) end
      for _, one in ipairs(members) do one:stop() end
      local result = verdict.check(members, verdict.whole(topic, kafka.ends(topic)))
      assert.equal(0, #result.repeats)
      for _, one in ipairs(members) do
        assert(one.count > 0, one.name .. " has handled nothing")
        local last
        for _, entry in ipairs(one.entries) do
          if entry.kind == "message" then last = entry end
        end
        assert(one.signal.at - last.at < 3, "the signal of " .. one.name .. " was late")
      end
      note("%s: %d and %d messages", protocol.name, members[1].count, members[2].count)
      assert.same(ends_of(topic), kafka.committed(topic, group))
    end)

    it("loses nothing when a member is killed, and repeats what it had not committed, no more", function()
      local commit_interval, batch, session_ms = 0.5, 50, 6000
      local topic, group = filled(6, 2000), protocol:group(session_ms)
      local function start(name)
        return member.start { topics = topic, group = group, name = name, handle = "system.sleep(0.001)",
          config = { commit_interval = commit_interval, options = protocol:options({}, session_ms) },
          life = ("self:read { batch = %d } self:close()"):format(batch) }
      end
      local members = { start "stays", start "dies" }
      members[1]:wait_for_partitions(3)
      members[2]:wait_for_messages(1000, 20)
      members[2]:kill()
      members[3] = start "comes"
      members[1]:wait_for_signal(60)
      members[3]:wait_for_signal(60)
      members[1]:stop()
      members[3]:stop()
      local result = verdict.check(members, verdict.whole(topic, kafka.ends(topic)))
      local last = batch
      for _, entry in ipairs(members[2].entries) do
        -- A quarter of a second for the commit itself, on a machine that has other things to do.
        if entry.kind == "message" and entry.at > members[2].killed - commit_interval - 0.25 then
          last = last + 1
        end
      end
      note("%s: killed after %d messages, %d of them came again, of at most %d", protocol.name,
        members[2].count, #result.repeats, last)
      assert(#result.repeats <= last)
      assert(members[3].count > 0, "the third member has handled nothing")
      assert.same(ends_of(topic), kafka.committed(topic, group))
    end)

    it("has no lag behind transactions: the end of the log is committed, markers and all", function()
      local topic, group = kafka.create("lag", { partitions = 4 }), protocol:group()
      staging.commit(topic, 20, { partition = 0 })
      staging.abort(topic, 10, { partition = 0 })
      staging.abort(topic, 10, { partition = 1 }) -- nothing else
      staging.commit(topic, 20, { partition = 2 })
      local consumer = join(protocol, topic, group, { commit_interval = 0.2 })
      assert.equal(40, read_all(consumer))
      -- The last partition is empty. Nothing of it needs to be committed.
      local function has_no_lag()
        local committed = kafka.committed(topic, group)
        for partition, last in pairs(ends_of(topic)) do
          if (committed[partition] or 0) ~= last then return false end
        end
        return true
      end
      -- And live: the tail is only aborted messages.
      staging.abort(topic, 5, { partition = 2 })
      reading.until_true(consumer, function() error "aborted messages are none" end, has_no_lag)
      staging.abort(topic, 5, { partition = 2 })
      assert.is_false(has_no_lag())
      reading.until_true(consumer, function() error "aborted messages are none" end, has_no_lag)
      consumer:close()
      assert.is_true(has_no_lag())
      assert.equal(0, read_all(join(protocol, topic, group)))
    end)

    it("that begins again goes on where it was: no message, and the signal at once", function()
      local topic, group = filled(3, 500), protocol:group()
      local first = join(protocol, topic, group)
      assert.equal(1500, read_all(first))
      first:close()
      local second = join(protocol, topic, group)
      local began = reading.now()
      assert.equal(0, read_all(second))
      assert.is_true(reading.now() - began < 5)
      second:close()
      staging.send(topic, 10, { partition = 1 })
      assert.equal(10, read_all(join(protocol, topic, group)))
    end)

    it("that begins again with from_beginning reads everything again", function()
      local topic, group = filled(3, 500), protocol:group()
      for _, from_beginning in ipairs { true, true, false } do
        local consumer = join(protocol, topic, group, { from_beginning = from_beginning })
        assert.equal(from_beginning and 1500 or 0, read_all(consumer))
        consumer:close()
      end
    end)

    it("handles what is left, exactly, after a member has closed in the middle of a batch", function()
      local topic, group = filled(3, 500), protocol:group()
      local seen, count = {}, 0
      local consumer = join(protocol, topic, group, { commit_interval = 3600 })
      local ok, err, code = consumer:read_history(function(msg, reader)
        count = count + 1
        seen[msg.partition .. "@" .. msg.offset] = true
        if count == 777 then assert.is_true(reader:close()) end
      end, { batch = 50, timeout = 30 })
      assert.same({ nil, "closed", "CLOSED" }, { ok, err, code })
      assert.equal(777, count)
      assert.equal(1500 - 777, read_all(join(protocol, topic, group), seen))
    end)

    it("handles what is left, exactly, after a member has closed in its own time", function()
      local topic, group = filled(3, 500), protocol:group()
      local seen, total = {}, 0
      for stop = 100, 400, 100 do
        local consumer, count = join(protocol, topic, group, { commit_interval = 3600 }), 0
        local _, _, code = consumer:read_history(function(msg, reader)
          local place = msg.partition .. "@" .. msg.offset
          assert(not seen[place], place)
          seen[place] = true
          count = count + 1
          if count == stop then reader:cancel() end
        end, { batch = 30, timeout = 30 })
        assert.equal("CANCELLED", code)
        total = total + count
        consumer:close()
      end
      assert.equal(1000, total)
      assert.equal(500, read_all(join(protocol, topic, group), seen))
    end)
  end)
end
