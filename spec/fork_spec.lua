-- fork(2): the child has the objects, but none of the threads behind them. Each test is a script in a
-- process of its own, which forks; the child's exit status and what it prints are the result.
local child = require "support.child"
local compile = require "support.compile"
local watchdog = require "support.watchdog"

-- Begins every script: `fork`, a broker with four messages in "t", and what stands for what was made.
local beginning = [[
local fork = assert(package.loadlib(..., "luaopen_fork"))()
local history = require "kafka_history"
local broker = require "kafka_history.broker"
local producer = require "kafka_history.producer"
local of = assert(broker.new { topics = { t = 1, sent = 1 } })
assert(of:produce("t", { "0", "1", "2", "3" }))
local config = { addresses = of:addresses(), topics = "t", options = { ["fetch.wait.max.ms"] = 10 } }
local to_caught_up = { stop_at = "caught_up", timeout = 10 }
local function collect()
  for _ = 1, 3 do collectgarbage() end
end
local function count_all(consumer)
  local count = 0
  assert(consumer:read_history(function() count = count + 1 end, to_caught_up))
  return count
end
]]

describe("after fork", function()
  local module

  setup(function() module = compile.module("spec/host/fork.c") end)
  before_each(watchdog.start)
  after_each(watchdog.stop)

  local function run(script)
    local result = child.run(beginning .. script, { module }, 25)
    assert.equal("", result.stderr)
    assert.equal(0, result.status)
    return result.stdout
  end

  -- Calls every method of each object in the child. Prints those that do not raise, or not with a
  -- reason, and how many did.
  local every_method = [[
    local function handler() end
    local arguments = { read_history = handler, step = handler, wait = 0 }
    local function call_all(objects)
      for name, object in pairs(objects) do
        local reasons = 0
        for method, call in pairs(getmetatable(object).__index) do
          local ok, err = pcall(call, object, arguments[method])
          if not ok and tostring(err):find("fork", 1, true) then
            reasons = reasons + 1
          else
            print(name .. ":" .. method, ok, err)
          end
        end
        print(name, reasons > 5, tostring(object) ~= nil)
      end
    end
  ]]

  it("every method of every object raises in the child, and says why", function()
    local out = run(every_method .. [[
      local consumer = assert(history.new(config))
      local waitable = consumer:caught_up()
      local sender = assert(producer.new { addresses = of:addresses() })
      local first = consumer:messages()()
      local pid = fork.fork()
      if pid == 0 then
        call_all { consumer = consumer }
        call_all { waitable = waitable }
        call_all { broker = of }
        call_all { producer = sender }
        print("message", first.value)
        os.exit(0, true)
      end
      assert(fork.wait(pid) == 0)
      consumer:close()
    ]])
    assert.equal("consumer\ttrue\ttrue\nwaitable\ttrue\ttrue\nbroker\ttrue\ttrue\nproducer\ttrue\ttrue\n"
      .. "message\t0\n", out)
  end)

  -- The parent reads on to the end of the history, sends, and closes.
  local parent_goes_on = [[
    assert(fork.wait(pid) == 0, "the child did not end well")
    assert(waitable:state() == "pending")
    assert(count_all(consumer) == 3)
    assert(waitable:wait(0))
    assert(of:produce("t", "4"))
    assert(consumer:read_history(function(msg) assert(msg.value == "4") consumer:cancel() end) == nil)
    assert(sender:send("sent", "x") and sender:flush(10))
    assert(consumer:close() and sender:close() and of:close())
    print "well"
  ]]

  local collect = "consumer, waitable, of, sender = nil, nil, nil, nil collect() "

  for how, script in pairs {
    ["collects everything"] = collect .. "os.exit(0)",
    ["closes its state"] = "os.exit(0, true)",
    ["ends without a word"] = "os.exit(0)",
    ["collects and closes its state"] = collect .. "os.exit(0, true)",
  } do
    it("the parent reads on undisturbed when the child " .. how, function()
      assert.equal("well\n", run([[
        local consumer = assert(history.new(config))
        local waitable = consumer:caught_up()
        local sender = assert(producer.new { addresses = of:addresses() })
        assert(sender:send("sent", "before") and sender:flush(10))
        assert(consumer:read_history(function() consumer:cancel() end, { batch = 1 }) == nil)
        local pid = fork.fork()
        if pid == 0 then ]] .. script .. " end\n" .. parent_goes_on))
    end)
  end

  it("a handler that forks has a child that cannot read on, and a parent that does", function()
    assert.equal("child\tfalse\tfalse\nwell\n", run([[
      local consumer = assert(history.new(config))
      local waitable = consumer:caught_up()
      local sender = assert(producer.new { addresses = of:addresses() })
      local pid
      local ok, err = pcall(consumer.read_history, consumer, function()
        pid = pid or fork.fork()
        if pid == 0 then
          local closed = pcall(consumer.close, consumer)
          return true, print("child", closed, (pcall(consumer.cancel, consumer)))
        end
        consumer:cancel()
      end, { batch = 1 })
      if pid == 0 then
        assert(not ok and tostring(err):find("fork", 1, true), err)
        os.exit(0, true)
      end
    ]] .. parent_goes_on))
  end)

  it("a view shows in the child what it had, and raises where it would read; the parent reads on", function()
    assert.equal("child\t1\t1\ta\t1\nparent\t2\n", run([[
      local view = assert(require "kafka_history.view".new(config))
      assert(of:produce("t", { key = "a", value = "1" }))
      assert(view:read(to_caught_up))
      io.stdout:setvbuf "no"
      local pid = fork.fork()
      if pid == 0 then
        print("child", view:get "a", #view, view:pairs()())
        for _, method in ipairs { "read", "step", "progress", "caught_up", "pollfd", "cancel", "close" } do
          local ok, err = pcall(view[method], view)
          if ok or not tostring(err):find("fork", 1, true) then print(method, ok, err) end
        end
        view = nil
        collect()
        os.exit(0, true)
      end
      assert(fork.wait(pid) == 0)
      view:on_change(function() view:cancel() end)
      assert(of:produce("t", { key = "a", value = "2" }))
      assert(view:read { timeout = 10 } == nil)
      print("parent", view:get "a")
      view:close()
    ]]))
  end)

  it("the child makes a consumer of its own and reads", function()
    assert.equal("4\nwell\n", run([[
      local consumer = assert(history.new(config))
      local waitable = consumer:caught_up()
      local sender = assert(producer.new { addresses = of:addresses() })
      assert(consumer:read_history(function() consumer:cancel() end, { batch = 1 }) == nil)
      local pid = fork.fork()
      if pid == 0 then
        local own = assert(history.new(config))
        print(count_all(own))
        assert(own:close())
        os.exit(0, true)
      end
    ]] .. parent_goes_on))
  end)
end)
