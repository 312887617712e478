-- What happens to the members of a group on a real broker while partitions come and go.

local history = require "kafka_history"
local kafka = require "support.kafka"
local member = require "support.member"
local protocols = require "support.protocols"
local reading = require "support.reading"
local staging = require "support.staging"
local verdict = require "support.verdict"

local function filled(partitions, count)
  local topic = kafka.create("rebalanced", { partitions = partitions })
  staging.send_to_all(topic, partitions, count)
  return topic
end

-- A member whose handler takes so many milliseconds.
local function start(protocol, topic, group, name, handler_ms, more)
  local given = {
    topics = topic, group = group, name = name, config = { options = protocol:options() },
    handle = ("system.sleep(%g)"):format(handler_ms / 1000),
    life = [[
      self:read { batch = 100 }
      self:note("state", self.consumer:caught_up():state())
      self:close()
    ]],
  }
  for key, value in pairs(more or {}) do given[key] = value end
  return member.start(given)
end

local function judge(members, topic, options)
  return verdict.check(members, verdict.whole(topic, kafka.ends(topic)), options)
end

-- Everything is handled, by whomever.
local function wait_for_commits(topic, group)
  local ends = kafka.ends(topic)
  kafka.wait_until(function()
    local committed = kafka.committed(topic, group)
    for partition, of in pairs(ends) do
      if committed[partition] ~= of.high then return false end
    end
    return true
  end, 40, "everything to be committed")
end

