-- What becomes of a message whose handler fails: every policy, and what is kept of it.
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local to_caught_up = { stop_at = "caught_up", timeout = 20 }

local function with(more)
  local opts = { stop_at = "caught_up", timeout = 20 }
  for key, value in pairs(more) do opts[key] = value end
  return opts
end

-- A handler that fails for one value as `fail` does, as often as `times` (always); the values it
-- was called with, failed ones included.
local function failing_at(value, fail, times)
  local called = {}
  local left = times or math.huge
  return function(msg)
    called[#called + 1] = msg.value
    if msg.value == value and left > 0 then
      left = left - 1
      return fail(msg)
    end
  end, called
end

local function no_room() return nil, "no room" end

describe("a failing handler", function()
  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  describe("under the policy stop", function()
    -- Each way to fail: what `raised` is, and what the error says of the cause.
    local object = setmetatable({}, { __tostring = function() return "an object of mine" end })
    local mute = setmetatable({}, { __tostring = function() error "no text" end })
    local bare = {}
    local ways = {
      ["returning false"] = { function() return false end, nil, "returned false" },
      ["returning false and a text"] = { function() return false, "no room" end, "no room", "no room" },
      ["returning nil and a text"] = { no_room, "no room", "no room" },
      ["returning nil and false"] = { function() return nil, false end, false, "false" },
      ["returning nil and a table"] = { function() return nil, object end, object, "an object of mine" },
      ["raising a string"] = { function() error("raised", 0) end, "raised", "raised" },
      ["raising a table"] = { function() error(bare) end, bare, "table" },
      ["raising an object"] = { function() error(object) end, object, "an object of mine" },
      ["raising an object without a text"] = { function() error(mute) end, mute, "table" },
      ["raising nil"] = { function() error(nil) end, nil, "nil" },
      ["raising false"] = { function() error(false) end, false, "false" },
      ["raising a number"] = { function() error(42, 0) end, 42, "42" },
    }
    for name, way in pairs(ways) do
      it("ends the call when it fails by " .. name, function()
        local consumer = reading.values(reading.numbers(1, 4))
        local handler, called = failing_at("3", way[1])
        local ok, err, code, raised = consumer:read_history(handler, to_caught_up)
        assert.is_nil(ok)
        assert.equal("HANDLER", code)
        assert.is_true(rawequal(way[2], raised))
        assert.matches("^HANDLER: ", err)
        assert.is_truthy(err:find("t[0]@2", 1, true), err)
        assert.is_truthy(err:find(way[3], 1, true), err)
        assert.same({ "1", "2", "3" }, called)
      end)
    end

    it("says where it was raised: a traceback that names this file", function()
      local consumer = reading.values { "1" }
      local _, err = consumer:read_history(function() error "deep" end, to_caught_up)
      assert.matches("on_error_spec.lua:%d+: deep", err)
      assert.matches("traceback", err)
      assert.matches("traceback.*on_error_spec.lua:%d+", err)
    end)

    it("is what happens when nothing else was said", function()
      for _, opts in ipairs { with {}, with { on_error = "stop" } } do
        local consumer = reading.values(reading.numbers(1, 3))
        local _, _, code = consumer:read_history((failing_at("2", no_room)), opts)
        assert.equal("HANDLER", code)
      end
    end)

    it("consumes nothing but what succeeded: the next call begins with exactly that message", function()
      for _, batch in ipairs { 1, 2, 3, 500 } do
        local consumer = reading.values(reading.numbers(1, 6))
        local opts = with { batch = batch }
        consumer:read_history((failing_at("3", no_room)), opts)
        assert.equal(2, consumer:progress().messages)
        consumer:read_history((failing_at("3", no_room)), opts)
        consumer:read_history((failing_at("5", no_room)), opts)
        assert.equal(4, consumer:progress().messages)
        assert.same({ "5", "6" }, reading.history(consumer))
        assert.equal(6, consumer:progress().messages)
        assert.equal(0, consumer:progress().skipped)
      end
    end)

    it("leaves the other partitions where they are: nothing is lost, nothing comes twice", function()
      local of = reading.broker { t = 3 }
      assert(of:produce("t", reading.numbers(1, 30)))
      local consumer = reading.consumer(of, "t")
      local handled = {}
      local fails = 0
      repeat
        local failed_now = {}
        local ok = consumer:read_history(function(msg)
          if not failed_now[1] and not handled["tried " .. msg.value] then
            handled["tried " .. msg.value] = true
            failed_now[1] = true
            fails = fails + 1
            return false
          end
          assert.is_nil(handled[msg.value])
          handled[msg.value] = true
        end, to_caught_up)
      until ok
      for i = 1, 30 do assert.is_true(handled[tostring(i)]) end
      assert.equal(30, consumer:progress().messages)
      assert.is_true(fails > 0)
    end)

    it("at the very last message of the history keeps the signal back until it was handled", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local latch = consumer:caught_up()
      local _, err, code = consumer:read_history((failing_at("3", no_room)), to_caught_up)
      assert.equal("HANDLER", code)
      assert.equal("failed", latch:state())
      assert.same({ err, "HANDLER" }, { select(2, latch:wait(0)) })
      assert.equal("failed", consumer:progress().state)
      assert.is_true(consumer:progress().fraction < 1)
      assert.same({ "3" }, reading.history(consumer))
      assert.equal("caught_up", latch:state())
      assert.equal("caught_up", consumer:progress().state)
    end)

    it("with an empty partition behind it keeps the signal back too", function()
      local of = reading.broker { t = 4 }
      assert(of:produce("t", { { value = "only", partition = 2 } }))
      local consumer = reading.consumer(of, "t")
      for _ = 1, 3 do
        consumer:read_history(no_room, { timeout = 20 })
        assert.equal("failed", consumer:caught_up():state())
      end
      assert.same({ "only" }, reading.history(consumer))
    end)

    it("works for live messages as for history, without touching the signal", function()
      local consumer, of = reading.values(reading.numbers(1, 2))
      reading.history(consumer)
      assert(of:produce("t", reading.numbers(3, 5)))
      local _, _, code = consumer:read_history((failing_at("4", no_room)), { timeout = 20 })
      assert.equal("HANDLER", code)
      assert.equal("caught_up", consumer:caught_up():state())
      local handler, got = reading.collector()
      reading.until_true(consumer, handler, function() return #got == 2 end)
      assert.same({ "4", "5" }, got)
    end)

    it("survives a handler without end in its recursion", function()
      local function deep(n) return 1 + deep(n + 1) end
      local consumer = reading.values(reading.numbers(1, 2))
      local ok, err, code = consumer:read_history(function() return deep(1) end, to_caught_up)
      assert.same({ nil, "HANDLER" }, { ok, code })
      assert.matches("^HANDLER: t%[0%]@0: ", err)
      -- OpenResty's branch of LuaJIT has no room left to describe an overflow.
      assert.is_truthy(err:find "overflow" or err:find "error in error handling")
      assert.same({ "1", "2" }, reading.history(consumer))
    end)

    it("survives a handler without end in its recursion through C", function()
      if rawget(_G, "jit") then return end -- LuaJIT itself does not survive it
      local function deep() return (("x"):gsub(".", deep)) end
      local consumer = reading.values(reading.numbers(1, 2))
      local ok, err, code = consumer:read_history(deep, to_caught_up)
      assert.same({ nil, "HANDLER" }, { ok, code })
      assert.matches("^HANDLER: t%[0%]@0: .*overflow", err)
      assert.same({ "1", "2" }, reading.history(consumer))
    end)
  end)

  describe("is a success when it", function()
    local successes = {
      ["returns nothing"] = function() end,
      ["returns nil"] = function() return nil end,
      ["returns nil, nil"] = function() return nil, nil end,
      ["returns true"] = function() return true end,
      ["returns true and a text"] = function() return true, "not an error" end,
      ["returns 0"] = function() return 0 end,
      ["returns an empty string"] = function() return "" end,
      ["returns a table"] = function() return {} end,
      ["returns the message"] = function(msg) return msg end,
      ["returns nil, nil and a text"] = function() return nil, nil, "not an error" end,
      ["raises within a pcall of its own"] = function() pcall(error, "x") end,
    }
    for name, handler in pairs(successes) do
      it(name, function()
        local consumer = reading.values(reading.numbers(1, 3))
        assert.is_true(consumer:read_history(handler, to_caught_up))
        assert.equal(3, consumer:progress().messages)
        assert.equal(0, consumer:progress().skipped)
      end)
    end
  end)

  describe("under the policy skip", function()
    it("loses the message: it is counted, consumed and does not come again", function()
      local consumer = reading.values(reading.numbers(1, 5))
      local handler, called = failing_at("2", function() error "poison" end)
      assert.is_true(consumer:read_history(handler, with { on_error = "skip" }))
      assert.same({ "1", "2", "3", "4", "5" }, called)
      local progress = consumer:progress()
      assert.same({ 5, 1, "caught_up" }, { progress.messages, progress.skipped, progress.state })
      assert.same({}, reading.history(consumer))
    end)

    it("lets the signal through behind a last message that was skipped", function()
      local consumer = reading.values(reading.numbers(1, 5))
      assert.is_true(consumer:read_history(no_room, with { on_error = "skip" }))
      assert.equal("caught_up", consumer:caught_up():state())
      assert.equal(5, consumer:progress().skipped)
    end)

    it("counts each, whatever the size of a batch", function()
      for _, batch in ipairs { 1, 7, 500 } do
        local consumer = reading.values(reading.numbers(1, 100))
        assert.is_true(consumer:read_history(function(msg)
          if tonumber(msg.value) % 3 == 0 then error(msg.value) end
        end, with { on_error = "skip", batch = batch }))
        local progress = consumer:progress()
        assert.same({ 100, 33 }, { progress.messages, progress.skipped })
      end
    end)
  end)

  describe("under the policy retry", function()
    it("gets the same message again, before any other, until it succeeds", function()
      local consumer = reading.values(reading.numbers(1, 4))
      local handler, called = failing_at("2", no_room, 3)
      assert.is_true(consumer:read_history(handler, with { on_error = { retry = 3 } }))
      assert.same({ "1", "2", "2", "2", "2", "3", "4" }, called)
      local progress = consumer:progress()
      assert.same({ 4, 0 }, { progress.messages, progress.skipped })
    end)

    it("stops after n more tries, with that message not consumed", function()
      for _, backoff in ipairs { 0, 0.01 } do
        local consumer = reading.values(reading.numbers(1, 4))
        local handler, called = failing_at("2", function() error("always", 0) end)
        local ok, err, code, raised = consumer:read_history(handler,
          with { on_error = { retry = 2, backoff = backoff } })
        assert.same({ nil, "HANDLER", "always" }, { ok, code, raised })
        assert.matches("t%[0%]@1.*always", err)
        assert.same({ "1", "2", "2", "2" }, called)
        assert.same({ "2", "3", "4" }, reading.history(consumer))
      end
    end)

    it("of 0 is stop", function()
      local consumer = reading.values(reading.numbers(1, 4))
      local handler, called = failing_at("2", no_room)
      local _, _, code = consumer:read_history(handler, with { on_error = { retry = 0, backoff = 60 } })
      assert.same({ "HANDLER", { "1", "2" } }, { code, called })
    end)

    it("counts the tries of each message by itself", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local tries = {}
      assert.is_true(consumer:read_history(function(msg)
        tries[msg.value] = (tries[msg.value] or 0) + 1
        return tries[msg.value] == 3
      end, with { on_error = { retry = 2 } }))
      assert.same({ ["1"] = 3, ["2"] = 3, ["3"] = 3 }, tries)
    end)

    it("counts anew in the next call", function()
      local consumer = reading.values { "1" }
      for _ = 1, 2 do
        local handler, called = failing_at("1", no_room)
        consumer:read_history(handler, with { on_error = { retry = 2 } })
        assert.equal(3, #called)
      end
    end)

    it("waits between the tries, and keeps the other partitions waiting too", function()
      local of = reading.broker { t = 2 }
      assert(of:produce("t", reading.numbers(1, 8)))
      local consumer = reading.consumer(of, "t")
      local order, times = {}, {}
      assert.is_true(consumer:read_history(function(msg)
        order[#order + 1] = msg.value
        if msg.value == order[1] and #order <= 3 then
          times[#times + 1] = reading.now()
          return #order == 3
        end
      end, with { on_error = { retry = 5, backoff = 0.1 } }))
      assert.equal(order[1], order[2])
      assert.equal(order[1], order[3])
      assert.equal(10, #order)
      assert.is_true(times[2] - times[1] >= 0.1 and times[3] - times[2] >= 0.1)
    end)

    it("takes no processor time while it waits", function()
      local consumer, of = reading.values { "1" }
      local cpu
      assert.is_true(consumer:read_history(function()
        if cpu then
          cpu = os.clock() - cpu
          return
        end
        cpu = os.clock()
        assert(of:produce("t", reading.numbers(2, 100))) -- something that is there to read
        return false
      end, with { on_error = { retry = 1, backoff = 1 } }))
      assert.is_true(cpu < 0.5, tostring(cpu))
    end)

    describe("can while it waits be", function()
      local function read_waiting(more, during)
        local consumer = reading.values(reading.numbers(1, 3))
        local opts = with { on_error = { retry = 5, backoff = 60 }, tick = 0.02 }
        for key, value in pairs(more) do opts[key] = value end
        local handler, called = failing_at("2", no_room)
        opts.on_tick = function(c)
          if during and #called == 2 then during(c) end
        end
        local began = reading.now()
        local ok, err, code = consumer:read_history(handler, opts)
        assert.is_nil(ok)
        assert.is_true(reading.now() - began < 15)
        assert.same({ "1", "2" }, called)
        return consumer, err, code
      end

      it("cancelled, and the message comes again", function()
        local consumer, err, code = read_waiting({}, function(c) c:cancel() end)
        assert.same({ "cancelled", "CANCELLED" }, { err, code })
        assert.same({ "2", "3" }, reading.history(consumer))
      end)

      it("closed", function()
        local consumer, err, code = read_waiting({}, function(c) c:close() end)
        assert.same({ "closed", "CLOSED" }, { err, code })
        assert.equal("closed", consumer:progress().state)
        assert.equal(1, consumer:progress().messages)
      end)

      it("ended by the timeout, and the message comes again", function()
        local consumer, err, code = read_waiting { timeout = 3 }
        assert.same({ "timeout", "TIMEOUT" }, { err, code })
        assert.same({ "2", "3" }, reading.history(consumer))
      end)

      it("seen by a tick, many times", function()
        local ticks = 0
        local _, _, code = read_waiting({}, function(c)
          ticks = ticks + 1
          if ticks == 10 then c:cancel() end
        end)
        assert.same({ "CANCELLED", 10 }, { code, ticks })
      end)

      it("ended by an error of the tick", function()
        local consumer, err, code = read_waiting({}, function() error "tick" end)
        assert.equal("CALLBACK", code)
        assert.matches("tick", err)
        assert.same({ "2", "3" }, reading.history(consumer))
      end)
    end)

    it("leaves the signal alone while it waits, and lets it through after", function()
      local consumer = reading.values { "1" }
      local latch = consumer:caught_up()
      local states = {}
      local tries = 0
      assert.is_true(consumer:read_history(function()
        tries = tries + 1
        return tries == 2
      end, with { on_error = { retry = 1, backoff = 0.2 }, tick = 0.05,
        on_tick = function() states[latch:state()] = true end }))
      assert.same({ pending = true }, states)
      assert.equal("caught_up", latch:state())
    end)
  end)

  describe("under a function as the policy", function()
    it("has it asked with the error, the message and the number of the attempt", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local asked = {}
      local cause = {}
      assert.is_true(consumer:read_history((failing_at("2", function() error(cause) end, 3)),
        with { on_error = function(...)
          assert.equal(3, select("#", ...))
          local err, msg, attempt = ...
          assert.is_true(rawequal(cause, err))
          asked[#asked + 1] = { msg.topic, msg.partition, msg.offset, msg.value, attempt }
          return "retry"
        end }))
      assert.same({ { "t", 0, 1, "2", 1 }, { "t", 0, 1, "2", 2 }, { "t", 0, 1, "2", 3 } }, asked)
    end)

    it("takes each verdict: retry, then skip, then stop", function()
      local consumer = reading.values(reading.numbers(1, 4))
      local called = {}
      local ok, err, code = consumer:read_history(function(msg)
        called[#called + 1] = msg.value
        if msg.value ~= "1" then return nil, "no " .. msg.value end
      end, with { on_error = function(_, msg, attempt)
        if msg.value == "2" then return attempt < 3 and "retry" or "skip" end
        return "stop"
      end })
      assert.same({ nil, "HANDLER" }, { ok, code })
      assert.matches("t%[0%]@2.*no 3", err)
      assert.same({ "1", "2", "2", "2", "3" }, called)
      assert.equal(1, consumer:progress().skipped)
      assert.same({ "3", "4" }, reading.history(consumer))
    end)

    it("stops at any other verdict, and says what was expected", function()
      for _, verdict in ipairs { "ignore", true, 1, {}, false } do
        local consumer = reading.values(reading.numbers(1, 2))
        local _, err, code, raised = consumer:read_history(no_room,
          with { on_error = function() return verdict end })
        assert.same({ "HANDLER", "no room" }, { code, raised })
        assert.matches("no room", err)
        assert.matches('"retry", "skip" or "stop"', err, 1, true)
        assert.same({ "1", "2" }, reading.history(consumer))
      end
      local consumer = reading.values { "1" }
      local _, err, code = consumer:read_history(no_room, with { on_error = function() end })
      assert.equal("HANDLER", code)
      assert.matches("got nil", err)
    end)

    it("stops when it raises, and tells both errors", function()
      local consumer = reading.values(reading.numbers(1, 2))
      local _, err, code = consumer:read_history(no_room, with { on_error = function() error "worse" end })
      assert.equal("HANDLER", code)
      assert.matches("no room", err)
      assert.matches("worse", err)
      assert.same({ "1", "2" }, reading.history(consumer))
    end)

    it("may be anything that can be called", function()
      local consumer = reading.values { "1" }
      local policy = setmetatable({}, { __call = function(_, _, msg) return msg.value == "1" and "skip" end })
      assert.is_true(consumer:read_history(no_room, with { on_error = policy }))
      assert.equal(1, consumer:progress().skipped)
    end)

    it("sends what is poison to a topic for dead letters and goes on", function()
      local of = reading.broker { t = 1, dead = 1 }
      local poison = { key = "k", value = "poison", headers = { { name = "h", value = "v" } } }
      assert(of:produce("t", { "1", poison, "3" }))
      local consumer = reading.consumer(of, "t")
      local sender = assert(require "kafka_history.producer".new { addresses = of:addresses() })
      assert.is_true(consumer:read_history((failing_at("poison", function() error("indigestible", 0) end)),
        with { on_error = function(err, msg)
          local headers = msg.headers
          headers[#headers + 1] = { name = "error", value = tostring(err) }
          assert(sender:send("dead", { key = msg.key, value = msg.value, headers = headers }))
          assert(sender:flush(10))
          return "skip"
        end }))
      sender:close()
      local dead = {}
      assert(reading.consumer(of, "dead"):read_history(function(msg) dead[#dead + 1] = msg end, to_caught_up))
      assert.equal(1, #dead)
      assert.same({ "k", "poison", "v", "indigestible" },
        { dead[1].key, dead[1].value, dead[1]:header("h"), dead[1]:header("error") })
    end)

    it("can cancel and close the consumer", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local _, _, code = consumer:read_history(no_room, with { on_error = function()
        consumer:cancel()
        return "retry"
      end })
      assert.equal("CANCELLED", code)
      _, _, code = consumer:read_history(no_room, with { on_error = function()
        consumer:close()
        return "skip"
      end })
      assert.equal("CLOSED", code)
      assert.equal(1, consumer:progress().messages)
    end)

    it("can yield, like the handler", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local read = coroutine.wrap(function()
        return consumer:read_history((failing_at("2", no_room, 2)),
          with { on_error = function(_, _, attempt) return coroutine.yield(attempt) end })
      end)
      assert.equal(1, read())
      assert.equal(2, read "retry")
      assert.is_true(read "retry")
      assert.equal(3, consumer:progress().messages)
    end)
  end)

  describe("that gets fields", function()
    it("fails as one that gets messages does", function()
      for _, fields in ipairs { { "value" }, { "value", "key" }, { "value", "key", "offset" } } do
        local consumer = reading.values(reading.numbers(1, 4))
        local called = {}
        local opts = with { fields = fields, on_error = function(_, msg, attempt)
          assert.equal("3", msg.value)
          return attempt == 1 and "retry" or "skip"
        end }
        assert.is_true(consumer:read_history(function(value)
          called[#called + 1] = value
          return value ~= "3"
        end, opts))
        assert.same({ "1", "2", "3", "3", "4" }, called)
        assert.equal(1, consumer:progress().skipped)
      end
    end)

    it("names topic, partition and offset in the error although it did not ask for them", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local _, err = consumer:read_history(function(value) return value ~= "2" end,
        with { fields = { "value" } })
      assert.matches("t%[0%]@1", err)
    end)

    it("can be followed by one that gets messages, and the other way round, at the same message", function()
      local consumer = reading.values(reading.numbers(1, 6))
      local function fail_value(bad)
        return function(value) return value ~= bad end
      end
      local function fail_message(bad)
        return function(msg) return msg.value ~= bad end
      end
      local code
      local function read(handler, fields)
        local _
        _, _, code = consumer:read_history(handler, with { fields = fields })
        assert.equal("HANDLER", code)
      end
      read(fail_value "2", { "value" })
      read(fail_message "2")
      read(function(_, value) return value ~= "3" end, { "key", "value" })
      read(function(_, _, value) return value ~= "4" end, { "key", "offset", "value" })
      read(fail_value "4", { "value" })
      assert.same({ "4", "5", "6" }, reading.history(consumer))
    end)
  end)

  describe("driven by step", function()
    -- A loop over step and timeout, as an event loop's would be without an fd.
    local function drive(consumer, handler, opts, finished)
      while not finished() do
        local n, err, code = consumer:step(handler, opts)
        if not n then return nil, err, code end
        reading.sleep(math.min(consumer:timeout() or 0.01, 0.01))
      end
      return true
    end

    it("stops as it does under read_history", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local handler, called = failing_at("2", no_room)
      local _, err, code = drive(consumer, handler, nil, function() return false end)
      assert.equal("HANDLER", code)
      assert.matches("t%[0%]@1.*no room", err)
      assert.same({ "1", "2" }, called)
      assert.same({ "failed", { "2", "3" } }, { consumer:caught_up():state(), reading.history(consumer) })
    end)

    it("skips, and is counted", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local handler = failing_at("2", no_room)
      assert(drive(consumer, handler, { on_error = "skip" },
        function() return consumer:caught_up():is_ready() end))
      assert.same({ 3, 1 }, { consumer:progress().messages, consumer:progress().skipped })
    end)

    it("retries after the pause, tells how long it is, and stops after n tries", function()
      for _, batch in ipairs { 1, 500 } do
        local consumer = reading.values(reading.numbers(1, 3))
        local handler, called = failing_at("2", no_room)
        local times = {}
        local function timed(msg)
          if msg.value == "2" then times[#times + 1] = reading.now() end
          return handler(msg)
        end
        local longest = 0
        local opts = { on_error = { retry = 2, backoff = 0.2 }, batch = batch }
        local _, err, code = drive(consumer, timed, opts, function()
          if #times > 0 then longest = math.max(longest, consumer:timeout() or 99) end
          return false
        end)
        assert.equal("HANDLER", code, err)
        assert.same({ "1", "2", "2", "2" }, called)
        assert.is_true(times[2] - times[1] >= 0.2 and times[3] - times[2] >= 0.2)
        assert.is_true(longest > 0 and longest <= 0.2, tostring(longest))
        assert.same({ "2", "3" }, reading.history(consumer))
      end
    end)

    it("goes on after a try that succeeded", function()
      local consumer = reading.values(reading.numbers(1, 3))
      local handler, called = failing_at("2", no_room, 2)
      assert(drive(consumer, handler, { on_error = { retry = 2, backoff = 0.05 } },
        function() return consumer:caught_up():is_ready() end))
      assert.same({ "1", "2", "2", "2", "3" }, called)
    end)

    it("does not keep its fd readable during the pause, so that no loop spins", function()
      local consumer, of = reading.values(reading.numbers(1, 3))
      if not reading.counter(consumer:pollfd()) then return end
      local failed = false
      local opts = { on_error = { retry = 1, backoff = 1 } }
      local function handler() failed = true return false end
      while not failed do assert(consumer:step(handler, opts)) end
      assert(of:produce("t", reading.numbers(4, 100)))
      local began, turns = reading.now(), 0
      while reading.now() - began < 0.5 do
        if reading.counter(consumer:pollfd()) > 0 then
          turns = turns + 1
          assert.same({ 0, false }, { consumer:step(handler, opts) })
        end
      end
      assert.is_true(turns < 20, tostring(turns))
    end)

    it("counts the tries by themselves after other calls", function()
      local consumer = reading.values { "1" }
      local failed = 0
      local function handler() failed = failed + 1 return false end
      while failed == 0 do assert(consumer:step(handler, { on_error = { retry = 1, backoff = 60 } })) end
      -- The pause is the step's, no other call's.
      assert.same({ "1" }, reading.history(consumer))
      assert.is_true((consumer:timeout() or 0) < 50)
      assert(consumer:step(handler, { on_error = { retry = 1, backoff = 60 } }))
      assert.equal(1, failed)
    end)
  end)
end)
