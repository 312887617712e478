-- The waitable "caught up": a closed channel, done right.
local child = require "support.child"
local history = require "kafka_history"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local raised = reading.raised

local function nothing() end

describe("the waitable", function()
  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  local function results(...)
    return { n = select("#", ...), ... }
  end

  it("is the same object at every call, before and after", function()
    local consumer = reading.values { "1" }
    local latch = consumer:caught_up()
    assert.is_true(rawequal(latch, consumer:caught_up()))
    reading.history(consumer)
    assert.is_true(rawequal(latch, consumer:caught_up()))
  end)

  it("is pending before reading, while reading, and caught up after", function()
    local consumer = reading.values(reading.numbers(1, 3))
    local latch = consumer:caught_up()
    assert.same({ "pending", false }, { latch:state(), latch:is_ready() })
    assert(consumer:read_history(function()
      assert.same({ "pending", false }, { latch:state(), latch:is_ready() })
    end, { stop_at = "caught_up", timeout = 20 }))
    assert.same({ "caught_up", true }, { latch:state(), latch:is_ready() })
  end)

  it("says nil, timeout, TIMEOUT to wait(0) while it is pending", function()
    local latch = reading.values({ "1" }):caught_up()
    assert.same({ n = 3, nil, "timeout", "TIMEOUT" }, results(latch:wait(0)))
  end)

  it("raises instead of a wait that could never end, and says what to do instead", function()
    local latch = reading.values({ "1" }):caught_up()
    for _, seconds in ipairs { 0.001, 1, math.huge, false } do
      local err = raised(latch.wait, latch, seconds or nil)
      assert.matches("read_history", err, 1, true)
      assert.matches('stop_at = "caught_up"', err, 1, true)
      assert.matches("waitable_spec", raised(function() latch:wait(seconds or nil) end))
    end
  end)

  it("returns true at once from every wait after the release", function()
    local consumer = reading.values { "1" }
    local latch = consumer:caught_up()
    reading.history(consumer)
    local began = reading.now()
    for _ = 1, 100 do
      assert.same({ n = 1, true }, results(latch:wait()))
      assert.same({ n = 1, true }, results(latch:wait(0)))
      assert.same({ n = 1, true }, results(latch:wait(60)))
      assert.same({ n = 1, true }, results(latch:wait(math.huge)))
    end
    assert.is_true(reading.now() - began < 5)
  end)

  it("asks for a number of seconds", function()
    local latch = reading.values({ "1" }):caught_up()
    for _, seconds in ipairs { -1, "1", true, 0 / 0, {} } do
      assert.matches("seconds", raised(latch.wait, latch, seconds))
    end
  end)

  it("has an fd that turns readable once and stays so", function()
    local consumer = reading.values(reading.numbers(1, 3))
    local latch = consumer:caught_up()
    local fd = latch:pollfd()
    assert.equal("number", type(fd))
    assert.equal(fd, latch:getfd())
    if not reading.counter(fd) then return end -- not an eventfd here
    assert(consumer:read_history(function() assert.equal(0, reading.counter(fd)) end,
      { stop_at = "caught_up", timeout = 20 }))
    assert.equal(1, reading.counter(fd))
    for _ = 1, 3 do latch:wait() end
    reading.history(consumer)
    assert.equal(1, reading.counter(fd))
    assert.equal(fd, latch:pollfd())
  end)

  it("tells event loops what to wait for: nothing any more after the release", function()
    local consumer = reading.values { "1" }
    local latch = consumer:caught_up()
    assert.same({ n = 3, "r", nil, false }, results(latch:events(), latch:timeout(), latch:dirty()))
    reading.history(consumer)
    assert.same({ n = 3, "r", 0, true }, results(latch:events(), latch:timeout(), latch:dirty()))
  end)

  it("is released at once where there is no history", function()
    local of = reading.broker { empty = 3 }
    local consumer = reading.consumer(of, "empty")
    local latch = consumer:caught_up()
    assert.same({}, reading.history(consumer))
    assert.is_true(latch:wait())
  end)

  it("is released the same whether anybody asked for it before or after", function()
    local consumer = reading.values { "1" }
    reading.history(consumer)
    assert.is_true(consumer:caught_up():wait())
  end)

  it("stays pending through timeout and cancelled", function()
    local consumer = reading.values(reading.numbers(1, 3))
    local latch = consumer:caught_up()
    consumer:read_history(function(_, c) c:cancel() end, { timeout = 20 })
    assert.equal("pending", latch:state())
    local _, _, code = consumer:read_history(nothing, { timeout = 0 })
    assert.same({ "TIMEOUT", "pending" }, { code, latch:state() })
    assert.same({ "2", "3" }, reading.history(consumer))
    assert.equal("caught_up", latch:state())
  end)

  describe("when reading fails", function()
    local function failing()
      local consumer, of = reading.values(reading.numbers(1, 3))
      local latch = consumer:caught_up()
      local ok, err, code = consumer:read_history(function(msg)
        if msg.value == "2" then return nil, "no room" end
      end, { timeout = 20 })
      assert.same({ nil, "HANDLER" }, { ok, code })
      return consumer, latch, err, of
    end

    it("is released with the same error that read_history returned", function()
      local _, latch, err = failing()
      assert.same({ "failed", false }, { latch:state(), latch:is_ready() })
      assert.matches("no room", err)
      assert.same({ n = 3, nil, err, "HANDLER" }, results(latch:wait()))
      assert.same({ n = 3, nil, err, "HANDLER" }, results(latch:wait(0)))
      assert.same({ n = 3, "r", 0, true }, results(latch:events(), latch:timeout(), latch:dirty()))
    end)

    it("becomes caught up when reading goes on and catches up, and its fd stays readable", function()
      local consumer, latch = failing()
      local fd = latch:pollfd()
      assert(consumer:read_history(function() assert.equal("failed", latch:state()) end,
        { stop_at = "caught_up", timeout = 20 }))
      assert.same({ "caught_up", true }, { latch:state(), latch:is_ready() })
      assert.same({ n = 1, true }, results(latch:wait()))
      assert.equal(fd, latch:pollfd())
      if reading.counter(fd) then assert.equal(1, reading.counter(fd)) end
    end)

    it("has the latest error after failing again", function()
      local consumer, latch = failing()
      consumer:read_history(function() return nil, "still none" end, { timeout = 20 })
      local _, err = latch:wait()
      assert.matches("still none", err)
      assert.is_nil(err:find("no room", 1, true))
    end)

    it("tells the failure still after the consumer was closed", function()
      local consumer, latch, err = failing()
      consumer:close()
      assert.same({ n = 3, nil, err, "HANDLER" }, results(latch:wait()))
    end)

    it("keeps an error of any length whole", function()
      local consumer = reading.values { "1" }
      local latch = consumer:caught_up()
      local long = ("x"):rep(100000)
      local _, err = consumer:read_history(function() return nil, long end, { timeout = 20 })
      assert.is_truthy(err:find(long, 1, true))
      assert.equal(err, (select(2, latch:wait())))
    end)

    it("once caught up, stays caught up whatever fails later", function()
      local consumer, of = reading.values { "1" }
      local latch = consumer:caught_up()
      reading.history(consumer)
      assert(of:produce("t", "2"))
      local _, _, code = consumer:read_history(function() return false end, { timeout = 20 })
      assert.same({ "HANDLER", "caught_up" }, { code, latch:state() })
      consumer:close()
      assert.same({ n = 1, true }, results(latch:wait()))
    end)
  end)

  it("is closed when the consumer is closed while it is pending", function()
    local consumer = reading.values { "1" }
    local latch = consumer:caught_up()
    consumer:close()
    assert.same({ "closed", false }, { latch:state(), latch:is_ready() })
    assert.same({ n = 3, nil, "closed", "CLOSED" }, results(latch:wait()))
    assert.same({ n = 3, "r", 0, true }, results(latch:events(), latch:timeout(), latch:dirty()))
    if reading.counter(latch:pollfd()) then assert.equal(1, reading.counter(latch:pollfd())) end
  end)

  it("is closed when a pending consumer is collected, and valid for ever after", function()
    local of = reading.broker { t = 1 }
    local function latch_of_garbage()
      return assert(history.new(reading.config(of, "t"))):caught_up()
    end
    local latch = reading.apart(latch_of_garbage)
    assert.is_true(reading.becomes(function()
      collectgarbage()
      return latch:state() == "closed"
    end))
    assert.same({ n = 3, nil, "closed", "CLOSED" }, results(latch:wait()))
    assert.equal("number", type(latch:pollfd()))
  end)

  it("stays caught up when its consumer is collected", function()
    local of = reading.broker { t = 1 }
    assert(of:produce("t", "1"))
    local function latch_of_garbage()
      local consumer = assert(history.new(reading.config(of, "t")))
      reading.history(consumer)
      return consumer:caught_up()
    end
    local latch = reading.apart(latch_of_garbage)
    collectgarbage()
    collectgarbage()
    assert.same({ n = 1, true }, results(latch:wait()))
  end)

  it("keeps its fd open until it is collected itself, so that no loop polls a stranger's", function()
    local of = reading.broker { t = 1 }
    local consumer = assert(history.new(reading.config(of, "t")))
    local latch = consumer:caught_up()
    local fd = latch:pollfd()
    consumer:close()
    consumer = nil -- luacheck: ignore
    for _ = 1, 3 do collectgarbage() end
    for _ = 1, 20 do
      local other = reading.consumer(of, "t")
      assert.not_equal(fd, other:pollfd())
      assert.not_equal(fd, other:caught_up():pollfd())
    end
    assert.equal(fd, latch:pollfd())
  end)

  it("lets any number of coroutines wait, early and late ones", function()
    local consumer = reading.values(reading.numbers(1, 10))
    local latch = consumer:caught_up()
    local woken = 0
    local function waiter()
      while latch:wait(0) == nil do coroutine.yield() end
      woken = woken + 1
    end
    local waiters = {}
    for i = 1, 100 do waiters[i] = coroutine.wrap(waiter) end
    assert(consumer:read_history(function()
      for i = 1, 100 do waiters[i]() end
      assert.equal(0, woken)
    end, { stop_at = "caught_up", timeout = 20 }))
    for i = 1, 100 do waiters[i]() end
    for _ = 1, 10 do coroutine.wrap(waiter)() end
    assert.equal(110, woken)
  end)

  it("is readable as text with its state", function()
    local consumer = reading.values { "1" }
    local latch = consumer:caught_up()
    assert.matches("waitable.*pending", tostring(latch))
    consumer:close()
    assert.matches("waitable.*closed", tostring(latch))
  end)

  it("has methods that refuse whatever is no waitable", function()
    local consumer = reading.values { "1" }
    local latch = consumer:caught_up()
    for _, name in ipairs { "wait", "state", "is_ready", "pollfd", "getfd", "events", "timeout", "dirty" } do
      for _, stranger in ipairs { {}, "x", 1, io.stdout, consumer } do
        raised(latch[name], stranger)
      end
      raised(latch[name])
    end
  end)

  describe("when the start fails", function()
    it("is released with the error, which names the addresses and how long it took", function()
      local consumer = assert(history.new { addresses = "127.0.0.1:1", topics = "t", start_timeout = 1 })
      local latch = consumer:caught_up()
      local began = reading.now()
      local ok, err, code = consumer:read_history(nothing, { timeout = 20 })
      local seconds = reading.now() - began
      assert.is_nil(ok)
      assert.equal("_TRANSPORT", code)
      assert.matches("^_TRANSPORT: ", err)
      assert.matches("127.0.0.1:1", err, 1, true)
      assert.is_true(seconds > 0.9 and seconds < 5, tostring(seconds))
      assert.same({ n = 3, nil, err, code }, results(latch:wait()))
      assert.equal("failed", latch:state())
      assert.equal("failed", consumer:progress().state)
      consumer:close()
    end)

    it("fails again at the next call when nothing has changed", function()
      local consumer = assert(history.new { addresses = "127.0.0.1:1", topics = "t", start_timeout = 0.3 })
      for _ = 1, 3 do
        local ok, _, code = consumer:read_history(nothing, { timeout = 20 })
        assert.same({ nil, "_TRANSPORT" }, { ok, code })
      end
      consumer:close()
    end)

    it("takes a new start at the next read_history, with what is history then", function()
      local of = reading.broker { t = 1 }
      assert(of:produce("t", { "1", "2" }))
      of:down(1)
      -- Longer than the longest pause between two tries to connect.
      local consumer = reading.consumer(of, "t", { start_timeout = 3 })
      local latch = consumer:caught_up()
      local ok, _, code = consumer:read_history(nothing, { timeout = 20 })
      assert.same({ nil, "_TRANSPORT", "failed" }, { ok, code, latch:state() })
      of:up(1)
      assert(of:produce("t", { "3" }))
      assert.same({ "1", "2", "3" }, reading.history(consumer))
      assert.same({ "caught_up", true }, { latch:state(), latch:wait() })
    end)
  end)

  it("wakes whoever polls its fd, whenever and however often", function()
    -- Of what runs here only LuaJIT can call poll(2).
    if not rawget(_G, "jit") then return end
    local of = reading.broker { t = 1 }
    assert(of:produce("t", reading.numbers(1, 10)))
    local result = child.run([[
      local ffi = require "ffi"
      ffi.cdef [=[
        struct pollfd { int fd; short events, revents; };
        int poll(struct pollfd *, unsigned long, int);
      ]=]
      local history = require "kafka_history"
      local consumer = assert(history.new { addresses = ..., topics = "t" })
      local latch = consumer:caught_up()
      local polled = ffi.new("struct pollfd[1]", { { latch:pollfd(), 1, 0 } })
      print(ffi.C.poll(polled, 1, 0))
      assert(consumer:read_history(function() end, { stop_at = "caught_up", timeout = 10 }))
      print(ffi.C.poll(polled, 1, -1), polled[0].revents)
      consumer:close()
      print(ffi.C.poll(polled, 1, -1), polled[0].revents)
    ]], { of:addresses() })
    assert.same({ "0\n1\t1\n1\t1\n", "", 0 }, { result.stdout, result.stderr, result.status })
  end)
end)