for _, protocol in ipairs(protocols) do
  describe("in a group (" .. protocol.name .. ")", function()
    after_each(member.clean)
    lazy_teardown(staging.close)

    it("a member for which there is no partition has caught up, whatever the others do", function()
      local topic, group = filled(2, 5000), protocol:group()
      local members = {}
      for i = 1, 3 do members[i] = start(protocol, topic, group, "member " .. i, 5) end
      local idle
      members[1]:wait(function()
        for _, one in ipairs(members) do
          if one:look().signal then idle = one end
        end
        return idle
      end, 15, "a member's signal")
      -- The others have half a minute to go.
      assert.equal(0, select(2, idle:owned()))
      for _, one in ipairs(members) do assert(one == idle or not one:look().signal) end
      for _, one in ipairs(members) do one:stop() end
      judge(members, topic, { partial = true })
      assert.equal("caught_up", idle:noted("state").text)
    end)

    it("a member that joins and will be given partitions has not caught up while it has none", function()
      local topic, group = filled(6, 1500), protocol:group()
      local first = start(protocol, topic, group, "the first", 1)
      first:wait_for_messages(200)
      local second = start(protocol, topic, group, "the joiner", 1)
      second:wait_for_partitions(3, 20)
      first:wait_for_signal(40)
      second:wait_for_signal(40)
      -- It has read its share first.
      assert(second.count > 100, second.count)
      local at_signal = 0
      for _, entry in ipairs(second.entries) do
        if entry.kind == "message" and entry.at <= second.signal.at then at_signal = at_signal + 1 end
      end
      assert.equal(second.count, at_signal)
      first:stop()
      second:stop()
      judge({ first, second }, topic)
    end)

    it("what is taken away while pending does not count; what comes after the signal does not undo it",
      function()
        local topic, group = filled(6, 400), protocol:group()
        local first = start(protocol, topic, group, "the first", 2)
        first:wait_for_messages(200)
        local slow = start(protocol, topic, group, "the slow one", 100)
        slow:wait_for_partitions(3, 20)
        first:wait_for_signal(30)
        -- Three partitions have a minute to go, with the other.
        assert.is_nil(slow:look().signal)
        slow:stop()
        assert.equal("pending", slow:noted("state").text)
        first:wait_for_messages(2400 - slow.count, 30)
        first:stop()
        assert.equal(1, #first:named "caught_up")
        assert.equal("caught_up", first:noted("state").text)
        judge({ first, slow }, topic)
      end)

    it("what comes while pending counts", function()
      local topic, group = filled(6, 400), protocol:group()
      local slow = start(protocol, topic, group, "the slow one", 20)
      slow:wait_for_messages(1, 20)
      local stays = start(protocol, topic, group, "the one that stays", 4)
      stays:wait_for_partitions(3, 20)
      stays:wait_for_messages(50)
      slow:wait_for_messages(30)
      slow:stop()
      local before = stays:look().signal
      assert.is_nil(before)
      stays:wait_for_signal(40)
      assert.equal(6, select(2, stays:owned()))
      stays:stop()
      assert.equal(2400, slow.count + stays.count)
      judge({ slow, stays }, topic)
    end)

    it("partitions go to and fro while they are read, and each message is handled once", function()
      local topic, group = filled(6, 1000), protocol:group()
      local members = { start(protocol, topic, group, "stays", 1) }
      members[1]:wait_for_messages(100)
      for i = 2, 4 do
        local one = start(protocol, topic, group, "guest " .. i, 1)
        members[i] = one
        one:wait_for_messages(50, 20)
        one:stop()
      end
      members[1]:wait_for_signal(60)
      members[1]:stop()
      local result = judge(members, topic)
      assert.equal(0, #result.repeats)
      assert.equal(0, result.losses)
    end)

    it("a member that was stopped for longer than its session goes on, and loses nothing", function()
      local session_ms = 3000
      local topic, group = filled(4, 1500), protocol:group(session_ms)
      local given = { config = { options = protocol:options({}, session_ms), commit_interval = 0.5 } }
      local sleeper = start(protocol, topic, group, "the sleeper", 1, given)
      sleeper:wait_for_messages(300)
      local other = start(protocol, topic, group, "the other", 1, given)
      other:wait_for_partitions(2, 20)
      sleeper:signal_process "STOP"
      other:wait_for_partitions(4, 30)
      other:wait_for_messages(500, 20)
      sleeper:signal_process "CONT"
      other:wait_for_partitions(2, 30)
      sleeper:wait_for_signal(60)
      other:wait_for_signal(60)
      wait_for_commits(topic, group)
      sleeper:stop()
      other:stop()
      local result = judge({ sleeper, other }, topic)
      assert(result.losses > 0, "the sleeper was not told that it has lost its partitions")
    end)

    it("a member that closes in the middle of a rebalance has committed all that it handled", function()
      -- What the closing one meets depends on the moment.
      for _, pause_s in ipairs { 0, 0.02, 0.05, 0.1, 0.5 } do
        local topic, group = filled(6, 100), protocol:group()
        local function join()
          return assert(history.new { addresses = kafka.addresses(), topics = topic, consumer_group = group,
            commit_interval = 3600, options = protocol:options() })
        end
        local first, other, count = join(), nil, 0
        -- Both are read in turns, until the condition holds or the time is over.
        local function turn(seconds, condition)
          return reading.becomes(function()
            assert(first:step(function() count = count + 1 end))
            if other then assert(other:step(function() error "nothing is left to be handled" end)) end
            return condition and condition()
          end, seconds)
        end
        assert.is_true(turn(20, function() return count == 600 end))
        other = join()
        assert.is_true(turn(20, function() return #first:assignment() < 6 end))
        turn(pause_s)
        first:close()
        local committed = kafka.committed(topic, group)
        other:close()
        for partition = 0, 5 do
          assert(committed[partition] == 100, ("closed %g s after the revoke, partition %d: %s is committed")
            :format(pause_s, partition, tostring(committed[partition])))
        end
      end
    end)

    -- A request to join blocks the connection to the coordinator until the group is complete, so that
    -- neither a commit nor that it leaves reaches it. A cooperative member goes on reading meanwhile.
    local is_cut_off = protocol.name == "cooperative"
    local outcome = is_cut_off and "can commit nothing: it is closed in time, and that much comes again"
      or "has committed what it handled"

    it("a member that closes while the group waits for a dead one " .. outcome, function()
      local session_ms = 6000
      local topic, group = filled(6, 3000), protocol:group(session_ms)
      local given = { config = { options = protocol:options({}, session_ms), commit_interval = 0.5 } }
      local closes = start(protocol, topic, group, "the one that closes", 1, given)
      closes:wait_for_messages(100)
      local dies = start(protocol, topic, group, "the one that dies", 1, given)
      dies:wait_for_partitions(3, 20)
      dies:kill()
      local comes = start(protocol, topic, group, "the one that comes", 0.1, given)
      -- The newcomer is not let in before the dead one's session is over. Meanwhile:
      closes:wait_for_messages(closes.count + 1500, 20)
      closes:stop()
      closes.cut_off = is_cut_off
      assert(tonumber(closes:noted("closed").text) < 5.5)
      comes:wait_for_partitions(6, 30)
      comes:wait_for_signal(60)
      comes:stop()
      local result = judge({ closes, dies, comes }, topic)
      local again = 0
      for _, repeated in ipairs(result.repeats) do
        if repeated.stay.member == closes then again = again + 1 end
      end
      assert(again <= 1700, again)
    end)

    it("from_beginning reads a partition from its beginning once, and goes on when it comes back", function()
      local topic, group = filled(4, 800), protocol:group()
      local given = { config = { options = protocol:options(), from_beginning = true } }
      local first = start(protocol, topic, group, "the first", 1, given)
      first:wait_for_messages(400)
      local second = start(protocol, topic, group, "the second", 1, given)
      second:wait_for_partitions(2, 20)
      second:wait_for_messages(200)
      second:stop()
      first:wait_for_signal(40)
      first:wait_for_messages(3200, 40) -- what comes back may come after the signal
      first:stop()
      assert.equal(3200, first.count)
      judge({ first, second }, topic, { own_start = true })
    end)
  end)
end
