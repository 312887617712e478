-- read_history { latest = ... } on the embedded broker: the interface, and what is handed out, against a
-- naive model (support.compacted). spec/real/latest_spec.lua has what only a real broker has.

local compacted = require "support.compacted"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local to_caught_up = { latest = true, stop_at = "caught_up", timeout = 20 }

-- The options, and those of reading to the end of history with latest = true unless they say otherwise.
local function with(more)
  local all = {}
  for key, value in pairs(to_caught_up) do all[key] = value end
  for key, value in pairs(more or {}) do all[key] = value end
  return all
end

-- "key=value" of each message in the order in which they came; "-" is null.
local function words(messages)
  local found = {}
  for i, message in ipairs(messages) do
    found[i] = (message.key or "-") .. "=" .. (message.value or "-")
  end
  return table.concat(found, " ")
end

-- A message from "key=value", "-" for null.
local function message(word)
  local key, value = word:match "^(.-)=(.*)$"
  return { key = key ~= "-" and key or nil, value = value ~= "-" and value or nil, partition = 0 }
end

local function messages(text)
  local list = {}
  for word in text:gmatch "%S+" do list[#list + 1] = message(word) end
  return list
end

-- A broker whose topic "t" has one partition with these messages, and a consumer of it.
local function filled(text, more)
  local of = reading.broker { t = 1 }
  assert(of:produce("t", messages(text)))
  return reading.consumer(of, "t", more), of
end

-- A handler that keeps the messages in an array, and that array.
local function collector(also)
  local got = {}
  return function(msg, consumer)
    got[#got + 1] = msg
    if also then return also(msg, consumer, got) end
  end, got
end

-- What a call hands out, as words, and its results.
local function read(consumer, opts)
  local handler, got = collector()
  local ok, err, code = consumer:read_history(handler, with(opts))
  return words(got), ok, err, code
end

-- The same at every run: a generator of its own.
local function generator(seed)
  return function(below)
    seed = seed * 16807 % 2147483647
    return seed % below
  end
end

describe("the latest value of each key", function()
  before_each(watchdog.start)
  after_each(function()
    reading.clean()
    watchdog.stop()
  end)

  it("is handed out once, with the last message of each key, in the order of the offsets", function()
    local consumer = filled "a=1 b=1 a=2 c=1 b=2 a=3"
    local got, ok, err = read(consumer)
    assert(ok, err)
    assert.equal("c=1 b=2 a=3", got)
    assert.is_true(consumer:caught_up():is_ready())
  end)

  it("leaves every message without a key, and tells no key from an empty one", function()
    local consumer = filled "-=1 =1 -=2 =2 -=1 -=-"
    assert.equal("-=1 -=2 =2 -=1 -=-", (read(consumer)))
  end)

  it("leaves out what a tombstone has deleted, and what comes after one is there", function()
    local consumer = filled "a=1 b=1 c=- a=- d=1 d=- d=2 b="
    assert.equal("d=2 b=", (read(consumer)))
  end)

  it("shows the tombstones where it is asked for them", function()
    local consumer = filled "a=1 b=1 c=- a=- d=1 d=- d=2 b="
    local handler, got = collector()
    assert(consumer:read_history(handler, with { latest = "tombstones" }))
    assert.equal("c=- a=- d=2 b=", words(got))
    assert.is_true(got[1]:is_tombstone())
    assert.is_false(got[4]:is_tombstone())
  end)

  it("shows the tombstones of a partition that is not read from its start, and of that one only", function()
    local of = reading.broker { t = 2 }
    for partition = 0, 1 do
      for _, one in ipairs(messages "a=1 b=1 c=1 b=- d=1") do
        one.partition = partition
        assert(of:produce("t", one))
      end
    end
    local consumer = reading.consumer(of, "t", { start = { t = { [0] = 2 } } })
    local handler, got = collector()
    assert(consumer:read_history(handler, with()))
    local found = compacted.by_partition(got).t
    assert.equal("c=1 b=- d=1", words(found[0]))
    assert.equal("a=1 c=1 d=1", words(found[1]))
  end)

  it("is that of a key in each partition and topic by itself", function()
    local of = reading.broker { t = 2, u = 1 }
    assert(of:produce("t", { { key = "a", value = "0", partition = 0 },
      { key = "a", value = "1", partition = 1 } }))
    assert(of:produce("u", { { key = "a", value = "u" } }))
    local handler, got = collector()
    assert(reading.consumer(of, { "t", "u" }):read_history(handler, with()))
    local found = compacted.by_partition(got)
    assert.equal("a=0", words(found.t[0]))
    assert.equal("a=1", words(found.t[1]))
    assert.equal("a=u", words(found.u[0]))
  end)

  it("is what a naive model makes of random messages, partition by partition", function()
    for seed = 1, 3 do
      local random = generator(seed)
      local of = reading.broker { t = 4, u = 3 }
      local sent = {}
      for topic, partitions in pairs { t = 4, u = 3 } do
        local list = {}
        sent[topic] = {}
        for i = 1, 3000 do
          local partition = random(partitions)
          local at = sent[topic][partition] or {}
          sent[topic][partition] = at
          list[i] = { partition = partition, value = random(4) > 0 and ("v"):rep(random(90)) .. i or nil,
            key = random(20) > 0 and "key-" .. random(seed * 100) or nil }
          at[#at + 1] = list[i]
        end
        assert(of:produce(topic, list))
      end
      for _, latest in ipairs { true, "tombstones" } do
        local consumer = reading.consumer(of, { "t", "u" })
        local latch = consumer:caught_up()
        local handler, got = collector(function() assert(not latch:is_ready()) end)
        assert(consumer:read_history(handler, with { latest = latest, batch = 7 * seed }))
        local found, count = compacted.by_partition(got), 0
        for topic, partitions in pairs(sent) do
          for partition, list in pairs(partitions) do
            local left = compacted.fold(list, latest == "tombstones")
            assert.equal(words(left), words(found[topic][partition]))
            count = count + #left
          end
        end
        assert.equal(count, #got)
        local progress = consumer:progress()
        assert.equal(6000, progress.read)
        assert.equal(count, progress.messages)
      end
    end
  end)

  it("comes with all that a message has, and stays when the consumer is gone", function()
    local of = reading.broker { t = 1 }
    local headers = { { name = "n", value = "1" }, { name = "m" }, { name = "n", value = "\0\255" } }
    assert(of:produce("t", {
      { key = "a", value = "old", headers = { { name = "old", value = "old" } }, timestamp = 1000 },
      { key = "a", value = "\0new\0", headers = headers, timestamp = 1000000000123 },
      { key = "b", value = "plain" },
    }))
    local consumer = reading.consumer(of, "t")
    local handler, got = collector()
    assert(consumer:read_history(handler, with()))
    consumer:close()
    local msg = got[1]
    assert.equal("t", msg.topic)
    assert.equal(0, msg.partition)
    assert.equal(1, msg.offset)
    assert.equal(1000000000123, msg.timestamp)
    assert.equal("create_time", msg.timestamp_type)
    assert.equal("a", msg.key)
    assert.equal("\0new\0", msg.value)
    assert.equal("\0new\0", msg:data())
    assert.same(headers, msg.headers)
    assert.equal("\0\255", msg:header "n")
    assert.same({}, got[2].headers)
    assert.equal(2, got[2].offset)
  end)

  it("comes as fields, too", function()
    local consumer = filled "a=1 b=1 a=2 c=-"
    local got = {}
    assert(consumer:read_history(function(offset, key, value, of)
      assert.equal(consumer, of)
      got[#got + 1] = ("%d %s=%s"):format(offset, key, tostring(value))
    end, with { latest = "tombstones", fields = { "offset", "key", "value" } }))
    assert.equal("1 b=1, 2 a=2, 3 c=nil", table.concat(got, ", "))

    local of = reading.broker { t = 1 }
    local headers = { { name = "n", value = "1" }, { name = "m" } }
    assert(of:produce("t", { { key = "a", value = "1", headers = headers, timestamp = 1000 } }))
    local names = { "topic", "partition", "headers", "timestamp", "timestamp_type" }
    assert(reading.consumer(of, "t"):read_history(function(topic, partition, given, timestamp, kind)
      got = { topic, partition, given, timestamp, kind }
    end, with { fields = names }))
    assert.same({ "t", 0, headers, 1000, "create_time" }, got)
  end)

  it("comes from the iterator, too", function()
    local consumer = filled "a=1 b=1 a=2 b=2 c=1"
    local got = {}
    for msg in consumer:messages { latest = true, stop_at = "caught_up", timeout = 20 } do
      got[#got + 1] = msg
    end
    assert.equal("a=2 b=2 c=1", words(got))
    assert.is_true(consumer:caught_up():is_ready())
  end)

  it("is handed out by step, which does not block before it is there", function()
    local consumer = filled "a=1 b=1 a=2 b=2 c=1 d=-"
    local handler, got = collector()
    assert.is_true(reading.becomes(function()
      assert(consumer:step(handler, { latest = "tombstones", batch = 2 }))
      return consumer:caught_up():is_ready()
    end, 20))
    assert.equal("a=2 b=2 c=1 d=-", words(got))
  end)

  it("comes before the signal, and what comes after it is live: every message", function()
    local consumer, of = filled "a=1 b=1 a=2"
    local latch = consumer:caught_up()
    local got, signals = {}, 0
    local handler = function(msg, reader)
      got[#got + 1] = msg
      if #got <= 2 then assert(not latch:is_ready()) else assert(latch:is_ready()) end
      if #got == 5 then reader:cancel() end
    end
    local ok, err, code = consumer:read_history(handler, { latest = true, timeout = 20, tick = 0.01,
      on_tick = function()
        if latch:is_ready() and signals == 0 then
          signals = 1
          assert(of:produce("t", messages "a=3 a=- a=4"))
        end
      end })
    assert.equal("CANCELLED", code, tostring(ok or err))
    assert.equal("b=1 a=2 a=3 a=- a=4", words(got))
  end)

  it("is handed out while librdkafka goes on telling of itself", function()
    local of, list, told = reading.broker { t = 1 }, {}, 0
    for i = 1, 400 do list[i] = { key = "key-" .. i, value = "v" } end
    assert(of:produce("t", list))
    local consumer = reading.consumer(of, "t", { on_stats = function() told = told + 1 end,
      options = { ["statistics.interval.ms"] = 50 } })
    local before
    local _, err, code = consumer:read_history(function(_, reader)
      before = before or told
      if told > before then reader:cancel() end
      reading.sleep(0.01)
    end, with { batch = 1 })
    assert.equal("CANCELLED", code, err)
  end)

  it("of a history whose keys were all deleted is nothing, and then comes the signal", function()
    for _, text in ipairs { "", "a=1 b=- a=-" } do
      local consumer = filled(text)
      local got, ok, err = read(consumer)
      assert(ok, err)
      assert.equal("", got)
      assert.is_true(consumer:caught_up():is_ready())
      assert.equal(0, consumer:progress().messages)
    end
  end)

  it("of an empty partition and of a filled one at once", function()
    local of = reading.broker { t = 3 }
    assert(of:produce("t", messages "a=1 a=2"))
    local got, ok, err = read(reading.consumer(of, "t"))
    assert(ok, err)
    assert.equal("a=2", got)
  end)

  describe("in numbers:", function()
    it("what was read is counted apart from what was handled", function()
      local consumer = filled "a=1 b=1 a=2 -=1 c=-"
      local seen = {}
      assert(consumer:read_history(function(_, reader)
        seen[#seen + 1] = reader:progress()
      end, with()))
      local progress = consumer:progress()
      assert.equal(5, progress.read)
      assert.equal(3, progress.messages)
      assert.equal(0, progress.skipped)
      assert.equal(1, progress.fraction)
      assert.equal("caught_up", progress.state)
      assert.equal(3, #seen)
      for _, at in ipairs(seen) do
        assert.equal(5, at.read)
        assert.equal("reading", at.state)
        assert.is_true(at.fraction < 1)
      end
    end)

    it("without it both are the same", function()
      local consumer = filled "a=1 b=1 a=2"
      assert.equal("a=1 b=1 a=2", (read(consumer, { latest = false })))
      assert.equal(3, consumer:progress().read)
      assert.equal(3, consumer:progress().messages)
      assert.equal(0, consumer:progress().kept_bytes)
    end)

    it("the position is behind all that was handled, so that it can be gone on from", function()
      local consumer, of = filled "a=1 b=1 a=2 b=- c=-"
      assert.equal("a=2", (read(consumer)))
      local position = consumer:progress().partitions[1].position
      assert.equal(5, position)
      assert(of:produce("t", messages "d=1"))
      local next_one = reading.consumer(of, "t", { start = { t = { [0] = position } } })
      assert.equal("d=1", (read(next_one)))
    end)

    it("what is kept is only what will be handed out, and then nothing", function()
      local of = reading.broker { t = 1 }
      local list = {}
      for i = 1, 20000 do list[i] = { key = "key-" .. i % 10, value = ("x"):rep(100) } end
      assert(of:produce("t", list))
      local consumer, most = reading.consumer(of, "t"), 0
      local count = 0
      assert(consumer:read_history(function(_, reader)
        most = math.max(most, reader:progress().kept_bytes)
        count = count + 1
      end, with { max_bytes = 100000, batch = 1 }))
      assert.equal(10, count)
      -- At the first of them there are nine more.
      assert(most >= 9 * 100 and most <= 100000, "kept: " .. most)
      assert.equal(0, consumer:progress().kept_bytes)
    end)
  end)

  describe("when it takes too many bytes", function()
    local function large()
      local of = reading.broker { t = 1 }
      local list = {}
      for i = 1, 3000 do list[i] = { key = "key-" .. i, value = ("x"):rep(100) } end
      assert(of:produce("t", list))
      return reading.consumer(of, "t")
    end

    it("ends with an error that says so, before anything is handed out", function()
      local consumer = large()
      local got, ok, err, code = read(consumer, { max_bytes = 100000 })
      assert.is_nil(ok)
      assert.equal("MAX_BYTES", code)
      assert.truthy(err:find "^MAX_BYTES: ")
      assert.truthy(err:find("100000", 1, true) or err:find("100 000", 1, true), err)
      assert.equal("", got)
      assert.is_false(consumer:caught_up():is_ready())
      assert.is_true(consumer:progress().kept_bytes <= 200000)
      assert.is_true(consumer:close())
    end)

    it("and is handed out whole where there is room", function()
      local consumer, count = large(), 0
      assert(consumer:read_history(function() count = count + 1 end, with { max_bytes = 10000000 }))
      assert.equal(3000, count)
    end)
  end)

  describe("when it is interrupted", function()
    it("by a failing handler, stops there and goes on with that message", function()
      local consumer = filled "a=1 b=1 c=1 a=2 d=1"
      local got, fails = {}, true
      local handler = function(msg)
        if msg.key == "c" and fails then return false, "no" end
        got[#got + 1] = msg
      end
      for _ = 1, 2 do
        local ok, err, code = consumer:read_history(handler, with())
        assert.is_nil(ok)
        assert.equal("HANDLER", code)
        assert.truthy(err:find("t[0]@2: no", 1, true), err)
        assert.equal("b=1", words(got))
        assert.equal("failed", consumer:caught_up():state())
      end
      fails = false
      assert(consumer:read_history(handler, with()))
      assert.equal("b=1 c=1 a=2 d=1", words(got))
      assert.equal("caught_up", consumer:caught_up():state())
      assert.equal(4, consumer:progress().messages)
    end)

    it("by a failing handler at the last message, there is no signal before it is handled", function()
      local consumer = filled "a=1 b=1"
      local latch, fails = consumer:caught_up(), true
      local handler, got = collector(function(msg)
        assert(not latch:is_ready())
        if msg.key == "b" and fails then return false, "no" end
      end)
      assert.equal("HANDLER", select(3, consumer:read_history(handler, with())))
      assert.is_false(latch:is_ready())
      fails = false
      assert(consumer:read_history(handler, with()))
      assert.is_true(latch:is_ready())
      assert.equal("a=1 b=1 b=1", words(got))
    end)

    it("by a failing handler that is told to skip or to try again, goes on", function()
      local consumer = filled "a=1 b=1 c=1 a=2"
      local handler, got = collector(function(msg) if msg.key == "c" then error "no" end end)
      assert(consumer:read_history(handler, with { on_error = "skip" }))
      assert.equal("b=1 c=1 a=2", words(got))
      assert.equal(1, consumer:progress().skipped)

      consumer = filled "a=1 b=1 c=1 a=2"
      local failures = 0
      handler, got = collector(function(msg)
        if msg.key == "c" and failures < 2 then
          failures = failures + 1
          error "no"
        end
      end)
      assert(consumer:read_history(handler, with { on_error = { retry = 2 } }))
      assert.equal("b=1 c=1 c=1 c=1 a=2", words(got))
    end)

    it("by cancel, goes on with the next message", function()
      local consumer = filled "a=1 b=1 c=1 a=2"
      local handler, got = collector(function(msg, reader) if msg.key == "b" then reader:cancel() end end)
      assert.equal("CANCELLED", select(3, consumer:read_history(handler, with())))
      assert.equal("b=1", words(got))
      assert(consumer:read_history(handler, with()))
      assert.equal("b=1 c=1 a=2", words(got))
    end)

    it("by cancel and close, the positions are where another consumer goes on", function()
      local random, list = generator(3), {}
      for i = 1, 2000 do
        list[i] = { key = "key-" .. random(300), value = random(3) > 0 and tostring(i) or nil,
          partition = random(2) }
      end
      local of = reading.broker { t = 2 }
      assert(of:produce("t", list))
      local expected = reading.consumer(of, "t")
      local keep_expected, all = collector()
      assert(expected:read_history(keep_expected, with { latest = "tombstones" }))
      for _, stop_after in ipairs { 1, 100, 250, 400 } do
        local consumer = reading.consumer(of, "t")
        local handler, got = collector(function(_, reader, so_far)
          if #so_far == stop_after then reader:cancel() end
        end)
        assert.equal("CANCELLED", select(3, consumer:read_history(handler, with { latest = "tombstones" })))
        assert.equal(stop_after, #got)
        local start = {}
        for _, place in ipairs(consumer:progress().partitions) do start[place.partition] = place.position end
        consumer:close()
        local keep, rest = collector()
        assert(reading.consumer(of, "t", { start = { t = start } }):read_history(keep,
          with { latest = "tombstones" }))
        for _, msg in ipairs(rest) do got[#got + 1] = msg end
        assert.equal(words(all), words(got))
      end
    end)

    it("by the end of a loop over the iterator, goes on with the message that was not consumed", function()
      local consumer = filled "a=1 b=1 c=1 a=2"
      local opts = { latest = true, stop_at = "caught_up", timeout = 20 }
      for msg in consumer:messages(opts) do
        if msg.key == "c" then break end
      end
      local got = {}
      for msg in consumer:messages(opts) do got[#got + 1] = msg end
      assert.equal("c=1 a=2", words(got))
    end)

    it("by close, hands out nothing more", function()
      local consumer = filled "a=1 b=1 c=1 a=2"
      local handler, got = collector(function(_, reader) reader:close() end)
      assert.equal("CLOSED", select(3, consumer:read_history(handler, with())))
      assert.equal("b=1", words(got))
      assert.equal("closed", consumer:progress().state)
    end)

    it("by close while it is being collected, hands out nothing", function()
      local of = reading.broker { t = 1 }
      assert(of:produce("t", messages "a=1 b=1"))
      local consumer = reading.consumer(of, "t")
      local handler, got = collector()
      local code
      assert(of:round_trip_time(1, 0.05))
      code = select(3, consumer:read_history(handler, with { tick = 0.01,
        on_tick = function(reader) reader:close() end }))
      assert.equal("CLOSED", code)
      assert.equal(0, #got)
    end)

    it("by the end of its time, goes on where it was", function()
      local of = reading.broker { t = 1 }
      local list = {}
      for i = 1, 5000 do list[i] = { key = "key-" .. i % 100, value = tostring(i) } end
      assert(of:produce("t", list))
      assert(of:round_trip_time(1, 0.02))
      local consumer = reading.consumer(of, "t")
      local handler, got = collector()
      local timeouts = 0
      assert.is_true(reading.becomes(function()
        local ok, err, code = consumer:read_history(handler, with { timeout = 0.005 })
        if ok then return true end
        assert.equal("TIMEOUT", code, tostring(err))
        timeouts = timeouts + 1
      end, 20))
      assert.is_true(timeouts > 0)
      assert.equal(words(compacted.fold(list)), words(got))
      assert.equal(5000, consumer:progress().read)
    end)
  end)

  describe("until the signal must be asked for alike at each call:", function()
    local function refusal(consumer, opts)
      return reading.raised(consumer.read_history, consumer, function() end, opts)
    end

    it("another way is an error, which changes nothing", function()
      local consumer = filled "a=1 b=1 a=2"
      local handler, got = collector(function(_, reader) reader:cancel() end)
      assert.equal("CANCELLED", select(3, consumer:read_history(handler, with())))
      assert.truthy(refusal(consumer, { stop_at = "caught_up" }):find "latest: ")
      assert.truthy(refusal(consumer, with { latest = "tombstones" }):find "latest: ")
      assert.truthy(reading.raised(consumer.step, consumer, function() end):find "latest: ")
      assert.truthy(reading.raised(function() consumer:messages()() end):find "latest: ")
      handler = collector()
      assert(consumer:read_history(handler, with()))
      assert.equal(2, consumer:progress().messages)
      assert.equal("b=1", words(got))
    end)

    it("so is asking for it when messages were handed out without", function()
      local consumer = filled "a=1 b=1 a=2"
      assert.equal("CANCELLED", select(3, consumer:read_history(function(_, reader) reader:cancel() end)))
      assert.truthy(refusal(consumer, with()):find "latest: ")
    end)

    it("after it there is nothing to say", function()
      local consumer, of = filled "a=1 b=1 a=2"
      assert.equal("b=1 a=2", (read(consumer)))
      assert(of:produce("t", messages "a=3 a=4"))
      for _, latest in ipairs { false, "tombstones" } do
        local handler, got = collector(function(_, reader) reader:cancel() end)
        consumer:read_history(handler, { latest = latest, timeout = 20 })
        assert.equal(latest and "a=4" or "a=3", words(got))
      end
    end)
  end)

  describe("refuses at the caller's line", function()
    local wrong = {
      { { latest = 1 }, "latest: expected .*tombstones.*, got number 1" },
      { { latest = "yes" }, 'latest: expected .*tombstones.*, got string "yes"' },
      { { latest = {} }, "latest: expected .*tombstones.*, got a table" },
      { { latest = true, max_bytes = 0 }, "max_bytes: expected .*, got number 0" },
      { { latest = true, max_bytes = -1 }, "max_bytes: expected .*, got number %-1" },
      { { latest = true, max_bytes = "1" }, 'max_bytes: expected .*, got string "1"' },
      { { max_bytes = 1000 }, "max_bytes: goes with latest" },
    }
    for _, case in ipairs(wrong) do
      it(case[2], function()
        local consumer = filled ""
        for _, method in ipairs { "read_history", "step" } do
          local err = reading.raised(function() consumer[method](consumer, function() end, case[1]) end)
          assert.truthy(err:find("latest_spec.lua:%d+: " .. method .. ": " .. case[2]), err)
        end
        local err = reading.raised(function() consumer:messages(case[1]) end)
        assert.truthy(err:find("latest_spec.lua:%d+: messages: " .. case[2]), err)
      end)
    end
  end)
end)
