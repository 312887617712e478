-- Lua's memory runs out: at each allocation in turn, in everything that the binding does. The runs are
-- those of spec/host/memory.c, with the functions of spec/host/memory.lua; under the sanitizers' build
-- the host has them too.
local compile = require "support.compile"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

describe("where Lua's memory is lacking,", function()
  local host

  setup(function() host = compile.program("spec/host/memory.c") end)
  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  -- A broker with what the functions read, and where they send to.
  local function addresses()
    local of = reading.broker { t = 1, sent = 1 }
    for i = 0, 3 do
      local headers = { { name = "a", value = "x" .. i } }
      assert(of:produce("t", { key = "key " .. i, value = "v" .. i, headers = headers }))
    end
    return of:addresses()
  end

  -- The host's last line tells how many runs there were, the last one without a failure.
  local function runs(name, mode, ...)
    local command = { host, "spec/host/memory.lua", name, mode, ... }
    local pipe = assert(io.popen("timeout -k 1 28 " .. table.concat(command, " ") .. " 2>&1", "r"))
    local text = pipe:read("*a")
    pipe:close()
    local count = tonumber(text:match("^(%d+) runs\n$"))
    if not count then error(text, 2) end
    return count
  end

  for mode, what in pairs { once = "one allocation", ever = "every allocation from one on" } do
    it("loading fails cleanly, and can be tried again: " .. what, function()
      assert.is_true(runs("load", mode, "-") > 500)
    end)

    it("reading loses, repeats and leaks nothing: " .. what, function()
      assert.is_true(runs("read", mode, addresses(), "loaded") > 100)
    end)

    it("fields, the iterator, steps and failing handlers do neither: " .. what, function()
      assert.is_true(runs("read_otherwise", mode, addresses(), "loaded") > 100)
    end)

    it("a view is built and looked at, or says so: " .. what, function()
      assert.is_true(runs("view", mode, addresses(), "loaded") > 50)
    end)

    it("the broker is made, used and closed, or says so: " .. what, function()
      assert.is_true(runs("broker", mode, "-", "loaded") > 15)
    end)

    it("the producer is made, used and closed, or says so: " .. what, function()
      assert.is_true(runs("producer", mode, addresses(), "loaded") > 10)
    end)
  end
end)
