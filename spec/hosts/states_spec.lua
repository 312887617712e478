-- Other Lua states and threads: what is handed over is the waitable, or the number of its descriptor.
local compile = require "support.compile"
local loops = require "support.loops"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local waits = [[
  local latch, seconds = ...
  local results = { latch:wait(seconds) }
  return tostring(results[1]) .. " " .. tostring(results[3]) .. " " .. latch:state()
]]

describe("another Lua state on another thread", function()
  local states

  setup(function()
    states = assert(package.loadlib(compile.module "spec/host/states.c", "luaopen_states"))()
  end)

  before_each(watchdog.start)

  after_each(function()
    reading.clean()
    watchdog.stop()
  end)

  it("waits with a waitable that was handed over, early and late, and blocks nobody", function()
    local consumer = reading.values(reading.numbers(1, 1000))
    local latch = consumer:caught_up()
    local early = {}
    for i = 1, 4 do early[i] = states.start(waits, latch) end
    local timeout = states.start(waits, latch, 0.05)
    assert.equal("nil TIMEOUT pending", timeout:finish())
    assert.equal(1000, #reading.history(consumer))
    for i = 1, 4 do assert.equal("true nil caught_up", early[i]:finish()) end
    assert.equal("true nil caught_up", states.start(waits, latch):finish())
  end)

  it("learns of a failure, with its code", function()
    local consumer = reading.values { "1" }
    local other = states.start(waits, consumer:caught_up())
    consumer:read_history(function() error "no" end)
    assert.equal("nil HANDLER failed", other:finish())
  end)

  it("is released by the end of a consumer, and its waitable outlives it", function()
    local other, late
    local of = reading.broker { t = 1 }
    reading.apart(function()
      local consumer = assert(require "kafka_history".new(reading.config(of, "t")))
      local latch = consumer:caught_up()
      other = states.start(waits, latch)
      late = states.start("local latch = ... ; repeat until latch:state() ~= 'pending'\n"
        .. "return tostring(select(2, latch:wait()))", latch)
    end)
    assert.is_true(reading.becomes(function()
      collectgarbage()
      return true
    end))
    for _ = 1, 3 do collectgarbage() end
    assert.equal("nil CLOSED closed", other:finish())
    assert.equal("closed", late:finish())
  end)

  it("reads with a consumer of its own, many at once", function()
    local of = reading.broker { t = 3 }
    assert(of:produce("t", reading.numbers(1, 3000)))
    local readers = {}
    for i = 1, 12 do
      readers[i] = states.start([[
        local consumer = assert(require "kafka_history".new { addresses = ..., topics = "t" })
        local sum = 0
        assert(consumer:read_history(function(msg) sum = sum + msg.value end,
          { stop_at = "caught_up", timeout = 20 }))
        if sum % 2 == 1 then consumer:close() end
        return ("%d"):format(sum)
      ]], of:addresses())
    end
    for i = 1, 12 do assert.equal("4501500", readers[i]:finish()) end
  end)
end)

describe("the number of a waitable's descriptor", function()
  before_each(watchdog.start)

  after_each(function()
    reading.clean()
    watchdog.stop()
  end)

  local function is_there(name)
    for _, other in ipairs(loops.names) do
      if other == name then return true end
    end
    return false
  end

  if is_there "cqueues" then
    it("wakes a cqueues.thread", function()
      local consumer = reading.values(reading.numbers(1, 1000))
      local latch = consumer:caught_up()
      local thread, connection = require("cqueues.thread").start(function(to_parent, fd)
        local cqueues = require "cqueues"
        local watched = { pollfd = tonumber(fd), events = "r" }
        to_parent:write(tostring(cqueues.poll(watched, 0.01) == watched), "\n"):flush()
        to_parent:write(tostring(cqueues.poll(watched, 20) == watched), "\n")
      end, tostring(latch:pollfd()))
      assert.equal("false", connection:read "*l")
      assert.equal(1000, #reading.history(consumer))
      assert.equal("true", connection:read "*l")
      assert.is_true(thread:join())
    end)
  end

  if is_there "luv" then
    it("wakes a thread of luv's", function()
      local uv = require "luv"
      local consumer = reading.values(reading.numbers(1, 1000))
      local name = os.tmpname()
      local thread = uv.new_thread(function(fd, path)
        local its_uv = require "luv"
        local poll = its_uv.new_poll(fd)
        poll:start("r", function(err)
          local file = io.open(path, "w")
          file:write(tostring(err), " readable")
          file:close()
          poll:close()
        end)
        its_uv.run()
      end, consumer:caught_up():pollfd(), name)
      assert.equal(1000, #reading.history(consumer))
      thread:join()
      local file = assert(io.open(name))
      assert.equal("nil readable", file:read "*a")
      file:close()
      os.remove(name)
    end)
  end
end)
