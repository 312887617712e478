-- The same behaviour in every event loop: see spec/support/loops.lua for the loops.
local broker = require "kafka_history.broker"
local loops = require "support.loops"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local many = 100000

local function nothing() end

local function pack(...)
  return { n = select("#", ...), ... }
end

-- What continuous integration must have, a user need not.
local function cannot_be_had(name, why)
  it("is there: " .. name, function()
    local text = ("%s cannot be tried: %s"):format(name, why)
    if os.getenv "CI" then error(text) end
    pending(text)
  end)
end

describe("hosts", function()
  local full, few

  setup(function()
    full = assert(broker.new { topics = { t = 4 } })
    assert(full:produce("t", reading.numbers(1, many)))
  end)

  teardown(function() full:close() end)

  before_each(watchdog.start)

  after_each(function()
    reading.clean()
    loops.clean()
    watchdog.stop()
  end)

  -- A consumer of a broker whose topic has these many values, by the loop's own module.
  local function consumer_in(loop, values, more)
    few = reading.broker { t = 1 }
    if values > 0 then assert(few:produce("t", reading.numbers(1, values))) end
    return reading.keep(assert(loop.history.new(reading.config(few, "t", more))))
  end

  for name, why in pairs(loops.missing) do cannot_be_had(name, why) end

  for _, name in ipairs(loops.names) do
    describe("the loop of " .. name, function()
      local loop

      before_each(function() loop = loops.new(name) end)

      it("has the module's face", function()
        local history = require "kafka_history"
        for key, value in pairs(history) do
          assert.equal(type(value), type(loop.history[key]), key)
        end
        local err = reading.raised(function()
          loop.history.new { addresses = "x", topics = "t", colour = 1 }
        end)
        assert.matches("loops_spec.lua:%d+: new: colour: ", err)
      end)

      it("does not starve while 100 000 messages are read by a busy handler", function()
        local consumer = reading.keep(assert(loop.history.new(reading.config(full, "t"))))
        local run = loops.read_beside_timer(loop, consumer, 20e-6)
        assert.equal(many, run.messages)
        assert.is_true(run.seconds >= many * 20e-6)
        assert.is_true(run.longest < 1, ("a gap of %.2f s"):format(run.longest))
        assert.is_true(#run.late >= run.seconds / 0.2, ("%d ticks in %.1f s"):format(#run.late, run.seconds))
      end)

      it("wakes up seldom for an idle consumer", function()
        -- The defaults, not the short waits of other tests.
        few = reading.broker { t = 1 }
        assert(few:produce("t", reading.numbers(1, 10)))
        local consumer = reading.keep(assert(loop.history.new { addresses = few:addresses(), topics = "t" }))
        local count = 0
        loop:read(consumer, function() count = count + 1 end)
        local latch = consumer:caught_up()
        loop:run_until(function() return latch:is_ready() end)
        assert.equal(10, count)
        local turns, last = 0, loops.now() + 2
        while loops.now() < last do
          loop:turn(last - loops.now())
          turns = turns + 1
        end
        assert.is_true(turns < 20, turns .. " wake-ups in 2 s")
      end)

      it("goes on after a handler that raises, which gets the same message again", function()
        local consumer = consumer_in(loop, 3)
        local got, fails = {}, true
        local function handler(msg)
          if msg.value == "2" and fails then error "no" end
          got[#got + 1] = msg.value
        end
        local failed = loop:read(consumer, handler)
        loop:run_until(function() return failed.results end)
        assert.same({ 4, nil, "HANDLER" }, { failed.results.n, failed.results[1], failed.results[3] })
        assert.equal("failed", consumer:caught_up():state())
        fails = false
        local again = loop:read(consumer, handler, { stop_at = "caught_up" })
        loop:run_until(function() return again.results end)
        assert.is_true(again.results[1])
        assert.same({ "1", "2", "3" }, got)
      end)

      it("builds a view and keeps it live, while others wait for its signal and look at it", function()
        few = reading.broker { t = 1 }
        assert(few:produce("t", { { key = "a", value = "1" }, { key = "b", value = "2" }, { key = "b" } }))
        local made = reading.keep(assert((loop.history.view or require "kafka_history.view").new(
          reading.config(few, "t"))))
        local latch = made:caught_up()
        local changes, signal = {}, nil
        made:on_change(function(key) changes[#changes + 1] = key end)
        if loops.has_threads[name] then loop:spawn(function() signal = pack(latch:wait(20)) end) end
        -- Where there are no threads its step is called as a consumer's is.
        local read = loop:read(loops.has_threads[name] and {
          read_history = function(_, _, opts) return made:read(opts) end,
        } or made, nil)
        loop:run_until(function() return latch:is_ready() end)
        assert.same({ "1", nil, 1 }, { made:get "a", (made:get "b"), made:len() })
        assert(few:produce("t", { { key = "c", value = "3" } }))
        loop:run_until(function() return made:get "c" end)
        assert.same({ "c" }, changes)
        loop:run_until(function() return signal or not loops.has_threads[name] end)
        if signal then assert.same(pack(true), signal) end
        if loops.has_threads[name] then loop:run(function() made:close() end) else made:close() end
        loop:run_until(function() return read.results end)
        assert.equal("CLOSED", read.results[3])
      end)

      for verb, code in pairs { close = "CLOSED", cancel = "CANCELLED" } do
        it(verb .. "s from the handler", function()
          local consumer = consumer_in(loop, 3)
          local count = 0
          local read = loop:read(consumer, function(_, c)
            count = count + 1
            assert(c[verb](c))
          end)
          loop:run_until(function() return read.results end)
          assert.same({ 1, nil, code }, { count, read.results[1], read.results[3] })
        end)
      end
    end)
  end

  for _, name in ipairs(loops.names) do
    if loops.has_threads[name] then
      describe("the adapter for " .. name, function()
        local loop

        before_each(function() loop = loops.new(name) end)

        it("wakes all that wait, late ones at once, and says timeout in time", function()
          local consumer = consumer_in(loop, 100)
          local latch = consumer:caught_up()
          local woken, count = {}, 0
          for i = 1, 5 do
            loop:spawn(function() table.insert(woken, pack(latch:wait(i > 3 and 60 or nil), count)) end)
          end
          assert.same(pack(nil, "timeout", "TIMEOUT"), loop:run(function() return pack(latch:wait(0.02)) end))
          assert.same({}, woken)
          loop:run(function()
            assert(consumer:read_history(function()
              count = count + 1
              loop.sleep(0.001)
            end, { stop_at = "caught_up" }))
          end)
          loop:run_until(function() return #woken == 5 end)
          for i = 1, 5 do assert.same(pack(true, 100), woken[i]) end
          local others = 0
          assert.is_true(loop:run(function()
            loop:spawn(function() others = others + 1 end)
            local before = others
            local ok = latch:wait()
            assert.equal(before, others)
            return ok
          end))
        end)

        it("commits for a member of a group while others run, from the handler and from beside it", function()
          local consumer = consumer_in(loop, 3, { consumer_group = "g" })
          local latch, ticks, committed = consumer:caught_up(), 0, {}
          local read = loop:read(consumer, function(msg)
            if msg.value ~= "2" then return end
            few:round_trip_time(1, 0.2)
            local before = ticks
            committed[1] = pack(consumer:commit(10))
            committed[2] = ticks - before
          end)
          loop:every(0.01, function() ticks = ticks + 1 end)
          loop:run_until(function() return latch:is_ready() end)
          assert.same(pack(true), committed[1])
          assert.is_true(committed[2] > 2, committed[2] .. " ticks during the handler's commit")
          local before = ticks
          assert.same(pack(true), loop:run(function() return pack(consumer:commit(10)) end))
          assert.is_true(ticks - before > 2, ticks - before .. " ticks during the commit beside it")
          assert.same(pack(true), loop:run(function() return pack(consumer:commit(0)) end))
          few:round_trip_time(1, 0)
          assert.is_nil(read.results)
        end)

        it("raises from a wait that nobody could end, outside of its coroutines", function()
          local consumer = consumer_in(loop, 1)
          local latch = consumer:caught_up()
          assert.matches("coroutine of the loop", reading.raised(latch.wait, latch, 1))
          assert.same(pack(nil, "timeout", "TIMEOUT"), pack(latch:wait(0)))
        end)

        it("releases those who wait when the reading fails, and when the consumer is closed", function()
          local consumer = consumer_in(loop, 3)
          local latch = consumer:caught_up()
          local failed, closed
          loop:spawn(function() failed = pack(latch:wait()) end)
          loop:run(function()
            consumer:read_history(function() return false, "no" end)
          end)
          loop:run_until(function() return failed end)
          assert.same({ 3, nil, "HANDLER" }, { failed.n, failed[1], failed[3] })
          local other = consumer_in(loop, 3)
          local its_latch = other:caught_up()
          loop:spawn(function() closed = pack(its_latch:wait()) end)
          loop:run(function() assert(other:close()) end)
          loop:run_until(function() return closed end)
          assert.same(pack(nil, "closed", "CLOSED"), closed)
        end)

        it("lets handlers sleep, and others run meanwhile", function()
          local consumer = consumer_in(loop, 20)
          local ticks, at_message = 0, {}
          loop:every(0.005, function() ticks = ticks + 1 end)
          loop:run(function()
            assert(consumer:read_history(function(msg)
              local before = ticks
              while ticks == before do loop.sleep(0.005) end
              at_message[#at_message + 1] = msg.value
            end, { stop_at = "caught_up" }))
          end)
          assert.same(reading.numbers(1, 20), at_message)
          assert.is_true(ticks >= 20)
        end)

        it("lets handlers use sockets of the loop", function()
          local consumer = consumer_in(loop, 50)
          local back = {}
          loop:run(function()
            local echo = loop.echo()
            assert(consumer:read_history(function(msg)
              back[#back + 1] = echo(msg.value)
            end, { stop_at = "caught_up" }))
          end)
          assert.same(reading.numbers(1, 50), back)
        end)

        it("iterates over messages, and others run meanwhile", function()
          local consumer = reading.keep(assert(loop.history.new(reading.config(full, "t"))))
          local ticks, count = 0, 0
          loop:every(0.01, function() ticks = ticks + 1 end)
          loop:run(function()
            for _ in consumer:messages { stop_at = "caught_up" } do
              count = count + 1
              local done = loops.now() + 5e-6
              while loops.now() < done do end -- luacheck: ignore 542
            end
          end)
          assert.equal(many, count)
          assert.is_true(ticks >= 2, tostring(ticks))
        end)

        it("waits between the tries of a message without keeping the loop", function()
          local consumer = consumer_in(loop, 2)
          local others, seen, tries, turns = 0, {}, 0, 0
          loop:every(0.05, function() others = others + 1 end)
          local turn = loop.turn
          function loop.turn(...)
            turns = turns + 1
            return turn(...)
          end
          loop:run(function()
            assert(consumer:read_history(function(msg)
              if msg.value == "1" then
                seen[#seen + 1] = others
                tries = tries + 1
                assert(few:produce("t", "one more")) -- which says that there is something to do
                return tries == 3
              end
            end, { stop_at = "caught_up", on_error = { retry = 5, backoff = 0.3 } }))
          end)
          assert.equal(3, #seen)
          assert.is_true(seen[2] > seen[1] and seen[3] > seen[2], table.concat(seen, " "))
          assert.is_true(turns < 300, turns .. " turns")
        end)

        it("ticks, and ends at its timeout, while others run", function()
          local consumer = consumer_in(loop, 1)
          local ticks, others = 0, 0
          loop:every(0.01, function() others = others + 1 end)
          local results = loop:run(function()
            return { consumer:read_history(nothing,
              { timeout = 0.3, tick = 0.05, on_tick = function() ticks = ticks + 1 end }) }
          end)
          assert.same({ nil, "timeout", "TIMEOUT" }, results)
          assert.is_true(ticks >= 2 and others >= 2)
        end)

        for verb, code in pairs { close = "CLOSED", cancel = "CANCELLED" } do
          it(verb .. "s from another coroutine while a handler is suspended, after which it ends", function()
            local consumer = consumer_in(loop, 3)
            local suspended, goes_on, handled = false, false, 0
            local read = loop:read(consumer, function()
              suspended = true
              while not goes_on do loop.sleep(0.002) end
              handled = handled + 1
            end)
            loop:run_until(function() return suspended end)
            loop:run(function() assert(consumer[verb](consumer)) end)
            assert.is_nil(read.results)
            goes_on = true
            loop:run_until(function() return read.results end)
            assert.same({ 1, nil, code }, { handled, read.results[1], read.results[3] })
          end)

          it(verb .. "s from another coroutine while the loop waits", function()
            local consumer = consumer_in(loop, 3, { options = { ["fetch.wait.max.ms"] = 60000 } })
            local read = loop:read(consumer, nothing)
            local latch = consumer:caught_up()
            loop:run_until(function() return latch:is_ready() end)
            loop:run(function() assert(consumer[verb](consumer)) end)
            loop:run_until(function() return read.results end)
            assert.same({ nil, code }, { read.results[1], read.results[3] })
          end)
        end

        it("closes without keeping the loop, however long that takes", function()
          -- Somebody who listens and never answers: the question for the ends goes on for a second.
          local silent = assert(require("socket").bind("127.0.0.1", 0))
          local _, port = silent:getsockname()
          local consumer = assert(loop.history.new { addresses = "127.0.0.1:" .. port, topics = "t" })
          local read = loop:read(consumer, nothing)
          for _ = 1, 3 do loop:turn(0.02) end
          assert.is_nil(read.results)
          assert.is_true(consumer:cancel())
          loop:run_until(function() return read.results end)
          local others, before, after = 0, nil, nil
          loop:every(0.005, function() others = others + 1 end)
          loop:run(function()
            before = others
            assert(consumer:close())
            after = others
          end)
          assert.is_true(after > before)
          silent:close()
        end)

        if not rawget(_G, "jit") then
          it("closes what goes out of scope, also by an error, and others run meanwhile", function()
            local silent = assert(require("socket").bind("127.0.0.1", 0))
            local _, port = silent:getsockname()
            local others = 0
            loop:every(0.01, function() others = others + 1 end)
            local scope = assert(load([[
              local new, config, fails, note = ...
              local consumer <close> = assert(new(config))
              consumer:read_history(print, { timeout = 0.1 })
              note(consumer)
              if fails then error("on purpose", 0) end
            ]]))
            for _, fails in ipairs { false, true } do
              local before, closed
              local function note(consumer) before, closed = others, consumer end
              local config = { addresses = "127.0.0.1:" .. port, topics = "t" }
              local ok, err = loop:run(function()
                return pcall(scope, loop.history.new, config, fails, note)
              end)
              assert.same({ not fails, fails and "on purpose" or nil }, { ok, err })
              assert.equal("closed", closed:progress().state)
              assert.is_true(others > before)
            end
            silent:close()
          end)
        end

        it("tells those who wait when their consumer was collected", function()
          local results
          few = reading.broker { t = 1 }
          reading.apart(function()
            local latch = assert(loop.history.new(reading.config(few, "t"))):caught_up()
            loop:spawn(function() results = pack(latch:wait()) end)
          end)
          loop:run_until(function()
            collectgarbage()
            return results
          end)
          assert.same(pack(nil, "closed", "CLOSED"), results)
        end)

        it("goes on when what it has waited for is collected at once", function()
          few = reading.broker { t = 1 }
          for _ = 1, 20 do
            loop:run(function()
              local consumer = assert(loop.history.new(reading.config(few, "t")))
              assert(consumer:read_history(nothing, { stop_at = "caught_up" }))
              local latch = consumer:caught_up()
              consumer = nil -- luacheck: ignore
              assert(latch:wait())
              latch = nil -- luacheck: ignore
              collectgarbage()
              collectgarbage()
            end)
            loop:turn(0.001)
          end
        end)

        it("does not spin once what it has waited for is released", function()
          local consumer = consumer_in(loop, 3)
          local latch = consumer:caught_up()
          local woken
          loop:spawn(function() woken = latch:wait() end)
          loop:run(function() assert(consumer:read_history(nothing, { stop_at = "caught_up" })) end)
          loop:run_until(function() return woken end)
          local turns, last = 0, loops.now() + 0.5
          while loops.now() < last do
            loop:turn(0.1)
            turns = turns + 1
          end
          assert.is_true(turns < 50, turns .. " turns in 0.5 s")
        end)

        it("reads with several consumers at once", function()
          few = reading.broker { a = 1, b = 2, c = 3 }
          local counts, reads = {}, {}
          for topic, values in pairs { a = 10, b = 1000, c = 3000 } do
            assert(few:produce(topic, reading.numbers(1, values)))
            local consumer = reading.keep(assert(loop.history.new(reading.config(few, topic))))
            counts[topic] = 0
            reads[#reads + 1] = loop:read(consumer, function()
              counts[topic] = counts[topic] + 1
            end, { stop_at = "caught_up" })
          end
          loop:run_until(function() return reads[1].results and reads[2].results and reads[3].results end)
          assert.same({ a = 10, b = 1000, c = 3000 }, counts)
        end)
      end)
    end
  end
end)
