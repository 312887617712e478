-- Neovim, the smallest foreign host: its loop is luv's, its Lua is LuaJIT. Runs under that alone, as it needs
-- the module for it.
local broker = require "kafka_history.broker"
local child = require "support.child"
local reading = require "support.reading"

local script = [[
local uv = vim.loop
local history = require "kafka_history.luv"
local consumer = assert(history.new { addresses = vim.env.KH_ADDRESSES, topics = "t" })
local count, ticks, waited = 0, 0, nil
local timer = uv.new_timer()
timer:start(10, 10, function() ticks = ticks + 1 end)

coroutine.wrap(function() waited = consumer:caught_up():wait(20) end)()
coroutine.wrap(function()
  assert(consumer:read_history(function(msg)
    count = count + 1
    local done = uv.hrtime() + 20000
    while uv.hrtime() < done do end
  end, { stop_at = "caught_up" }))
  consumer:close()
end)()

local in_time = vim.wait(20000, function() return waited and consumer:progress().state == "closed" end, 10)
timer:close()
local other = assert(history.new { addresses = vim.env.KH_ADDRESSES, topics = "t" })
local _, refusal = pcall(other.read_history, other, print)
other:close()
io.stdout:write(table.concat({ tostring(in_time), count, tostring(waited), tostring(ticks > 10),
  refusal }, " "), "\n")
]]

describe("neovim", function()
  after_each(reading.clean)

  it("reads a topic beside its timers", function()
    local there = child.output "command -v nvim"
    if there == "" then
      local text = "Neovim cannot be tried: there is no program nvim"
      if os.getenv "CI" then error(text) end
      pending(text)
      return
    end
    local of = assert(reading.keep(broker.new { topics = { t = 2 } }))
    assert(of:produce("t", reading.numbers(1, 20000)))
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write(script)
    file:close()
    local line = "KH_ADDRESSES=%s timeout -k 5 30 nvim --headless --clean -c 'luafile %s' -c q 2>&1"
    local said = child.output(line:format(of:addresses(), name))
    os.remove(name)
    assert.matches("true 20000 true true this would stop the loop: call it in a coroutine", said, 1, true)
  end)
end)
