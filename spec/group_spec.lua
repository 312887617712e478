-- A group's configuration, its methods, and one member's life on the embedded broker, where the first
-- assignment takes 3 s. What several members do together is in spec/real/group*_spec.lua.

local history = require "kafka_history"
local library = require "support.library"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local raised = reading.raised

local function config(more, options)
  local all = { addresses = "127.0.0.1:1", topics = "t", consumer_group = "g", options = options }
  for key, value in pairs(more or {}) do all[key] = value end
  return all
end

local function refused(given)
  local err = raised(history.new, given)
  assert.matches("^[^\n]+$", err)
  return err
end

local function accepted(given)
  local consumer = assert(history.new(given))
  assert.is_true(consumer:close())
end

describe("a group's", function()
  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  describe("configuration", function()
    it("takes a name, an interval, and what a member's options are", function()
      accepted(config())
      accepted(config { commit_interval = 0.5, from_beginning = true })
      accepted(config { commit_interval = math.huge, from_beginning = false })
      accepted(config({}, { ["partition.assignment.strategy"] = "range,roundrobin",
        ["group.instance.id"] = "a", ["session.timeout.ms"] = 6000, ["heartbeat.interval.ms"] = 500,
        ["max.poll.interval.ms"] = 10000 }))
    end)

    it("takes no other group than a name", function()
      for _, given in ipairs { true, 1, "", {}, print, { "g" } } do
        assert.matches("consumer_group: expected", refused(config { consumer_group = given }))
      end
    end)

    it("takes no other interval than seconds above 0", function()
      for _, given in ipairs { true, "5", -1, {}, print, 0 / 0 } do
        assert.matches("commit_interval: expected", refused(config { commit_interval = given }))
      end
    end)

    it("takes no start beside it: where a member begins is in the group", function()
      for _, start in ipairs { { last = 1 }, { timestamp = 0 }, { t = { [0] = 1 } } } do
        local err = refused(config { start = start })
        assert.matches("start: ", err)
        assert.matches("consumer_group", err)
      end
    end)

    it("takes no regular expression as a topic", function()
      assert.matches("topics: .*regular expression", refused(config { topics = "^t" }))
      assert.matches("topics: .*regular expression", refused(config { topics = { "t", "^u" } }))
    end)

    it("takes no property that the engine decides", function()
      for property, value in pairs {
        ["enable.auto.commit"] = true, ["enable.auto.offset.store"] = true, ["auto.offset.reset"] = "latest",
        ["enable.partition.eof"] = false, ["group.id"] = "other", ["auto.commit.interval.ms"] = 100,
      } do
        assert.is_truthy(refused(config({}, { [property] = value })):find(property, 1, true), property)
      end
    end)

    it("takes cooperative-sticky from librdkafka 2.6.1 on, and says so below", function()
      local options = { ["partition.assignment.strategy"] = "cooperative-sticky" }
      if library.is_at_least(2, 6, 1) then
        accepted(config({}, options))
      else
        local err = refused(config({}, options))
        assert.matches("cooperative%-sticky", err)
        assert.matches("2%.6%.1", err)
        assert.is_truthy(err:find(history.librdkafka_version(), 1, true), err)
      end
    end)

    it("takes the protocol of KIP-848 from librdkafka 2.12 on, and says so below", function()
      local options = { ["group.protocol"] = "consumer" }
      if library.is_at_least(2, 12, 0) then
        accepted(config({}, options))
      else
        local err = refused(config({}, options))
        assert.matches("group%.protocol", err)
        assert.matches("2%.12", err)
      end
    end)

    it("raises at the line that calls new", function()
      assert.matches("group_spec.lua:%d+: new: ", raised(function()
        history.new(config { commit_interval = "x" })
      end))
    end)
  end)

  describe("methods, without a group:", function()
    it("assignment() is of all partitions", function()
      local of = reading.broker { t = 2, u = 1 }
      local consumer = reading.consumer(of, { "t", "u" })
      reading.history(consumer)
      local words = {}
      for i, place in ipairs(consumer:assignment()) do words[i] = place.topic .. place.partition end
      table.sort(words)
      assert.same({ "t0", "t1", "u0" }, words)
    end)

    it("commit() is a mistake, and says so", function()
      local of = reading.broker { t = 1 }
      local consumer = reading.consumer(of, "t")
      assert.matches("group_spec.lua:%d+: commit: .*group", raised(function() consumer:commit() end))
    end)
  end)

  describe("methods", function()
    it("take seconds, 0 or more", function()
      local consumer = assert(history.new(config()))
      for _, seconds in ipairs { "1", -1, 0 / 0, {}, true } do
        assert.matches("commit: ", raised(function() consumer:commit(seconds) end))
      end
      consumer:close()
    end)

    it("are bounded where there is no broker", function()
      local consumer = assert(history.new(config()))
      assert.same({}, consumer:assignment())
      consumer:read_history(function() end, { timeout = 0.2 })
      assert.same({}, consumer:assignment())
      local began = reading.now()
      consumer:commit(0.3) -- true: there is nothing to commit
      assert.is_true(reading.now() - began < 3)
      began = reading.now()
      consumer:close()
      assert.is_true(reading.now() - began < 5.5)
    end)

    it("say after close() that it is closed", function()
      local consumer = assert(history.new(config()))
      consumer:close()
      assert.same({ nil, "closed", "CLOSED" }, { consumer:assignment() })
      assert.same({ nil, "closed", "CLOSED" }, { consumer:commit(1) })
    end)
  end)

  describe("member", function()
    local function join(of, more, retry_ms)
      local options = { ["fetch.wait.max.ms"] = 10, ["session.timeout.ms"] = 6000,
        ["heartbeat.interval.ms"] = 500, ["retry.backoff.ms"] = retry_ms }
      local all = { consumer_group = "g", options = options }
      for key, value in pairs(more or {}) do all[key] = value end
      return reading.consumer(of, "t", all)
    end

    it("reads its share, commits, and its successor goes on there", function()
      local of = reading.broker { t = 2 }
      assert(of:produce("t", { { partition = 0, value = "1" }, { partition = 1, value = "2" } }))
      local events = {}
      local first = join(of, { on_event = function(event) events[#events + 1] = event end })
      local latch = first:caught_up()
      local count = 0
      assert(first:read_history(function()
        count = count + 1
        assert.is_false(latch:is_ready())
        assert.equal(2, #first:assignment())
      end, { stop_at = "caught_up", timeout = 20 }))
      assert.equal(2, count)
      assert.is_true(latch:is_ready())
      local names = {}
      for _, event in ipairs(events) do
        names[event.name] = (names[event.name] or 0) + 1
        if event.name == "assigned" and #event.partitions > 0 then
          assert.equal(2, #event.partitions)
          assert.is_string(event.text)
        end
      end
      assert.equal(1, names.caught_up)
      assert.equal(2, names.partition_caught_up)
      assert.is_true(names.assigned >= 1)
      assert.is_true(first:commit(5))
      assert.is_true(first:close())
      assert(of:produce("t", { { partition = 1, value = "3" } }))
      assert.same({ "3" }, reading.history(join(of)))
    end)

    it("that closes before its first assignment is gone in time", function()
      local of = reading.broker { t = 1 }
      for _ = 1, 3 do
        local consumer = join(of)
        assert.equal("TIMEOUT", (select(3, consumer:read_history(function() end, { timeout = 0.3 }))))
        local began = reading.now()
        consumer:close()
        assert.is_true(reading.now() - began < 5.5)
      end
    end)

    it("tells of a commit that failed, and goes on", function()
      local of = reading.broker { t = 1 }
      assert(of:produce("t", { "1", "2" }))
      local errors = {}
      local consumer = join(of, { commit_interval = 0.1, on_event = function(event)
        if event.name == "error" then errors[#errors + 1] = event end
      end })
      of:error("OffsetCommit", { "TOPIC_AUTHORIZATION_FAILED" })
      local count = 0
      reading.until_true(consumer, function() count = count + 1 end, function()
        return count == 2 and #errors > 0
      end)
      assert.equal("TOPIC_AUTHORIZATION_FAILED", errors[1].code)
      assert.is_string(errors[1].text)
      assert.is_true(consumer:commit(5))
    end)

    it("that closes while an earlier commit is sent again does not move the group back to that", function()
      local of = reading.broker { t = 1 }
      assert(of:produce("t", reading.numbers(1, 10)))
      of:error("OffsetCommit", { "COORDINATOR_LOAD_IN_PROGRESS" })
      local first = join(of, {}, 900)
      local code
      assert(first:read_history(function(msg)
        if msg.value == "5" then code = select(3, first:commit(0)) end
      end, { stop_at = "caught_up", timeout = 20 }))
      assert.equal("TIMEOUT", code)
      assert.is_true(first:close())
      assert.same({}, reading.history(join(of)))
    end)
  end)
end)
