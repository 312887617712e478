-- Ctrl-C in the stock interpreter: a real SIGINT to a process that reads.
local child = require "support.child"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

-- What each script begins with. kill() sends this process a SIGINT in a moment, from outside.
local prelude = [[
local history = require "kafka_history"
local consumer = assert(history.new { addresses = ..., topics = "t",
  options = { ["fetch.wait.max.ms"] = 10 } })
local function interrupt_soon()
  -- Asks nothing of this process: it may be busy, or asleep in poll(2).
  os.execute("{ sleep 0.3; kill -INT $PPID; } >/dev/null 2>&1 &")
end
local function tell(ok, err)
  print(ok, type(err) == "string" and err:find("interrupted!", 1, true) ~= nil)
  print(consumer:progress().messages, consumer:progress().skipped, consumer:caught_up():state())
end
local function read_again()
  local got = {}
  assert(consumer:read_history(function(msg) got[#got + 1] = msg.value end,
    { stop_at = "caught_up", timeout = 10 }))
  print(table.concat(got, " "))
  print(consumer:caught_up():state(), consumer:close())
end
]]

describe("Ctrl-C", function()
  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  local function run(script)
    local of = reading.broker { t = 1 }
    assert(of:produce("t", reading.numbers(1, 4)))
    local began = reading.now()
    local result = child.run(prelude .. script, { of:addresses() })
    assert.equal("", result.stderr)
    assert.equal(0, result.status)
    assert.is_true(reading.now() - began < 10)
    return result.stdout
  end

  -- The handler is busy with message 2 when it comes. os.time() keeps LuaJIT from compiling the loop,
  -- whose compiled loops hear no signal.
  local busy = [[
local started
local function handler(msg)
  if msg.value == "2" then
    interrupt_soon()
    local began = os.time()
    while os.time() < began + 15 do end
  end
end
tell(pcall(consumer.read_history, consumer, handler, { on_error = %s, batch = 500 }))
read_again()
]]

  local policies = { '"stop"', '"skip"', "{ retry = 3, backoff = 60 }", 'function() return "skip" end' }
  for _, policy in ipairs(policies) do
    it("leaves a busy handler, its message not consumed, under on_error = " .. policy, function()
      assert.equal("false\ttrue\n1\t0\tpending\n2 3 4\ncaught_up\ttrue\n", run(busy:format(policy)))
    end)
  end

  it("leaves a busy handler that gets fields alike", function()
    assert.equal("false\ttrue\n1\t0\tpending\n2 3 4\ncaught_up\ttrue\n", run [[
      local function handler(_, value)
        if value ~= "2" then return end
        interrupt_soon()
        local began = os.time()
        while os.time() < began + 15 do end
      end
      tell(pcall(consumer.read_history, consumer, handler,
        { on_error = "skip", fields = { "key", "value" } }))
      read_again()
    ]])
  end)

  it("leaves a policy that is busy deciding", function()
    assert.equal("false\ttrue\n0\t0\tpending\n1 2 3 4\ncaught_up\ttrue\n", run [[
      tell(pcall(consumer.read_history, consumer, function() return false end, { on_error = function()
        interrupt_soon()
        local began = os.time()
        while os.time() < began + 15 do end
        return "skip"
      end }))
      read_again()
    ]])
  end)

  it("leaves a reader that waits for messages", function()
    assert.equal("false\ttrue\n4\t0\tcaught_up\n\ncaught_up\ttrue\n", run [[
      tell(pcall(consumer.read_history, consumer, function(msg)
        if msg.value == "4" then interrupt_soon() end
      end))
      read_again()
    ]])
  end)

  it("leaves a reader that waits for a broker", function()
    assert.equal("false\ttrue\n0\t0\tpending\nTIMEOUT\n", run [[
      consumer:close()
      consumer = assert(history.new { addresses = "127.0.0.1:1", topics = "t" })
      interrupt_soon()
      tell(pcall(consumer.read_history, consumer, function() end))
      print((select(3, consumer:read_history(function() end, { timeout = 0.1 }))))
    ]])
  end)

  it("leaves the pause before a retry, the message not consumed", function()
    assert.equal("false\ttrue\n1\t0\tpending\n2 3 4\ncaught_up\ttrue\n", run [[
      tell(pcall(consumer.read_history, consumer, function(msg)
        if msg.value ~= "2" then return end
        interrupt_soon()
        return false
      end, { on_error = { retry = 3, backoff = 60 } }))
      read_again()
    ]])
  end)

  it("leaves an iterator that waits", function()
    assert.equal("false\ttrue\n4\t0\tcaught_up\n\ncaught_up\ttrue\n", run [[
      tell(pcall(function()
        for msg in consumer:messages() do
          if msg.value == "4" then interrupt_soon() end
        end
      end))
      read_again()
    ]])
  end)

  it("leaves a callback that is busy", function()
    assert.equal("false\ttrue\n0\t0\tpending\n1 2 3 4\ncaught_up\ttrue\n", run [[
      local function on_tick()
        interrupt_soon()
        local began = os.time()
        while os.time() < began + 15 do end
      end
      tell(pcall(consumer.read_history, consumer, function() end, { tick = 0.0001, on_tick = on_tick }))
      read_again()
    ]])
  end)

  it("ends a process that does not catch it, with the interpreter's own message", function()
    local of = reading.broker { t = 1 }
    assert(of:produce("t", "1"))
    local result = child.run(prelude .. [[
      interrupt_soon()
      consumer:read_history(function() end, { on_error = "skip" })
    ]], { of:addresses() })
    assert.matches("interrupted!", result.stderr)
    assert.equal(1, result.status)
  end)

  it("is told from a handler's own error of that name, which is a failure as any other", function()
    assert.equal("true\tfalse\n4\t4\tcaught_up\n\ncaught_up\ttrue\n", run [[
      tell(pcall(consumer.read_history, consumer, function() error "interrupted!" end,
        { on_error = "skip", stop_at = "caught_up", timeout = 10 }))
      read_again()
    ]])
  end)
end)
