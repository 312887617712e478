-- The consumer: reading history, saying once that it was read, going on; and how that is stopped.
local child = require "support.child"
local history = require "kafka_history"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local raised = reading.raised

local to_caught_up = { stop_at = "caught_up", timeout = 20 }

local function with(more)
  local opts = { stop_at = "caught_up", timeout = 20 }
  for key, value in pairs(more) do opts[key] = value end
  return opts
end

local function nothing() end

-- What was returned, nils included; nothing is said about what follows nil, err, code.
local function results(...)
  return { n = math.min(select("#", ...), 3), (select(1, ...)), (select(2, ...)), (select(3, ...)) }
end

local closed = { n = 3, nil, "closed", "CLOSED" }
local cancelled = { n = 3, nil, "cancelled", "CANCELLED" }

describe("a consumer", function()
  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  -- A loop over step and timeout, as an event loop's would be without an fd.
  local function drive(consumer, handler, opts, finished)
    while not finished() do
      local n, err, code = consumer:step(handler, opts)
      if not n then return nil, err, code end
      reading.sleep(math.min(consumer:timeout() or 0.01, 0.01))
    end
    return true
  end

  describe("reads", function()
    it("everything once, in each partition's order, from two topics, with empty partitions", function()
      local of = reading.broker { a = 4, b = 3, other = 1 }
      local expected = {}
      for topic, partitions in pairs { a = { 0, 2 }, b = { 1 } } do
        for _, partition in ipairs(partitions) do
          local messages, place = {}, ("%s[%d]"):format(topic, partition)
          expected[place] = {}
          for i = 1, 1500 do
            messages[i] = { value = place .. i, partition = partition }
            expected[place][i] = place .. i .. "@" .. i - 1
          end
          assert(of:produce(topic, messages))
        end
      end
      assert(of:produce("other", "nobody's"))
      for _, batch in ipairs { 1, 7, 500, 10000 } do
        local consumer = reading.consumer(of, { "a", "b" })
        local got = {}
        assert.is_true(consumer:read_history(function(msg)
          local place = ("%s[%d]"):format(msg.topic, msg.partition)
          got[place] = got[place] or {}
          table.insert(got[place], msg.value .. "@" .. ("%d"):format(msg.offset))
        end, with { batch = batch }))
        assert.same(expected, got)
        assert.equal(4500, consumer:progress().messages)
      end
    end)

    -- Both come in turns, a few messages each, and what lies behind one's offset may be the other's.
    it("all of each partition, whose offsets go on where another's stop", function()
      local of = reading.broker { t = 2 }
      for partition = 0, 1 do
        for _ = 1, 40 do
          local five = {}
          for i = 1, 5 do five[i] = { value = tostring(partition), partition = partition } end
          assert(of:produce("t", five))
        end
      end
      local consumer = reading.consumer(of, "t", {
        start = { t = { [0] = 0, [1] = 100 } }, options = { ["fetch.message.max.bytes"] = 1 },
      })
      local expected, got = { [0] = 0, [1] = 100 }, {}
      assert.is_true(consumer:read_history(function(msg)
        got[#got + 1] = msg.value
        assert.same({ tostring(msg.partition), expected[msg.partition] }, { msg.value, msg.offset })
        expected[msg.partition] = msg.offset + 1
      end, to_caught_up))
      assert.equal(300, #got)
    end)

    -- A fetcher that finds the queue full may sleep for a second: these would take 16 s and more.
    for what, case in pairs {
      ["few messages"] = { bytes = 10, options = { ["queued.min.messages"] = 10 } },
      ["few bytes"] = { bytes = 20000, options = { ["queued.max.messages.kbytes"] = 20 } },
    } do
      it(("without a pause where the queue may hold only %s"):format(what), function()
        local of = reading.broker { t = 1 }
        local twenty = {}
        for i = 1, 20 do twenty[i] = { value = ("x"):rep(case.bytes), partition = 0 } end
        for _ = 1, 30 do assert(of:produce("t", twenty)) end
        case.options["fetch.message.max.bytes"] = 1 -- a batch each
        local consumer = reading.consumer(of, "t", { options = case.options })
        assert(consumer:read_history(nothing, with { timeout = 8 }))
        assert.equal(600, consumer:progress().messages)
      end)
    end

    it("from leaders that moved after a first look for the ends had failed", function()
      local of = reading.broker({ t = 2 }, 2)
      assert(of:produce("t", { { value = "0", partition = 0 }, { value = "1", partition = 1 } }))
      local not_yet, moved = {}, false
      for i = 1, 100 do not_yet[i] = "LEADER_NOT_AVAILABLE" end
      assert(of:error("ListOffsets", not_yet))
      local consumer = reading.consumer(of, "t", { start_timeout = 8 })
      local handler, got = reading.collector()
      assert(consumer:read_history(handler, with { tick = 0.3, on_tick = function()
        if moved then return end
        moved = true
        assert(of:leader("t", 0, 2))
        assert(of:leader("t", 1, 1))
        assert(of:clear_errors("ListOffsets"))
      end }))
      table.sort(got)
      assert.same({ true, { "0", "1" } }, { moved, got })
    end)

    it("nothing twice over many calls that stop anywhere", function()
      local of = reading.broker { t = 3 }
      assert(of:produce("t", reading.numbers(1, 300)))
      local consumer = reading.consumer(of, "t")
      local seen, count = {}, 0
      local code
      repeat
        local _
        _, _, code = consumer:read_history(function(msg, c)
          assert.is_nil(seen[msg.value])
          seen[msg.value] = true
          count = count + 1
          if count % 17 == 0 then c:cancel() end
        end, with { batch = 1 + count % 23 })
      until code ~= "CANCELLED"
      assert.is_nil(code)
      assert.equal(300, count)
    end)

    it("for each consumer everything, whatever others have read", function()
      local _, of = reading.values(reading.numbers(1, 5))
      for _ = 1, 3 do assert.equal(5, #reading.history(reading.consumer(of, "t"))) end
    end)

    it("nothing from topics that are empty, and comes back at once", function()
      local of = reading.broker { a = 5, b = 1 }
      local consumer = reading.consumer(of, { "a", "b" })
      assert.same({}, reading.history(consumer))
      assert.equal(6, #consumer:progress().partitions)
    end)

    it("addresses given as one string or as an array alike", function()
      local of = reading.broker({ t = 1 }, 2)
      assert(of:produce("t", "1"))
      local list = {}
      for address in of:addresses():gmatch("[^,]+") do list[#list + 1] = address end
      assert.equal(2, #list)
      assert.same({ "1" }, reading.history(reading.consumer(of, { "t" }, { addresses = list })))
      assert.same({ "1" }, reading.history(reading.consumer(of, "t", { addresses = of:addresses() })))
    end)

    it("with any Lua value that can be called as the handler, the consumer as its second argument", function()
      local consumer = reading.values { "1" }
      local got
      local handler = setmetatable({}, { __call = function(_, ...) got = { n = select("#", ...), ... } end })
      assert.is_true(consumer:read_history(handler, to_caught_up))
      assert.same({ 2, "1", true }, { got.n, got[1].value, rawequal(got[2], consumer) })
    end)

    -- A broker whose partition is read from a follower, which has nothing of its three messages.
    local function refusing_follower()
      local of = reading.broker({ t = 1 }, 2)
      for i = 1, 3 do assert(of:produce("t", tostring(i))) end
      assert(of:follower("t", 0, 2))
      assert(of:follower_watermarks("t", 0, 3, 3))
      return of
    end

    local function assert_whole(consumer)
      assert.same({ "1", "2", "3" }, reading.history(consumer))
      local progress = consumer:progress()
      assert.same({ 0, 0 }, { progress.truncated, progress.gaps })
    end

    it("on where a follower says that the log begins later: where that is, is the leader's to say", function()
      local of = refusing_follower()
      local consumer = reading.consumer(of, "t", { stall_timeout = 0.2, on_event = function(event)
        if event.name == "stalled" then assert(of:follower_watermarks("t", 0, nil, nil)) end
      end })
      assert_whole(consumer)
    end)

    it("on where a follower says that, and nobody leads just then: it waits for the leader's word", function()
      local of = refusing_follower()
      local since
      local consumer = reading.consumer(of, "t", { stall_timeout = 0.2, on_truncation = "continue",
        on_event = function(event)
          if event.name == "stalled" and not since then
            since = reading.now()
            assert(of:leader("t", 0, nil))
          end
        end })
      local handler, got = reading.collector()
      reading.until_true(consumer, handler, function() return since and reading.now() - since > 2.5 end)
      assert.same({}, got)
      assert(of:follower("t", 0, nil))
      assert(of:leader("t", 0, 1))
      assert_whole(consumer)
    end)
  end)

  describe("with stop_at = caught_up", function()
    it("hands out exactly what was there when reading began; the rest waits for the next call", function()
      local of = reading.broker { t = 3 }
      assert(of:produce("t", reading.numbers(1, 30)))
      local consumer = reading.consumer(of, "t")
      local produced = 30
      local got = {}
      assert.is_true(consumer:read_history(function(msg)
        got[#got + 1] = tonumber(msg.value)
        -- To every partition, while its history is still being handled.
        assert(of:produce("t", reading.numbers(produced + 1, produced + 3)))
        produced = produced + 3
      end, with { batch = 4 }))
      table.sort(got)
      assert.equal(30, #got)
      for i = 1, 30 do assert.equal(i, got[i]) end
      assert.same({}, reading.history(consumer))
      local live = {}
      reading.until_true(consumer, function(msg) live[#live + 1] = tonumber(msg.value) end,
        function() return #live == produced - 30 end)
      table.sort(live)
      for i = 31, produced do assert.equal(i, live[i - 30]) end
    end)

    it("counts as history what came after new() and before reading", function()
      local consumer, of = reading.values(reading.numbers(1, 2))
      assert(of:produce("t", reading.numbers(3, 4)))
      assert.same({ "1", "2", "3", "4" }, reading.history(consumer))
    end)

    it("counts as history nothing that came after the first call, however that ended", function()
      local consumer, of = reading.values(reading.numbers(1, 3))
      consumer:read_history(function(_, c) c:cancel() end, { timeout = 20 })
      assert(of:produce("t", reading.numbers(4, 6)))
      assert.same({ "2", "3" }, reading.history(consumer))
      local handler, got = reading.collector()
      reading.until_true(consumer, handler, function() return #got == 3 end)
      assert.same({ "4", "5", "6" }, got)
    end)

    it("returns true alone, again and again", function()
      local consumer = reading.values { "1" }
      for _ = 1, 3 do assert.same({ n = 1, true }, results(consumer:read_history(nothing, to_caught_up))) end
    end)
  end)

  describe("gives the signal", function()
    it("not before the last history message was handled, and before the first live one", function()
      for _ = 1, 5 do
        -- One partition: with two, the live messages of one may rightly come before the other is done.
        local of = reading.broker { t = 1, empty = 2 }
        assert(of:produce("t", reading.numbers(1, 10)))
        local events = {}
        local consumer = reading.consumer(of, { "t", "empty" }, { on_event = function(event)
          if event.name == "caught_up" then events[#events + 1] = "caught_up" end
        end })
        local latch = consumer:caught_up()
        local handled = 0
        reading.until_true(consumer, function(msg)
          if tonumber(msg.value) <= 10 then
            assert.equal("pending", latch:state())
            assert.same({}, events)
            -- Live ones right behind the history, in the same fetches.
            if handled == 0 then assert(of:produce("t", reading.numbers(11, 20))) end
          else
            assert.equal("caught_up", latch:state())
            assert.same({ "caught_up" }, events)
          end
          handled = handled + 1
        end, function() return handled == 20 end)
        assert.same({ "caught_up" }, events)
      end
    end)

    it("within the call that only goes on with live messages, while it waits for them", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local latch = consumer:caught_up()
      reading.until_true(consumer, nothing, function() return latch:is_ready() end)
      assert.equal(3, consumer:progress().messages)
    end)

    it("when the last history message was handled in a call that ended with it", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local latch = consumer:caught_up()
      local handler, got = reading.collector(function(_, c, values)
        if #values == 3 then c:cancel() end
      end)
      assert.same(cancelled, results(consumer:read_history(handler, { timeout = 20 })))
      assert.same({ 3, "caught_up" }, { #got, latch:state() })
    end)
  end)

  describe("with a timeout", function()
    it("ends the call after that time, wherever it is, and reads on in the next", function()
      local consumer, of = reading.values(reading.numbers(1, 3))
      local handler, got = reading.collector()
      local began = reading.now()
      assert.same({ n = 3, nil, "timeout", "TIMEOUT" },
        results(consumer:read_history(handler, { timeout = 0.5 })))
      local seconds = reading.now() - began
      assert.is_true(seconds >= 0.5 and seconds < 3, tostring(seconds))
      assert.same({ "1", "2", "3" }, got)
      assert(of:produce("t", "4"))
      reading.until_true(consumer, handler, function() return #got == 4 end)
      assert.same({ "1", "2", "3", "4" }, got)
    end)

    it("looks at the clock between messages too", function()
      local consumer = reading.values(reading.numbers(1, 1000))
      local handler, got = reading.collector(function() reading.sleep(0.05) end)
      local _, _, code = consumer:read_history(handler, { timeout = 0.3 })
      assert.equal("TIMEOUT", code)
      assert.is_true(#got < 100)
      assert.equal(1000 - #got, #reading.history(consumer))
    end)

    it("ends in time although no broker answers", function()
      local consumer = assert(history.new { addresses = "127.0.0.1:1", topics = "t" })
      local began = reading.now()
      assert.equal("TIMEOUT", (select(3, consumer:read_history(nothing, { timeout = 0.2 }))))
      assert.is_true(reading.now() - began < 3)
      assert.equal("starting", consumer:progress().state)
      consumer:close()
    end)
  end)

  describe("with fields", function()
    local messages = {
      { key = "a", value = "1" }, { value = "2" }, { key = "c" }, {}, { key = "e", value = "5" },
    }

    local function read(fields, batch)
      local consumer = reading.values(messages)
      local got = {}
      assert.is_true(consumer:read_history(function(...)
        assert.equal(#fields + 1, select("#", ...))
        assert.is_true(rawequal(consumer, (select(#fields + 1, ...))))
        got[#got + 1] = { ... }
        got[#got][#fields + 1] = nil
      end, with { fields = fields, batch = batch }))
      return got
    end

    it("hands out one, two, three and more of them instead of a message, nil for null", function()
      for _, batch in ipairs { 1, 2, 500 } do
        assert.same({ { "1" }, { "2" }, {}, {}, { "5" } }, read({ "value" }, batch))
        assert.same({ { "a", "1" }, { nil, "2" }, { "c" }, {}, { "e", "5" } },
          read({ "key", "value" }, batch))
        assert.same({ { "a", 0, "1" }, { nil, 1, "2" }, { "c", 2 }, { nil, 3 }, { "e", 4, "5" } },
          read({ "key", "offset", "value" }, batch))
        assert.same({ { 0, "a", "t", "1", 0 }, { 1, nil, "t", "2", 0 }, { 2, "c", "t", nil, 0 },
          { 3, nil, "t", nil, 0 }, { 4, "e", "t", "5", 0 } },
          read({ "offset", "key", "topic", "value", "partition" }, batch))
      end
    end)

    it("may name one twice", function()
      assert.same({ "1", "1" }, read({ "value", "value" })[1])
    end)
  end)

  describe("with a tick", function()
    it("calls it with the consumer, about so often, while it waits and between messages", function()
      local consumer = reading.values(reading.numbers(1, 10))
      local ticks, within_history = 0, 0
      local began = reading.now()
      local function on_tick(...)
        assert.equal(1, select("#", ...))
        assert.is_true(rawequal(consumer, (...)))
        ticks = ticks + 1
        local handled = consumer:progress().messages
        if handled > 0 and handled < 10 then within_history = within_history + 1 end
        if ticks == 12 then consumer:cancel() end
      end
      consumer:read_history(function() reading.sleep(0.03) end,
        { timeout = 20, tick = 0.05, on_tick = on_tick })
      assert.equal(12, ticks)
      assert.is_true(within_history >= 2)
      assert.is_true(reading.now() - began >= 12 * 0.05)
    end)

    it("of a second, where nothing else is said", function()
      local consumer = reading.values { "1" }
      local began = reading.now()
      consumer:read_history(nothing, { timeout = 20, on_tick = function(c) c:cancel() end })
      local seconds = reading.now() - began
      assert.is_true(seconds >= 0.9 and seconds < 5, tostring(seconds))
    end)
  end)

  it("refuses a second call while one runs, of every kind, and lets the first go on", function()
    local consumer = reading.values(reading.numbers(1, 2))
    local iterator = consumer:messages()
    local refused = 0
    assert.is_true(consumer:read_history(function(_, c)
      for _, call in ipairs {
        function() c:read_history(nothing) end, function() c:step(nothing) end, function() c:messages() end,
      } do
        assert.matches("read already", raised(call))
        refused = refused + 1
      end
      raised(iterator)
    end, to_caught_up))
    assert.equal(6, refused)
  end)

  describe("is cancelled", function()
    it("from the handler: after that message, which is consumed", function()
      local consumer = reading.values(reading.numbers(1, 5))
      local handler, got = reading.collector(function(msg, c)
        if msg.value == "2" then assert.is_true(c:cancel()) end
      end)
      assert.same(cancelled, results(consumer:read_history(handler, { timeout = 20 })))
      assert.same({ "1", "2" }, got)
      assert.same({ "3", "4", "5" }, reading.history(consumer))
    end)

    it("from a tick while it waits", function()
      local consumer = reading.values { "1" }
      assert.same(cancelled, results(consumer:read_history(nothing,
        { timeout = 20, tick = 0.01, on_tick = function(c) c:cancel() end })))
    end)

    it("from on_event", function()
      local consumer
      consumer = reading.values(reading.numbers(1, 3), { on_event = function(event)
        if event.name == "snapshot" then consumer:cancel() end
      end })
      local handler, got = reading.collector()
      assert.same(cancelled, results(consumer:read_history(handler, { timeout = 20 })))
      assert.same({}, got)
      assert.same({ "1", "2", "3" }, reading.history(consumer))
    end)

    it("from another coroutine, while the handler is suspended", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local read = coroutine.wrap(function()
        return consumer:read_history(function(msg) coroutine.yield(msg.value) end, { timeout = 20 })
      end)
      assert.equal("1", read())
      assert.is_true(consumer:cancel())
      assert.same(cancelled, results(read()))
      assert.same({ "2", "3" }, reading.history(consumer))
    end)

    it("without any effect when nothing runs", function()
      local consumer = reading.values(reading.numbers(1, 3))
      assert.is_true(consumer:cancel())
      assert.is_true(consumer:cancel())
      assert.same({ "1", "2", "3" }, reading.history(consumer))
      assert.is_true(consumer:cancel())
      assert.same({}, reading.history(consumer))
    end)

    it("and the same consumer can be read again, many times", function()
      local consumer = reading.values(reading.numbers(1, 50))
      local handler, got = reading.collector(function(_, c) c:cancel() end)
      for i = 1, 50 do
        assert.same(cancelled, results(consumer:read_history(handler, { timeout = 20 })))
        assert.equal(i, #got)
      end
      assert.same(reading.numbers(1, 50), got)
      assert.same({}, reading.history(consumer))
    end)
  end)

  describe("once closed", function()
    local function expect_closed(consumer)
      assert.same(closed, results(consumer:read_history(nothing)))
      assert.same(closed, results(consumer:step(nothing)))
      assert.same(closed, results(consumer:cancel()))
      assert.same(closed, results(consumer:caught_up()))
      assert.same(closed, results(consumer:pollfd()))
      assert.same(closed, results(consumer:events()))
      assert.same(closed, results(consumer:timeout()))
      assert.matches("closed", raised(consumer.messages, consumer))
      assert.same({ n = 1, true }, results(consumer:close()))
      assert.equal("closed", consumer:progress().state)
      assert.matches("closed", tostring(consumer))
    end

    it("is closed: every method says so, close is idempotent, progress still answers", function()
      local consumer = reading.values(reading.numbers(1, 3))
      reading.history(consumer)
      local before = consumer:progress()
      assert.same({ n = 1, true }, results(consumer:close()))
      for _ = 1, 3 do expect_closed(consumer) end
      local after = consumer:progress()
      for _, name in ipairs { "messages", "bytes", "fraction", "seconds", "offsets_done" } do
        assert.equal(before[name], after[name])
      end
      assert.equal(before.partitions[1].position, after.partitions[1].position)
    end)

    it("before reading is closed as well", function()
      local consumer = reading.values { "1" }
      consumer:close()
      expect_closed(consumer)
      assert.same({ 0, 0, {} }, { consumer:progress().messages, consumer:progress().fraction,
        consumer:progress().partitions })
    end)

    it("from inside the handler, ends read_history after that message", function()
      local consumer = reading.values(reading.numbers(1, 5))
      local handler, got = reading.collector(function(msg, c)
        if msg.value == "2" then
          assert.is_true(c:close())
          assert.is_true(c:close())
          assert.equal("2", msg.value)
          assert.not_equal("closed", c:progress().state)
        end
      end)
      assert.same(closed, results(consumer:read_history(handler, { timeout = 20 })))
      assert.same({ "1", "2" }, got)
      assert.equal(2, consumer:progress().messages)
      expect_closed(consumer)
    end)

    it("from inside the handler of the last history message, is caught up all the same", function()
      local consumer = reading.values(reading.numbers(1, 2))
      local latch = consumer:caught_up()
      consumer:read_history(function(msg, c)
        if msg.value == "2" then c:close() end
      end, { timeout = 20 })
      assert.equal("caught_up", latch:state())
      assert.equal(1, consumer:progress().fraction)
    end)

    it("while a handler is suspended, ends read_history when that goes on", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local latch = consumer:caught_up()
      local read = coroutine.wrap(function()
        return consumer:read_history(function(msg)
          coroutine.yield(msg.value)
          assert.equal("1", msg.value)
        end, { timeout = 20 })
      end)
      assert.equal("1", read())
      assert.is_true(consumer:close())
      assert.same(closed, results(read()))
      assert.equal("closed", latch:state())
      assert.equal(1, consumer:progress().messages)
      expect_closed(consumer)
    end)

    it("from a tick while it waits, ends read_history", function()
      local consumer = reading.values { "1" }
      assert.same(closed, results(consumer:read_history(nothing,
        { timeout = 20, tick = 0.01, on_tick = function(c) c:close() end })))
      expect_closed(consumer)
    end)

    it("from on_event, ends read_history", function()
      local consumer
      consumer = reading.values(reading.numbers(1, 3), { on_event = function() consumer:close() end })
      local handler, got = reading.collector()
      assert.same(closed, results(consumer:read_history(handler, { timeout = 20 })))
      assert.same({}, got)
      expect_closed(consumer)
    end)

    it("within a step, ends that step", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local _, err, code = drive(consumer, function(_, c) c:close() end, nil, function() return false end)
      assert.same({ "closed", "CLOSED" }, { err, code })
      expect_closed(consumer)
    end)

    it("between two messages of an iterator, raises at the next", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local next_message = consumer:messages { timeout = 20 }
      assert.equal("1", next_message().value)
      consumer:close()
      assert.matches("closed", raised(next_message))
      expect_closed(consumer)
    end)

    it("has the messages of the next reader not, and theirs not those of it", function()
      local consumer, of = reading.values(reading.numbers(1, 3))
      consumer:read_history(function(_, c) c:close() end, { timeout = 20 })
      assert.same({ "1", "2", "3" }, reading.history(reading.consumer(of, "t")))
    end)

    it("is quick about it whatever the broker does", function()
      for _, trouble in ipairs { "none", "down", "slow" } do
        local of = reading.broker { t = 2 }
        assert(of:produce("t", reading.numbers(1, 100)))
        local consumer = reading.consumer(of, "t")
        consumer:read_history(function(_, c) c:cancel() end, { timeout = 20 })
        if trouble == "down" then of:down(1) end
        if trouble == "slow" then of:round_trip_time(1, 60) end
        local began = reading.now()
        assert.is_true(consumer:close())
        assert.is_true(reading.now() - began < 6, trouble)
      end
    end)

    it("at the end of its block, where Lua has <close>", function()
      if not getmetatable(reading.values({ "1" })).__close or rawget(_G, "jit") then return end
      local consumer = reading.values { "1" }
      local block = assert(load([[
        local consumer <close> = ...
        return consumer:progress().state
      ]]))
      assert.equal("starting", block(consumer))
      expect_closed(consumer)
    end)
  end)

  it("that was not closed is collected, with its threads and descriptors", function()
    local of = reading.broker { t = 2 }
    assert(of:produce("t", reading.numbers(1, 20)))
    local function read_and_forget(how)
      local consumer = assert(history.new(reading.config(of, "t")))
      if how == 1 then return end
      consumer:caught_up()
      if how == 2 then reading.history(consumer) end
      if how == 3 then consumer:read_history(function(_, c) c:cancel() end, { timeout = 20 }) end
      if how == 4 then consumer:read_history(nothing, { timeout = 0.01 }) end
    end
    reading.apart(function() read_and_forget(2) end) -- whatever is made once is there now
    local fds, threads = reading.settled_resources()
    for i = 1, 50 do reading.apart(function() read_and_forget(1 + i % 4) end) end
    assert.is_true(reading.is_as_before(fds, threads))
  end)

  it("that is collected while a handler of it is suspended harms nobody", function()
    local of = reading.broker { t = 1 }
    assert(of:produce("t", reading.numbers(1, 20)))
    local latch = reading.apart(function()
      local consumer = assert(history.new(reading.config(of, "t")))
      coroutine.wrap(function() consumer:read_history(coroutine.yield, { timeout = 20 }) end)()
      return consumer:caught_up()
    end)
    assert.is_true(reading.becomes(function()
      collectgarbage()
      return latch:state() == "closed"
    end))
  end)

  it("lets a handler yield: others run between its messages", function()
    local consumer = reading.values(reading.numbers(1, 100))
    local read = coroutine.wrap(function()
      return consumer:read_history(function(msg)
        local doubled = coroutine.yield(tonumber(msg.value))
        assert.equal(2 * tonumber(msg.value), doubled)
      end, with { batch = 7 })
    end)
    local answer = read()
    for i = 1, 100 do
      assert.equal(i, answer)
      answer = read(2 * i)
    end
    assert.is_true(answer)
    assert.equal(100, consumer:progress().messages)
  end)

  it("lets two readers take turns on one thread", function()
    local of = reading.broker { t = 1 }
    assert(of:produce("t", reading.numbers(1, 50)))
    local order = {}
    local function reader(name)
      local consumer = reading.consumer(of, "t")
      return coroutine.wrap(function()
        assert(consumer:read_history(function(msg)
          order[#order + 1] = name .. msg.value
          coroutine.yield(true)
        end, to_caught_up))
        return false
      end)
    end
    local a, b = reader "a", reader "b"
    repeat until not (a() and b())
    assert.same({ "a1", "b1", "a2" }, { order[1], order[2], order[3] })
    assert.equal(100, #order)
  end)

  describe("as an iterator", function()
    it("gives each message once and ends where stop_at says", function()
      local consumer = reading.values(reading.numbers(1, 1200))
      local got = {}
      for msg in consumer:messages(with { batch = 100 }) do got[#got + 1] = msg.value end
      assert.same(reading.numbers(1, 1200), got)
      assert.equal("caught_up", consumer:caught_up():state())
      assert.equal(1200, consumer:progress().messages)
    end)

    it("counts a message when the next one is asked for, so that after a break it comes again", function()
      local consumer = reading.values(reading.numbers(1, 4))
      for msg in consumer:messages(to_caught_up) do
        assert.equal(tonumber(msg.value) - 1, consumer:progress().messages)
        if msg.value == "2" then break end
      end
      assert.equal(1, consumer:progress().messages)
      local got = {}
      for msg in consumer:messages(to_caught_up) do got[#got + 1] = msg.value end
      assert.same({ "2", "3", "4" }, got)
      assert.same({}, reading.history(consumer))
    end)

    it("gives the same message again after its body raised", function()
      local consumer = reading.values(reading.numbers(1, 3))
      assert.matches("body", raised(function()
        for _ in consumer:messages(to_caught_up) do error "body" end
      end))
      assert.same({ "1", "2", "3" }, reading.history(consumer))
    end)

    it("keeps the signal back until the last message was done with", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local latch = consumer:caught_up()
      for _ in consumer:messages(to_caught_up) do assert.equal("pending", latch:state()) end
      assert.equal("caught_up", latch:state())
    end)

    it("goes on with live messages without stop_at", function()
      local consumer, of = reading.values(reading.numbers(1, 2))
      local got = {}
      for msg in consumer:messages { timeout = 20 } do
        got[#got + 1] = msg.value
        if #got == 2 then assert(of:produce("t", { "3" })) end
        if #got == 3 then break end
      end
      assert.same({ "1", "2", "3" }, got)
    end)

    it("raises where read_history would return an error", function()
      local consumer = reading.values { "1" }
      local err = raised(function() for _ in consumer:messages { timeout = 0.3 } do nothing() end end)
      assert.matches("timeout", err)
      assert.matches("consumer_spec", err)
      local nobody = assert(history.new { addresses = "127.0.0.1:1", topics = "t", start_timeout = 0.3 })
      err = raised(function() for _ in nobody:messages() do nothing() end end)
      assert.matches("_TRANSPORT: .*127.0.0.1:1", err)
      nobody:close()
    end)

    it("is ended by another one, or by another call, and says so", function()
      local consumer = reading.values(reading.numbers(1, 5))
      local first = consumer:messages(to_caught_up)
      assert.equal("1", first().value)
      local second = consumer:messages(to_caught_up)
      assert.equal("1", second().value)
      assert.matches("another call", raised(first))
      assert.equal("2", second().value)
      assert(consumer:step(function() return true end, { batch = 1 }))
      assert.matches("another call", raised(second))
      assert.same({ "3", "4", "5" }, reading.history(consumer))
    end)

    it("ticks while it waits", function()
      local consumer = reading.values { "1" }
      local ticks = 0
      assert.matches("cancelled", raised(function()
        for _ in consumer:messages { timeout = 20, tick = 0.01, on_tick = function(c)
          ticks = ticks + 1
          if ticks == 5 then c:cancel() end
        end } do nothing() end
      end))
      assert.equal(5, ticks)
    end)

    it("can be made many times and left early each time: nothing is lost", function()
      local consumer = reading.values(reading.numbers(1, 20))
      local got = {}
      for i = 1, 20 do
        for msg in consumer:messages(with { batch = 1 + i % 3 }) do
          if got[i] then break end
          got[i] = msg.value
        end
      end
      assert.same(reading.numbers(1, 20), got)
    end)
  end)

  describe("driven by step", function()
    it("reads everything with nothing but a loop over step and timeout", function()
      local of = reading.broker { t = 3, empty = 2 }
      assert(of:produce("t", reading.numbers(1, 2000)))
      local consumer = reading.consumer(of, { "t", "empty" })
      local latch = consumer:caught_up()
      local count = 0
      assert(drive(consumer, function()
        assert.equal("pending", latch:state())
        count = count + 1
      end, { batch = 100 }, function() return latch:is_ready() end))
      assert.equal(2000, count)
      assert(of:produce("t", reading.numbers(1, 3)))
      assert(drive(consumer, function() count = count + 1 end, nil, function() return count == 2003 end))
    end)

    it("handles at most a batch in a turn, and says how many and whether there is more", function()
      local consumer = reading.values(reading.numbers(1, 100))
      local total, largest, more_seen = 0, 0, false
      while total < 100 do
        local n, more = consumer:step(nothing, { batch = 7 })
        assert.equal("boolean", type(more))
        more_seen = more_seen or more
        largest = math.max(largest, n)
        total = total + n
        assert.equal(total, consumer:progress().messages)
      end
      assert.equal(7, largest)
      assert.is_true(more_seen)
      assert.is_true(reading.becomes(function()
        local _, more = consumer:step(nothing)
        return more == false
      end))
    end)

    it("never blocks, whatever the broker does", function()
      local consumer = assert(history.new { addresses = "127.0.0.1:1", topics = "t" })
      local began = reading.now()
      for _ = 1, 100 do assert.equal(0, consumer:step(nothing)) end
      assert.is_true(reading.now() - began < 1)
      consumer:close()
    end)

    it("hands out fields", function()
      local consumer = reading.values { { key = "a", value = "1" }, { value = "2" } }
      local got = {}
      assert(drive(consumer, function(key, value, c)
        assert.is_true(rawequal(consumer, c))
        got[#got + 1] = tostring(key) .. value
      end, { fields = { "key", "value" } }, function() return #got == 2 end))
      assert.same({ "a1", "nil2" }, got)
    end)

    it("has one fd, always the same, readable when there is something to do", function()
      local consumer, of = reading.values(reading.numbers(1, 3))
      local fd = consumer:pollfd()
      assert.equal("r", consumer:events())
      assert(drive(consumer, nothing, nothing(), function() return consumer:caught_up():is_ready() end))
      assert.equal(fd, consumer:pollfd())
      if not reading.counter(fd) then return end
      -- Nothing but the fd, and the consumer's own timeout, tells of a message now.
      local got = 0
      assert(of:produce("t", "4"))
      local deadline = reading.now() + 10
      while got == 0 and reading.now() < deadline do
        local due = consumer:timeout()
        local due_at = reading.now() + (due or math.huge)
        while reading.counter(fd) == 0 and reading.now() < math.min(due_at, deadline) do
          reading.sleep(0.001)
        end
        assert(consumer:step(function() got = got + 1 end))
      end
      assert.equal(1, got)
    end)

    it("leaves no loop waiting for an fd that stays silent while messages are there", function()
      for _, batch in ipairs { 1, 7, 100 } do
        local consumer = reading.values(reading.numbers(1, 200))
        local fd = consumer:pollfd()
        if not reading.counter(fd) then return end
        local began = reading.now()
        while not consumer:caught_up():is_ready() do
          local n, more = consumer:step(nothing, { batch = batch })
          assert.is_true(n <= batch)
          if not more then
            local due_at = reading.now() + (consumer:timeout() or math.huge)
            while reading.counter(fd) == 0 and reading.now() < due_at do reading.sleep(0.001) end
          end
        end
        assert.is_true(reading.now() - began < 10)
        assert.equal(200, consumer:progress().messages)
      end
    end)

    it("handles at most a batch also of what a call with a larger one has left", function()
      local consumer = reading.values(reading.numbers(1, 10))
      consumer:read_history(function(_, c) c:cancel() end, { timeout = 20 })
      for i = 1, 9 do
        assert.equal(1, consumer:step(nothing, { batch = 1 }))
        assert.equal(1 + i, consumer:progress().messages)
      end
      assert.equal("caught_up", consumer:caught_up():state())
    end)

    it("is cancelled from its handler, the message consumed", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local _, err, code = drive(consumer, function(_, c) c:cancel() end, nil, function() return false end)
      assert.same({ "cancelled", "CANCELLED" }, { err, code })
      assert.same({ "2", "3" }, reading.history(consumer))
    end)

    it("may alternate with read_history and messages", function()
      local consumer = reading.values(reading.numbers(1, 9))
      local handler, got = reading.collector()
      for i = 1, 3 do
        local target = #got + 1
        assert(drive(consumer, handler, { batch = 1 }, function() return #got == target end))
        consumer:read_history(function(msg, c)
          c:cancel()
          return handler(msg)
        end, { timeout = 20 })
        local iterator = consumer:messages { timeout = 20 }
        got[#got + 1] = iterator().value
        if i < 3 then
          assert.equal(tostring(#got + 1), iterator().value)
        else
          assert.same({ "9" }, reading.history(consumer))
        end
      end
      assert.same(reading.numbers(1, 9), got)
    end)
  end)

  describe("tells of its progress", function()
    local numbers = { "messages", "bytes", "skipped", "gaps", "truncated", "offsets_done", "offsets_total",
      "fraction", "rate", "seconds", "lag" }

    local function check(progress)
      for _, name in ipairs(numbers) do
        assert.equal("number", type(progress[name]), name)
        assert.is_true(progress[name] >= 0 and progress[name] < math.huge, name)
      end
      assert.is_true(progress.fraction <= 1 and progress.offsets_done <= progress.offsets_total)
      assert.is_true(progress.eta == nil or progress.eta >= 0 and progress.eta < math.huge)
      return progress
    end

    it("in every state", function()
      local of = reading.broker { t = 2 }
      assert(of:produce("t", reading.numbers(1, 10)))
      local consumer = reading.consumer(of, "t")
      assert.equal("starting", check(consumer:progress()).state)
      assert.same({}, consumer:progress().partitions)
      consumer:read_history(function(_, c) c:cancel() end, { timeout = 20 })
      assert.equal("reading", check(consumer:progress()).state)
      consumer:read_history(function() return false end, { timeout = 20 })
      assert.equal("failed", check(consumer:progress()).state)
      reading.history(consumer)
      assert.equal("caught_up", check(consumer:progress()).state)
      consumer:close()
      assert.equal("closed", check(consumer:progress()).state)
    end)

    it("with a fraction that is 1 exactly when caught up, and never falls", function()
      local consumer, of = reading.values(reading.numbers(1, 50))
      local last = 0
      assert(consumer:read_history(function()
        local progress = check(consumer:progress())
        assert.equal("reading", progress.state)
        assert.is_true(progress.fraction < 1 and progress.fraction >= last)
        assert.equal(50, progress.offsets_total)
        last = progress.fraction
      end, to_caught_up))
      local progress = check(consumer:progress())
      assert.same({ 1, 50, 50, 0 },
        { progress.fraction, progress.offsets_done, progress.offsets_total, progress.eta })
      assert(of:produce("t", reading.numbers(51, 60)))
      reading.until_true(consumer, function() assert.equal(1, consumer:progress().fraction) end,
        function() return consumer:progress().messages == 60 end)
      assert.same({ 50, 50 }, { consumer:progress().offsets_done, consumer:progress().offsets_total })
    end)

    it("with a fraction of 1 where there was no history at all", function()
      local of = reading.broker { t = 2 }
      local consumer = reading.consumer(of, "t")
      assert.equal(0, consumer:progress().fraction)
      reading.history(consumer)
      assert.same({ 1, 0, 0 }, { check(consumer:progress()).fraction, consumer:progress().offsets_done,
        consumer:progress().offsets_total })
    end)

    it("with messages and bytes of what was handled", function()
      local consumer = reading.values { { key = "ab", value = "cde" }, { value = "f" }, { key = "g" }, {} }
      reading.history(consumer)
      assert.same({ 4, 7 }, { consumer:progress().messages, consumer:progress().bytes })
    end)

    it("with each partition's place, as the checkpoint it is", function()
      local of = reading.broker { t = 2, empty = 1 }
      assert(of:produce("t", { { value = "a", partition = 1 }, { value = "b", partition = 1 } }))
      local consumer = reading.consumer(of, { "t", "empty" })
      reading.history(consumer)
      assert(of:produce("t", { value = "c", partition = 1 }))
      reading.until_true(consumer, nothing, function() return consumer:progress().messages == 3 end)
      local places = {}
      for _, p in ipairs(consumer:progress().partitions) do
        assert.equal("boolean", type(p.caught_up))
        places[("%s[%d]"):format(p.topic, p.partition)] =
          { p.start, p.position, p.target, p.end_offset, p.caught_up }
      end
      assert.same({
        ["t[0]"] = { 0, 0, 0, 0, true }, ["t[1]"] = { 0, 3, 2, 3, true }, ["empty[0]"] = { 0, 0, 0, 0, true },
      }, places)
      assert.equal(0, consumer:progress().lag)
    end)

    it("with the position of what is handled, not of what was fetched", function()
      local consumer = reading.values(reading.numbers(1, 10))
      assert(consumer:read_history(function(msg)
        local p = consumer:progress().partitions[1]
        assert.same({ msg.offset, 10, 10, false }, { p.position, p.target, p.end_offset, p.caught_up })
        assert.same({ 10 - msg.offset, 10 - msg.offset }, { consumer:progress().lag, p.lag })
      end, to_caught_up))
    end)

    describe("with a rate of late,", function()
      local consumer, before

      before_each(function()
        consumer = reading.values(reading.numbers(1, 20))
        reading.until_true(consumer, nothing, function()
          before = consumer:progress().rate
          return consumer:progress().state == "caught_up" and before > 0
        end)
      end)

      it("which falls when nothing comes any more, though nothing is read meanwhile", function()
        assert.is_true(reading.becomes(function() return consumer:progress().rate < before / 8 end))
        assert.is_true(consumer:progress().rate >= 0)
      end)

      it("which one step after a silence is as low as many steps would have made it", function()
        local began = reading.now()
        assert.is_true(reading.becomes(function() return reading.now() - began > 3 end))
        assert(consumer:step(nothing))
        assert.is_true(consumer:progress().rate < before / 8)
      end)
    end)

    it("in a table of its own each time", function()
      local consumer = reading.values { "1" }
      local progress = consumer:progress()
      progress.state, progress.partitions = nil, nil
      assert.equal("starting", consumer:progress().state)
      assert.is_nil(getmetatable(consumer:progress()))
    end)
  end)

  describe("has events:", function()
    it("the snapshot, each partition that has caught up, and the end, in this order", function()
      local of = reading.broker { t = 2, empty = 1 }
      assert(of:produce("t", { { value = "a", partition = 0 }, { value = "b", partition = 1 } }))
      local names, places, all = {}, {}, {}
      local consumer = reading.consumer(of, { "t", "empty" }, { on_event = function(...)
        assert.equal(1, select("#", ...))
        local event = ...
        names[#names + 1] = event.name
        all[#all + 1] = event
        if event.name == "partition_caught_up" then
          places[("%s[%d] %d"):format(event.topic, event.partition, event.target)] = true
        end
      end })
      reading.history(consumer)
      local done = "partition_caught_up"
      assert.same({ "snapshot", done, done, done, "caught_up" }, names)
      assert.same({ ["t[0] 1"] = true, ["t[1] 1"] = true, ["empty[0] 0"] = true }, places)
      for _, event in ipairs(all) do
        assert.equal("string", type(event.text))
        assert.is_true(#event.text > 0)
      end
    end)

    it("caught_up comes before read_history returns and after the last history message", function()
      local consumer, handled
      local at
      consumer = reading.values(reading.numbers(1, 5), { on_event = function(event)
        if event.name == "caught_up" then at = handled end
      end })
      handled = 0
      assert(consumer:read_history(function() handled = handled + 1 end, to_caught_up))
      assert.equal(5, at)
    end)

    it("an error that a broker makes, once, while reading goes on", function()
      local errors = {}
      local consumer, of = reading.values({ "1" }, { on_event = function(event)
        if event.name == "error" then errors[#errors + 1] = event end
      end })
      reading.history(consumer)
      of:down(1)
      reading.until_true(consumer, nothing, function() return #errors > 0 end)
      of:up(1)
      assert(of:produce("t", "2"))
      reading.until_true(consumer, nothing, function() return consumer:progress().messages == 2 end)
      local seen = {}
      for _, event in ipairs(errors) do
        assert.equal("string", type(event.code))
        assert.is_nil(seen[event.text], event.text)
        seen[event.text] = true
      end
    end)

    it("run outside librdkafka and outside the handler, and may call the consumer", function()
      local consumer
      local inside = false
      local states = {}
      consumer = reading.values(reading.numbers(1, 3), { on_event = function(event)
        assert.is_false(inside)
        states[event.name] = consumer:progress().state
        assert.matches("read already", raised(consumer.step, consumer, nothing))
      end })
      assert(consumer:read_history(function()
        inside = true
        collectgarbage()
        inside = false
      end, to_caught_up))
      assert.same({ snapshot = "reading", partition_caught_up = "caught_up", caught_up = "caught_up" },
        states)
    end)

    it("may yield", function()
      local consumer = reading.values({ "1" },
        { on_event = function(event) coroutine.yield(event.name) end })
      local read = coroutine.wrap(function() return consumer:read_history(nothing, to_caught_up) end)
      assert.same({ "snapshot", "partition_caught_up", "caught_up", true },
        { read(), read(), read(), (read()) })
    end)
  end)

  describe("with a callback that raises", function()
    local function fails(...)
      local ok, err, code, value = ...
      assert.is_nil(ok)
      assert.equal("CALLBACK", code)
      assert.matches("^CALLBACK: ", err)
      return err, value
    end

    it("reports the error of on_event, loses no message, and no other event", function()
      local names, cause = {}, { "mine" }
      local consumer = reading.values(reading.numbers(1, 3), { on_event = function(event)
        names[#names + 1] = event.name
        if event.name == "snapshot" then error(cause) end
        if event.name == "caught_up" then error "at the end" end
      end })
      local handler, got = reading.collector()
      local err, value = fails(consumer:read_history(handler, to_caught_up))
      assert.matches("on_event", err)
      assert.is_true(rawequal(cause, value))
      assert.same({ {}, "failed" }, { got, consumer:caught_up():state() })
      assert.matches("at the end", (fails(consumer:read_history(handler, to_caught_up))))
      assert.same({ "1", "2", "3" }, got)
      assert.is_true(consumer:read_history(handler, to_caught_up))
      assert.same({ "snapshot", "partition_caught_up", "caught_up" }, names)
      assert.equal("caught_up", consumer:caught_up():state())
    end)

    it("reports the error of on_tick with its traceback, and can be read again", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local err = fails(consumer:read_history(nothing, { timeout = 20, tick = 0.01, on_tick = function()
        error "tick"
      end }))
      assert.matches("on_tick.*consumer_spec.lua:%d+: tick", err)
      assert.matches("traceback", err)
      reading.history(consumer)
      assert.equal(3, consumer:progress().messages)
    end)

    it("reports the error of on_log", function()
      local consumer = reading.values({ "1" }, { on_log = function() error "log" end,
        options = { debug = "consumer" } })
      assert.matches("on_log.*log", (fails(consumer:read_history(nothing, to_caught_up))))
    end)

    it("reports the error of on_stats", function()
      local consumer = reading.values({ "1" }, { on_stats = function() error "stats" end,
        options = { ["statistics.interval.ms"] = 100 } })
      assert.matches("on_stats.*stats", (fails(consumer:read_history(nothing, { timeout = 20 }))))
    end)

    it("reports it from step too, and raises it from messages", function()
      local consumer = reading.values({ "1" }, { on_event = function() error "event" end })
      local _, err, code = drive(consumer, nothing, nil, function() return false end)
      assert.equal("CALLBACK", code)
      assert.matches("event", err)
      assert.matches("CALLBACK: .*event", raised(function()
        for _ in consumer:messages(to_caught_up) do nothing() end
      end))
    end)
  end)

  it("hands librdkafka's log to on_log, with level, facility and text", function()
    local lines = {}
    local function on_log(...)
      assert.equal(1, select("#", ...))
      lines[#lines + 1] = ...
    end
    local consumer = reading.values({ "1" }, { options = { debug = "consumer,topic" }, on_log = on_log })
    reading.history(consumer)
    assert.is_true(#lines > 0)
    for _, line in ipairs(lines) do
      assert.same({ "number", "string", "string" },
        { type(line.level), type(line.facility), type(line.text) })
      assert.is_true(line.level >= 0 and line.level <= 7)
    end
  end)

  describe("hands librdkafka's statistics to on_stats", function()
    -- The statistics say themselves when they were made: microseconds of a clock that only counts up.
    local function made_at(json)
      return tonumber(json:match '"ts":%s*(%d+)')
    end

    it("as JSON, about every statistics.interval.ms, live too, outside the handler", function()
      local given, inside, consumer = {}, false, nil
      consumer = reading.values(reading.numbers(1, 10), {
        options = { ["statistics.interval.ms"] = 300, ["fetch.wait.max.ms"] = 10 },
        on_stats = function(...)
          assert.equal(1, select("#", ...))
          assert.is_false(inside)
          given[#given + 1] = ...
          if #given == 6 then consumer:cancel() end
        end,
      })
      local code = select(3, consumer:read_history(function()
        inside = true
        reading.sleep(0.02)
        inside = false
      end, { timeout = 20 }))
      assert.equal("CANCELLED", code)
      assert.equal("caught_up", consumer:progress().state)
      for _, json in ipairs(given) do
        assert.matches('^{.*"type":%s*"consumer".*"brokers":.*"topics":.*}%s*$', json)
      end
      -- Five intervals of 0.3 s, at a machine that may be busy.
      local took_s = (made_at(given[6]) - made_at(given[1])) / 1e6
      assert.is_true(took_s > 0.75 and took_s < 5, tostring(took_s))
    end)

    it("not at all without an interval", function()
      local consumer = reading.values({ "1" }, { on_stats = function() error "not asked for" end })
      reading.history(consumer)
      local _, err, code = consumer:read_history(nothing, { timeout = 1.2 })
      assert.equal("TIMEOUT", code, err)
    end)
  end)

  it("writes nothing to stderr or stdout without on_log, whatever happens", function()
    local of = reading.broker { t = 1 }
    assert(of:produce("t", reading.numbers(1, 10)))
    local result = child.run([[
      local history = require "kafka_history"
      local address = ...
      local consumer = assert(history.new { addresses = address, topics = "t", options = { debug = "all" } })
      assert(consumer:read_history(function() end, { stop_at = "caught_up", timeout = 10 }))
      local nobody = assert(history.new { addresses = "127.0.0.1:1", topics = "t", start_timeout = 0.5 })
      assert(not nobody:read_history(function() end))
      pcall(history.new, { addresses = "x", topics = "t", options = { ["no.such"] = 1 } })
      history.new { addresses = "x", topics = "t", options = { ["security.protocol"] = "ssl",
        ["ssl.ca.location"] = "/nonexistent" } }
      consumer:close()
    ]], { of:addresses() })
    assert.same({ "", "", 0 }, { result.stdout, result.stderr, result.status })
  end)

  it("lets a process end with consumers of every kind unclosed, quickly and silently", function()
    local of = reading.broker { t = 1 }
    assert(of:produce("t", reading.numbers(1, 1000)))
    local began = reading.now()
    local result = child.run([[
      local history = require "kafka_history"
      local made = {}
      for i = 1, 5 do
        made[i] = assert(history.new { addresses = ..., topics = "t" })
        if i > 1 then made[i]:read_history(function(_, c) c:cancel() end, { timeout = 10 }) end
        if i > 2 then made[i]:read_history(function() end, { stop_at = "caught_up", timeout = 10 }) end
      end
      latch = made[1]:caught_up()
      coroutine.wrap(function() made[1]:read_history(coroutine.yield) end)()
      nobody = assert(history.new { addresses = "127.0.0.1:1", topics = "t" })
      nobody:read_history(function() end, { timeout = 0.1 })
      print "end"
    ]], { of:addresses() })
    assert.same({ "end\n", "", 0 }, { result.stdout, result.stderr, result.status })
    assert.is_true(reading.now() - began < 10)
  end)

  it("leaves the host's collector, locale and signals alone", function()
    local result = child.run([[
      local function look()
        local status = io.open("/proc/self/status"):read("*a")
        local function low(name) -- signals 1 to 31; 32 and 33 are the C library's own
          return tonumber(status:match(name .. ":%s*%x*(%x%x%x%x%x%x%x%x)\n"), 16) % 2 ^ 31
        end
        return table.concat({ os.setlocale(nil), low "SigIgn", low "SigCgt", low "SigBlk" }, " ")
      end
      local before = look()
      local history = require "kafka_history"
      local consumer = assert(history.new { addresses = ..., topics = "t" })
      assert(consumer:read_history(function() end, { stop_at = "caught_up", timeout = 10 }))
      local during = look()
      consumer:close()
      print(before == during, before == look(), before, during)
    ]], { reading.broker({ t = 1 }):addresses() })
    assert.matches("^true\ttrue\t", result.stdout .. result.stderr)
  end)

  it("knows its versions", function()
    assert.equal("string", type(history._VERSION))
    assert.matches("^%d+%.%d+%.%d+", history.librdkafka_version())
  end)
end)
