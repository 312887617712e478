-- How a member of a group on a real broker stays one, and how it ceases to be one.

local history = require "kafka_history"
local kafka = require "support.kafka"
local library = require "support.library"
local member = require "support.member"
local protocols = require "support.protocols"
local reading = require "support.reading"
local staging = require "support.staging"
local verdict = require "support.verdict"

local is_stock = _VERSION == "Lua 5.4"

local function filled(partitions, count)
  local topic = kafka.create("members", { partitions = partitions })
  staging.send_to_all(topic, partitions, count)
  return topic
end

-- Ways in which a member ends, and what its script does for that. Those that go on living say when they
-- have left.
local ways = {
  { name = "close()", life = [[self:read() self:close() self:note "left" self:sleep()]] },
  { name = "the end of its script", life = [[self:read()]] },
  { name = "an error in its script", life = [[self:read() error "on purpose"]], status = 1 },
  { name = "being collected", life = [[
      self:read()
      self.consumer = nil
      collectgarbage()
      collectgarbage()
      self:note "left"
        self:sleep()
    ]] },
  { name = "close() in its handler", handle = [[if self.handled == 9 then consumer:close() end]],
    life = [[self:read() self:note "left" self:sleep()]] },
}
if is_stock then
  table.insert(ways, { name = "<close>", life = [[
    do
      local consumer <close> = self.consumer
      self:read()
    end
    self:note "left"
    self:sleep()
  ]] })
end

local opened = {}

