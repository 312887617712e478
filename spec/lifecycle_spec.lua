-- What a consumer leaves behind: nothing. Threads and file descriptors are counted before and after.
local broker = require "kafka_history.broker"
local history = require "kafka_history"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local CONSUMERS = 100

-- Nobody listens there.
local nobody = { addresses = "127.0.0.1:1", topics = "t" }

describe("a consumer's life", function()
  local config, fds, threads

  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  -- A broker with three messages, which goes after the test. What is counted from then on is the consumers'.
  before_each(function()
    local of = reading.broker { t = 1 }
    assert(of:produce("t", { "0", "1", "2" }))
    config = reading.config(of, "t")
    fds, threads = reading.resources()
  end)

  local function assert_nothing_left()
    assert.is_true(reading.is_as_before(fds, threads))
  end

  -- Seconds that the call takes.
  local function seconds(call, ...)
    local began = reading.now()
    call(...)
    return reading.now() - began
  end

  local function close(consumer)
    assert.is_true(consumer:close())
  end

  local function assert_closes_in_time(consumer)
    assert.is_true(seconds(close, consumer) < 5)
  end

  it("of reading and closing, a hundred times, leaves no thread and no descriptor", function()
    for _ = 1, CONSUMERS do
      local consumer = assert(history.new(config))
      assert.equal(3, #reading.history(consumer))
      assert_closes_in_time(consumer)
    end
    assert_nothing_left()
  end)

  it("that ends unread, a hundred at once, leaves no thread and no descriptor", function()
    reading.apart(function()
      local all = {}
      for i = 1, CONSUMERS do all[i] = assert(history.new(config)) end
      assert.equal(CONSUMERS, #all)
    end)
    assert.is_true(seconds(collectgarbage) < 2)
    assert_nothing_left()
  end)

  it("that is collected while it reads leaves nothing, and takes no time", function()
    for _ = 1, 10 do
      reading.apart(function()
        local consumer = assert(history.new(config))
        local waitable = consumer:caught_up()
        for msg in consumer:messages() do -- luacheck: ignore 512
          assert.equal("0", msg.value)
          break
        end
        assert.equal("pending", waitable:state())
      end)
      assert.is_true(seconds(collectgarbage) < 1)
    end
    assert_nothing_left()
  end)

  it("without a broker can be closed while it starts", function()
    for _ = 1, 10 do
      local consumer = assert(history.new(nobody))
      local _, _, code = consumer:read_history(function() end, { timeout = 0.05 })
      assert.equal("TIMEOUT", code)
      assert_closes_in_time(consumer)
    end
    assert_nothing_left()
  end)

  it("without a broker can be collected while it starts, at once", function()
    reading.apart(function()
      for _ = 1, 10 do
        local consumer = assert(history.new(nobody))
        assert.equal(0, consumer:step(function() end))
      end
    end)
    assert.is_true(seconds(collectgarbage) < 1)
    assert_nothing_left()
  end)

  it("ends well before it has begun", function()
    for _ = 1, 10 do assert_closes_in_time(assert(history.new(nobody))) end
    assert_nothing_left()
  end)

  it("that is closed while a handler is suspended ends when the handler does", function()
    reading.apart(function()
      local consumer = assert(history.new(config))
      local result
      local reader = coroutine.wrap(function()
        result = { consumer:read_history(function() coroutine.yield() end) }
      end)
      reader()
      assert_closes_in_time(consumer)
      assert.is_nil(result)
      assert.is_true(seconds(reader) < 5)
      assert.equal("CLOSED", result[3])
    end)
    assert_nothing_left()
  end)

  it("whose suspended handler never goes on is collected with it", function()
    reading.apart(function()
      for _ = 1, 10 do
        local consumer = assert(history.new(config))
        local waitable = consumer:caught_up()
        coroutine.wrap(function()
          consumer:read_history(function() coroutine.yield() end)
        end)()
        assert.equal("pending", waitable:state())
      end
    end)
    assert.is_true(seconds(function()
      collectgarbage()
      collectgarbage()
    end) < 1)
    assert_nothing_left()
  end)

  it("that is closed by its handler ends in time", function()
    for _ = 1, 10 do
      local consumer = assert(history.new(config))
      local code
      assert.is_true(seconds(function()
        code = select(3, consumer:read_history(function(_, c) close(c) end))
      end) < 5)
      assert.equal("CLOSED", code)
    end
    assert_nothing_left()
  end)

  it("that outlives its broker ends in time, all the same", function()
    reading.apart(function()
      local of = assert(broker.new { topics = { t = 1 } })
      assert(of:produce("t", "0"))
      local consumer = assert(history.new(reading.config(of, "t")))
      assert.equal(1, #reading.history(consumer))
      assert(of:close())
      local _, _, code = consumer:read_history(function() end, { timeout = 0.1 })
      assert.equal("TIMEOUT", code)
      assert_closes_in_time(consumer)
    end)
    assert_nothing_left()
  end)

  it("that a configuration's mistake ends leaves nothing", function()
    for _ = 1, CONSUMERS do
      assert.is_false((pcall(history.new, { addresses = "x", topics = "t", start = { last = -1 } })))
      assert.is_nil((history.new { addresses = "x", topics = "t",
        options = { ["security.protocol"] = "ssl", ["ssl.ca.location"] = "/no/such/file" } }))
    end
    assert_nothing_left()
  end)

  it("goes on in its waitables: their descriptors stay, and go with the last of them", function()
    local kept
    reading.apart(function()
      local consumer = assert(history.new(config))
      kept = { consumer:caught_up() }
      assert.equal(3, #reading.history(consumer))
      close(consumer)
    end)
    assert.is_true(reading.is_as_before(fds + 1, threads))
    assert.equal("caught_up", kept[1]:state())
    assert.equal(1, reading.counter(kept[1]:pollfd()) or 1)
    kept[1] = nil
    assert_nothing_left()
  end)
end)
