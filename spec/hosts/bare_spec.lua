-- Waitables and consumers as they are, without an adapter, in what polls them; and descriptors above 1023.
local child = require "support.child"
local compile = require "support.compile"
local loops = require "support.loops"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local bare = {}

function bare.cqueues(consumer, read)
  local cqueues = require "cqueues"
  local other = require("cqueues.condition").new()
  local latch = consumer:caught_up()
  local controller = cqueues.new()
  local seen = {}
  controller:wrap(function()
    seen[1] = cqueues.poll(latch, other, 0.02) == 0.02
    controller:wrap(function() other:signal() end)
    seen[2] = cqueues.poll(latch, other, 20) == other
    read()
    seen[3] = cqueues.poll(latch, other, 20) == latch
    seen[4] = cqueues.poll(latch, other, 20) == latch
  end)
  assert(controller:loop(20))
  return seen
end

function bare.select(consumer, read)
  local socket = require "socket"
  local latch = consumer:caught_up()
  local other = socket.udp4()
  local function is_ready(seconds)
    local ready = socket.select({ other, latch }, nil, seconds)
    return ready[latch] ~= nil, ready[1] == latch
  end
  local seen = { not is_ready(0.02), not is_ready(0) }
  read()
  seen[3], seen[4] = is_ready(20)
  other:close()
  return seen
end

function bare.luv(consumer, read)
  local uv = require "luv"
  local poll = uv.new_poll(consumer:caught_up():pollfd())
  local count = 0
  poll:start("r", function()
    count = count + 1
    if count == 2 then poll:stop() end -- it stays readable
  end)
  uv.run "nowait"
  local seen = { count == 0, consumer:caught_up():events() == "r" }
  read()
  while count < 2 do uv.run "once" end
  seen[3] = count == 2
  uv.run "nowait"
  seen[4] = count == 2
  poll:close()
  uv.run "nowait"
  return seen
end

function bare.poll(consumer, read)
  local poll = loops.new("poll").poll
  local fd = consumer:caught_up():pollfd()
  local seen = { #poll({ fd }, 0.02) == 0, #poll({ fd }, 0) == 0 }
  read()
  seen[3] = poll({ fd }, 20)[1] == fd
  seen[4] = poll({ fd }, -1)[1] == fd
  return seen
end

describe("without an adapter", function()
  before_each(watchdog.start)

  after_each(function()
    reading.clean()
    loops.clean()
    watchdog.stop()
  end)

  for _, name in ipairs(loops.names) do
    if bare[name] then
      it("a waitable is polled as it is, before and after, by " .. name, function()
        local consumer = reading.values(reading.numbers(1, 100))
        local seen = bare[name](consumer, function() assert.equal(100, #reading.history(consumer)) end)
        assert.same({ true, true, true, true }, seen)
      end)
    end
  end

  -- What happens in the process of a spec where the descriptors below 1024 are taken.
  local high = [[
    local name, addresses, module = ...
    local loops = require "support.loops"
    assert(package.loadlib(module, "luaopen_poll"))().allow(2048)
    local loop = loops.new(name)
    local files = {}
    for i = 1, 1100 do files[i] = assert(io.open("/dev/null")) end
    local consumer = assert(loop.history.new { addresses = addresses, topics = "t" })
    local latch = consumer:caught_up()
    assert(consumer:pollfd() > 1023 and latch:pollfd() > 1023)
    local count = 0
    local function read()
      local reading = loop:read(consumer, function() count = count + 1 end, { stop_at = "caught_up" })
      loop:run_until(function() return reading.results end)
      return tostring(reading.results[1]) .. " " .. tostring(reading.results[2])
    end
    local ok, results = pcall(read)
    print(count, ok, results)
  ]]

  local expected = {
    cqueues = "^10\ttrue\ttrue nil\n$", luv = "^10\ttrue\ttrue nil\n$", poll = "^10\ttrue\ttrue nil\n$",
    select = "^0\tfalse\t.*descriptor too large for set size",
    copas = "^0\ttrue\tnil raised: file descriptor %d%d%d%d: LuaSocket's select takes none above 1023",
  }

  for _, name in ipairs(loops.names) do
    local what = expected[name]:find "true\ttrue" and "are fine in " or "are refused by "
    it("descriptors above 1023 " .. what .. name, function()
      local of = reading.broker { t = 1 }
      assert(of:produce("t", reading.numbers(1, 10)))
      local result = child.run(high, { name, of:addresses(), compile.module "spec/host/poll.c" })
      assert.matches(expected[name], result.stdout .. result.stderr)
    end)
  end

  -- LuaJIT unloads at the end what was loaded last first.
  it("a consumer outlives an adapter that was loaded after it, when the state ends", function()
    for _, module in ipairs { "cqueues", "luv" } do
      local result = child.run([[
        local module = ...
        local history = require "kafka_history"
        local consumer = assert(history.new { addresses = "127.0.0.1:1", topics = "t" })
        if pcall(require, module) then require("kafka_history." .. module) end
        print(consumer ~= nil)
        os.exit(0, true)
      ]], { module })
      assert.same({ module, 0, "true\n", "" }, { module, result.status, result.stdout, result.stderr })
    end
  end)
end)