-- A member in this process, and its events.
local function join(protocol, topic, group, options, more)
  local events = {}
  local config = { addresses = kafka.addresses(), topics = topic, consumer_group = group,
    options = protocol:options(options, 6000),
    on_event = function(event) events[#events + 1] = event end }
  for key, value in pairs(more or {}) do config[key] = value end
  local consumer = assert(history.new(config))
  opened[#opened + 1] = consumer
  return consumer, events
end

local function named(events, name)
  local found = {}
  for _, event in ipairs(events) do
    if event.name == name then found[#found + 1] = event end
  end
  return found
end

-- Reads to the end of the history: what comes, as "partition@offset", in order.
local function read_places(consumer, opts)
  local places = {}
  local all = { stop_at = "caught_up", timeout = 40 }
  for key, value in pairs(opts or {}) do all[key] = value end
  local handle = all.handle
  all.handle = nil
  assert(consumer:read_history(function(msg, reader)
    local ok, err
    if handle then ok, err = handle(msg, reader) end
    if ok ~= false then places[#places + 1] = msg.partition .. "@" .. msg.offset end
    return ok, err
  end, all))
  return places
end

local function places_of(partition, first, last)
  local places = {}
  for offset = first, last do places[#places + 1] = partition .. "@" .. offset end
  return places
end

local function targets_of(expected)
  local targets = {}
  for name, of in pairs(expected) do targets[name] = of.target end
  return targets
end

-- It was given its partitions once, and nothing was ever taken.
local function assert_stayed(events)
  assert.same({ 1, 0, 0 }, { #named(events, "assigned"), #named(events, "revoked"), #named(events, "error") })
end

for _, protocol in ipairs(protocols) do
  describe("a member (" .. protocol.name .. ")", function()
    after_each(function()
      member.clean()
      for i = #opened, 1, -1 do
        opened[i]:close()
        opened[i] = nil
      end
    end)
    lazy_teardown(staging.close)

    for _, way in ipairs(ways) do
      it("leaves at once by " .. way.name .. ": a successor has its partitions within 3 s", function()
        local topic, group = filled(2, 5), protocol:group()
        -- A dead one would be waited for for 45 s.
        local config = { options = protocol:options() }
        local first = member.start { topics = topic, group = group, name = "the first", config = config,
          handle = way.handle, life = way.life }
        if way.handle then
          first:wait(function() return first.results[1] end, 20, "the end of reading")
          assert.equal("CLOSED", first.results[1].code)
        else
          first:wait_for_signal(20)
          first:ask_to_stop()
        end
        first:wait(function()
          return first:noted "left" or first.process:status() == (way.status or 0)
        end, 10, "the end of the first")
        local second = member.start { topics = topic, group = group, name = "the second", config = config }
        second:wait_for_partitions(2, 20)
        local took = second:named("assigned")[#second:named("assigned")].at - second.began
        assert(took < 3, ("the successor waited for %.1f s"):format(took))
        second:wait_for_signal()
        second:stop()
        assert.equal(0, second.count)
      end)
    end

    it("without a partition leaves at once, too: nobody waits for its session", function()
      local topic, group = filled(1, 5), protocol:group()
      local function start(name)
        return member.start { topics = topic, group = group, name = name,
          config = { options = protocol:options() } }
      end
      local first = start "the first"
      first:wait_for_signal(20)
      local idle = start "the idle one"
      idle:wait_for_signal(20)
      -- Each hears of the same assignment at a time of its own.
      first:wait(function() return select(2, first:owned()) + select(2, idle:owned()) == 1 end, 20,
        "one partition between the two")
      idle:stop()
      first:stop()
      local third = start "the third"
      third:wait_for_partitions(1, 20)
      local took = third:named("assigned")[#third:named("assigned")].at - third.began
      assert(took < 3, ("the successor waited for %.1f s"):format(took))
      third:stop()
    end)

    it("of static membership has the same partitions after a restart: the others notice nothing", function()
      local topic, group = filled(6, 50), protocol:group()
      local function start(name)
        return member.start { topics = topic, group = group, name = name,
          config = { options = protocol:options { ["group.instance.id"] = name } } }
      end
      local a, b = start "a", start "b"
      local before = verdict.whole(topic, kafka.ends(topic))
      a:wait_for_partitions(3, 20)
      b:wait_for_partitions(3, 20)
      a:wait_for_signal()
      b:wait_for_signal()
      local owned = a:owned()
      local told = #b:named "assigned" + #b:named "revoked"
      a:stop()
      a.targets, b.targets = targets_of(before), targets_of(before)
      staging.send_to_all(topic, 6, 1)
      local again = start "a"
      again:wait_for_partitions(3, 20)
      again:wait_for_messages(3)
      again:wait_for_signal()
      assert.same(owned, (again:owned()))
      b:wait_for_messages(6 * 51 - a:look().count - 3)
      assert.equal(told, #b:named "assigned" + #b:named "revoked")
      again:stop()
      b:stop()
      verdict.check({ a, b, again }, verdict.whole(topic, kafka.ends(topic)))
    end)

    it("whose handlers together take longer than max.poll.interval.ms stays a member", function()
      local topic, group = filled(1, 12), protocol:group()
      local options = { ["max.poll.interval.ms"] = 3000 }
      if protocol.strategy then options["session.timeout.ms"] = 3000 end
      local consumer, events = join(protocol, topic, group, options, { commit_interval = 0.5 })
      local began = reading.now()
      assert.same(places_of(0, 0, 11), read_places(consumer, { handle = function() reading.sleep(0.5) end }))
      assert(reading.now() - began > 5)
      assert_stayed(events)
      consumer:close()
      assert.same({ [0] = 12 }, kafka.committed(topic, group))
    end)

    it("one call of whose handler takes longer loses its membership, is told so, and reads on", function()
      local topic, group = filled(1, 12), protocol:group()
      local options = { ["max.poll.interval.ms"] = 3000 }
      if protocol.strategy then options["session.timeout.ms"] = 3000 end
      local consumer, events = join(protocol, topic, group, options, { commit_interval = 0.2 })
      local calls, slept = {}, false
      read_places(consumer, { batch = 4, handle = function(msg)
        calls[msg.offset] = (calls[msg.offset] or 0) + 1
        if msg.offset == 5 and not slept then
          slept = true
          reading.sleep(5)
        end
      end })
      -- Nobody else has had the partition meanwhile: it may go on where it was, or where it had committed.
      for offset = 0, 11 do
        assert(calls[offset] == 1 or calls[offset] == 2 and offset < 8, ("%d: %s"):format(offset,
          tostring(calls[offset])))
      end
      local lost = named(events, "revoked")
      assert.equal(1, #lost)
      assert.is_true(lost[1].lost)
      assert.same({ { topic = topic, partition = 0 } }, lost[1].partitions)
      local errors = named(events, "error")
      assert.is_true(#errors >= 1)
      assert.equal("_MAX_POLL_EXCEEDED", errors[1].code)
      consumer:close()
      assert.same({ [0] = 12 }, kafka.committed(topic, group))
    end)

    it("one call of whose handler takes longer loses its partitions to another, which handles that message",
      function()
        local topic, group = filled(2, 60), protocol:group()
        local options = { ["max.poll.interval.ms"] = 3000 }
        if protocol.strategy then options["session.timeout.ms"] = 3000 end
        local function start(name, handle)
          return member.start { topics = topic, group = group, name = name, handle = handle,
            config = { options = protocol:options(options), commit_interval = 0.2 },
            life = "self:read { batch = 4 } self:close()" }
        end
        local slow = start("the slow one", [[
          system.sleep(0.02)
          if msg.offset == 5 and not self.slept then
            self.slept = true
            self:note("asleep", msg.topic .. ":" .. msg.partition)
            system.sleep(8)
          end
        ]])
        slow:wait(function() return slow:noted "asleep" end, 20)
        local other = start("the other", "system.sleep(0.02)")
        other:wait_for_partitions(2, 20)
        -- Below 2.16 librdkafka sends an invalid heartbeat then, and gives up for good.
        local gives_up = protocol.name == "consumer" and not library.is_at_least(2, 16, 0)
        if gives_up then
          slow:wait(function() return slow.results[1] end, 20, "the end of reading")
          assert.equal("INVALID_REQUEST", slow.results[1].code)
          slow:finish()
          slow.cut_off = true
        else
          slow:wait_for_signal(40)
        end
        other:wait_for_signal(40)
        if not gives_up then slow:stop() end
        other:stop()
        local result = verdict.check({ slow, other }, verdict.whole(topic, kafka.ends(topic)))
        assert(gives_up or result.losses >= 1)
        assert.equal("_MAX_POLL_EXCEEDED", slow:named("error")[1].code)
        local name, again = slow:noted("asleep").text, 0
        for _, repeated in ipairs(result.repeats) do
          if repeated.name == name and repeated.offset == 5 then again = again + 1 end
        end
        assert.equal(1, again)
      end)

    it("that tries a message again after more than max.poll.interval.ms stays a member", function()
      local topic, group = filled(1, 10), protocol:group()
      local options = { ["max.poll.interval.ms"] = 3000 }
      if protocol.strategy then options["session.timeout.ms"] = 3000 end
      local consumer, events = join(protocol, topic, group, options)
      local failed = false
      assert.same(places_of(0, 0, 9), read_places(consumer, {
        on_error = { retry = 1, backoff = 5 },
        handle = function(msg)
          if msg.offset == 4 and not failed then
            failed = true
            return false
          end
        end,
      }))
      assert.is_true(failed)
      assert_stayed(events)
      consumer:close()
      assert.same({ [0] = 10 }, kafka.committed(topic, group))
    end)

    it("whose handler fails commits what comes before: its successor begins with that message", function()
      local topic, group = filled(1, 100), protocol:group()
      local consumer = join(protocol, topic, group)
      local _, _, code = consumer:read_history(function(msg) return msg.offset ~= 42 end, { timeout = 20 })
      assert.equal("HANDLER", code)
      consumer:close()
      assert.same({ [0] = 42 }, kafka.committed(topic, group))
      consumer = join(protocol, topic, group)
      assert.same(places_of(0, 42, 99), read_places(consumer))
    end)

    it("begins with the message that its handler has failed for when it reads on", function()
      local topic, group = filled(1, 100), protocol:group()
      local consumer, events = join(protocol, topic, group)
      local _, _, code = consumer:read_history(function(msg) return msg.offset ~= 42 end, { timeout = 20 })
      assert.equal("HANDLER", code)
      assert.same(places_of(0, 42, 99), read_places(consumer))
      assert.equal(0, #named(events, "revoked"))
    end)

    it("stops at the end of the history, and goes on later with what is behind it", function()
      local topic, group = filled(3, 100), protocol:group()
      local consumer, events = join(protocol, topic, group, nil, {
        on_event = function(event)
          if event.name == "snapshot" then staging.send_to_all(topic, 3, 50) end
        end })
      local count, nexts = 0, { [0] = 0, 0, 0 }
      local function handle(msg)
        count = count + 1
        assert(msg.offset == nexts[msg.partition], tostring(msg))
        nexts[msg.partition] = msg.offset + 1
      end
      assert(consumer:read_history(handle, { stop_at = "caught_up", timeout = 30 }))
      assert.same({ 300, { [0] = 100, 100, 100 } }, { count, nexts })
      assert.equal("caught_up", consumer:progress().state)
      reading.until_true(consumer, handle, function() return count == 450 end)
      assert.equal(0, #events)
      assert.is_true(consumer:commit(10))
      assert.same({ [0] = 150, 150, 150 }, kafka.committed(topic, group))
    end)

    it("commits when it is told to, and other clients see it", function()
      local topic, group = filled(2, 100), protocol:group()
      local consumer = join(protocol, topic, group, nil, { commit_interval = 3600 })
      local count = 0
      consumer:read_history(function(_, reader)
        count = count + 1
        if count == 70 then reader:cancel() end
        -- What comes back from here is as good as from outside.
        if count == 50 then assert.is_true(reader:commit(10)) end
      end, { batch = 40, timeout = 20 })
      assert.equal(70, count)
      local function sum()
        local total = 0
        for _, offset in pairs(kafka.committed(topic, group)) do total = total + math.max(offset, 0) end
        return total
      end
      assert.equal(49, sum()) -- the message that is being handled is not
      assert.is_true(consumer:commit(10))
      assert.equal(70, sum())
      assert.is_true(consumer:commit(10)) -- nothing to do
      assert.is_true(consumer:commit())
      assert.equal(70, sum())
    end)

    it("commits every commit_interval by itself, while it reads", function()
      local topic, group = filled(1, 100), protocol:group()
      local consumer = join(protocol, topic, group, nil, { commit_interval = 0.3 })
      local count = 0
      reading.until_true(consumer, function() count = count + 1 end, function()
        return count == 100 and kafka.committed(topic, group)[0] == 100
      end)
      staging.send(topic, 1)
      reading.until_true(consumer, function() count = count + 1 end, function()
        return kafka.committed(topic, group)[0] == 101
      end)
      assert.equal(101, count)
    end)

    it("has what messages() hands out counted when the next one is asked for", function()
      local topic, group = filled(1, 100), protocol:group()
      local consumer = join(protocol, topic, group)
      for msg in consumer:messages() do
        if msg.offset == 30 then break end
      end
      consumer:close()
      assert.same({ [0] = 30 }, kafka.committed(topic, group))
      consumer = join(protocol, topic, group)
      local expected = 30
      for msg in consumer:messages { stop_at = "caught_up" } do
        assert.equal(expected, msg.offset)
        expected = expected + 1
      end
      assert.equal(100, expected)
      assert.equal("caught_up", consumer:caught_up():state())
      consumer:close()
      assert.same({ [0] = 100 }, kafka.committed(topic, group))
    end)

    it("tells its assignment, in events and when it is asked, and its progress is of that", function()
      local topic, group = filled(3, 10), protocol:group()
      local consumer, events = join(protocol, topic, group)
      assert.same({}, consumer:assignment())
      read_places(consumer)
      local function sorted(list)
        table.sort(list, function(a, b) return a.partition < b.partition end)
        return list
      end
      local all = { { topic = topic, partition = 0 }, { topic = topic, partition = 1 },
        { topic = topic, partition = 2 } }
      assert.same(all, sorted(consumer:assignment()))
      local assigned = {}
      for _, event in ipairs(named(events, "assigned")) do
        assert.is_string(event.text)
        for _, place in ipairs(event.partitions) do assigned[#assigned + 1] = place end
      end
      assert.same(all, sorted(assigned))
      local progress = consumer:progress()
      assert.equal(3, #progress.partitions)
      for _, place in ipairs(progress.partitions) do
        assert.same({ topic, 10, 10, true }, { place.topic, place.position, place.target, place.caught_up })
      end
      -- Half of it goes to another one, and comes back.
      local other = member.start { topics = topic, group = group, config = { options = protocol:options() } }
      reading.until_true(consumer, function() end, function() return #consumer:assignment() < 3 end)
      assert.equal(#consumer:assignment(), #consumer:progress().partitions)
      other:ask_to_stop()
      reading.until_true(consumer, function() end, function() return #consumer:assignment() == 3 end)
      assert.equal(3, #consumer:progress().partitions)
      other:finish()
      local revoked = named(events, "revoked")
      assert.is_true(#revoked > 0)
      for _, event in ipairs(revoked) do assert.is_falsy(event.lost) end
      consumer:close()
      assert.equal("CLOSED", (select(3, consumer:assignment())))
      assert.equal("CLOSED", (select(3, consumer:commit())))
    end)
  end)
end
