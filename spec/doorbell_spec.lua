-- The socket through which hosts are woken that can wait for nothing but sockets of their own: what
-- kafka_history.resty needs of the C half.
local core = require "kafka_history.core"
local reading = require "support.reading"
local unix = require "socket.unix"
local watchdog = require "support.watchdog"

local engine = core.consumer

describe("a doorbell", function()
  local shop, consumer, socket

  before_each(function()
    watchdog.start()
    consumer, shop = reading.values(reading.numbers(1, 3))
    socket = assert(unix.stream and unix.stream() or unix())
    socket:settimeout(10)
  end)

  after_each(function()
    reading.clean()
    socket:close() -- not before the writer: here is nobody who ignores SIGPIPE
    watchdog.stop()
  end)

  local function exists(path)
    return os.rename(path, path) ~= nil
  end

  local function listing(path)
    local pipe = assert(io.popen("ls -ld " .. path, "r"))
    local text = pipe:read "*a"
    pipe:close()
    return text
  end

  it("takes one caller, who gets the consumer's wake-ups, and is gone then", function()
    local doorbell = assert(core.doorbell())
    local directory = doorbell:path():match "^(.*)/wake$"
    assert.matches("^drwx%-%-%-%-%-%-", listing(directory))
    assert(socket:connect(doorbell:path()))
    assert.is_true(engine.redirect(consumer, doorbell))
    assert.is_false(exists(directory))
    engine.wake(consumer)
    assert.equal(8, #assert(socket:receive(8)))
    -- librdkafka's, too.
    local handle, values = reading.collector()
    while #values < 3 do
      assert(consumer:step(handle))
      if #values < 3 then
        socket:settimeout(consumer:timeout() or 10)
        socket:receive(8)
      end
    end
    socket:settimeout(0)
    socket:receive(4096)
    assert(consumer:step(handle))
    assert(shop:produce("t", "live"))
    socket:settimeout(10)
    assert(socket:receive(8))
  end)

  it("hears of the consumer's end, and closes with it", function()
    local doorbell = assert(core.doorbell())
    assert(socket:connect(doorbell:path()))
    assert(engine.redirect(consumer, doorbell))
    assert(consumer:close())
    assert(socket:receive(8))
    consumer = nil
    reading.clean()
    local _, err
    repeat
      collectgarbage()
      _, err = socket:receive(8)
    until err
    assert.equal("closed", err)
  end)

  it("that nobody has rung says so", function()
    local doorbell = assert(core.doorbell())
    local path = doorbell:path()
    local ok, err, code = engine.redirect(consumer, doorbell)
    assert.is_nil(ok)
    assert.equal("SYSTEM", code)
    assert.matches("nobody has connected to " .. path:gsub("%p", "%%%0"), err)
    assert.is_false(exists(path:match "^(.*)/"))
    assert.equal("SYSTEM", select(3, engine.redirect(consumer, doorbell)))
    assert.is_false(pcall(engine.redirect, consumer, consumer))
  end)

  it("leaves nothing when it is collected", function()
    local directory = reading.apart(function()
      return assert(core.doorbell()):path():match "^(.*)/"
    end)
    collectgarbage()
    collectgarbage()
    assert.is_false(exists(directory))
  end)
end)
