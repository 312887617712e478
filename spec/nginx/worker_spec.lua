-- One of nginx's workers reads for all: the others wait for what it tells through a shared dictionary.
local nginx = require "support.nginx"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local http = [[
  lua_shared_dict kafka_history 1m;
  lua_shared_dict prices 1m;
  init_by_lua_block { require "kafka_history.resty" }
  init_worker_by_lua_block {
    history = require "kafka_history.resty"
    state = {}
    consumer = assert(history.new { addresses = "%s", topics = "t", worker = 0,
      options = { ["fetch.wait.max.ms"] = 10 } })
    function read(handler, opts)
      ngx.timer.at(0, function()
        state.results = { consumer:read_history(handler, opts) }
      end)
    end
    %s
  }
]]

local put = "read(function(msg) ngx.shared.prices:set(msg.key, msg.value) end)"

describe("in nginx, with worker = 0,", function()
  if nginx.missing then return nginx.say_missing() end

  local shop, server

  before_each(function()
    watchdog.start()
    shop = reading.broker { t = 1 }
    local messages = {}
    for i = 1, 10 do messages[i] = { key = "k" .. i, value = "v" .. i } end
    assert(shop:produce("t", messages))
  end)

  after_each(function()
    nginx.clean()
    reading.clean()
    watchdog.stop()
  end)

  local function start(code)
    server = nginx.start { workers = 2, http = http:format(shop:addresses(), code) }
    return server
  end

  -- Runs code in the worker of that number: a connection goes to one of them, whichever.
  local function run_in(worker, code)
    local marked = ("if ngx.worker.id() ~= %d then return 'elsewhere' end %s"):format(worker, code)
    return nginx.wait_until(function()
      local result = server:run(marked)
      return result ~= "elsewhere" and result
    end)
  end

  it("one reads, and the others learn that it has caught up", function()
    start(put)
    assert.equal("true", run_in(1, "return consumer:caught_up():wait(10)"))
    assert.equal("v10", run_in(1, "return ngx.shared.prices:get 'k10'"))
    assert.equal("true caught_up", run_in(1, [[
      local latch = consumer:caught_up()
      return tostring(latch:is_ready()) .. " " .. latch:state()
    ]]))
    assert.equal("true", run_in(0, "return consumer:caught_up():wait(10)"))
    local progress = "local p = consumer:progress() return p.state .. ' ' .. p.messages .. ' ' .. p.fraction"
    assert.equal("caught_up 10 1", run_in(1, progress))
    assert.equal("caught_up 10 1", run_in(0, progress))
    assert.equal("nil ELSEWHERE: worker 0 reads ELSEWHERE",
      run_in(1, "return ('%s %s %s'):format(consumer:read_history(function() end))"))
    assert.is_true(server:quit() < 2)
    assert.equal("", server:errors())
  end)

  it("a request elsewhere waits while it is read, and no longer than it says", function()
    start [[read(function(msg) while not state.go do ngx.sleep(0.01) end end)]]
    assert.equal("timeout", run_in(1, "return select(2, consumer:caught_up():wait(0.2))"))
    assert.equal("timeout", run_in(1, "return select(2, consumer:caught_up():wait(0))"))
    local waiting = {}
    for i = 1, 8 do waiting[i] = server:send("/run", "return consumer:caught_up():wait(20)") end
    run_in(0, "state.go = true return 1")
    for i = 1, 8 do assert.same({ 200, "true" }, { waiting[i].finish() }) end
  end)

  it("a failure is told with its error, and what follows it too", function()
    start [[read(function(msg) if not state.go and msg.value == "v3" then error "boom\nboom" end end)]]
    local result = run_in(1, "return ('%s %s %s'):format(consumer:caught_up():wait(10))")
    assert.matches("^nil HANDLER: t%[0%]@2: .*boom\nboom.* HANDLER$", result)
    run_in(0, "state.go = true read(function() end) return 1")
    nginx.wait_until(function() return run_in(1, "return consumer:caught_up():state()") == "caught_up" end)
    assert.equal("10", run_in(1, "return consumer:progress().messages"))
  end)

  it("a request elsewhere is released when nginx leaves", function()
    start [[read(function(msg) while not ngx.worker.exiting() do ngx.sleep(0.01) end end)]]
    local waiting = {}
    for i = 1, 4 do
      waiting[i] = server:send("/run", [[
        ngx.shared.prices:incr("waiting", 1, 0)
        return select(2, consumer:caught_up():wait(60))
      ]])
    end
    server:await("return ngx.shared.prices:get 'waiting'", "4")
    assert.is_true(server:quit() < 2)
    for i = 1, 4 do assert.same({ 200, "closed" }, { waiting[i].finish() }) end
    assert.equal("", server:errors())
  end)

  it("new workers do not take for theirs what those before a reload have said", function()
    start [[read(function(msg)
      while ngx.shared.prices:get "stop" do ngx.sleep(0.01) end
    end)]]
    assert.equal("true", run_in(1, "return consumer:caught_up():wait(10)"))
    server:run "ngx.shared.prices:set('stop', true)"
    server:reload()
    assert.equal("timeout", run_in(1, "return select(2, consumer:caught_up():wait(0.3))"))
    server:run "ngx.shared.prices:delete 'stop'"
    assert.equal("true", run_in(1, "return consumer:caught_up():wait(10)"))
  end)

  it("a worker that has died is followed by one that reads again", function()
    start(put)
    assert.equal("true", run_in(1, "return consumer:caught_up():wait(10)"))
    local pid = run_in(0, "return ngx.worker.pid()")
    os.execute("kill -KILL " .. pid)
    assert(shop:produce("t", { key = "k11", value = "v11" }))
    nginx.wait_until(function() return run_in(1, "return ngx.shared.prices:get 'k11'") == "v11" end)
    nginx.wait_until(function() return run_in(1, "return consumer:progress().messages") == "11" end)
  end)

  it("says what is missing for that", function()
    local function refused(given, config, more)
      server = nginx.start { http = ([[
        %s
        init_worker_by_lua_block {
          local history = require "kafka_history.resty"
          message = select(2, pcall(function() history.new { addresses = "x", topics = "t", %s } end))
          function in_request() return history.new { addresses = "x", topics = "t", %s } end
        }
      ]]):format(given, config, config), server = more }
      return server:run "return message"
    end
    local in_init = [[init_by_lua_block { require "kafka_history.resty" }]]
    assert.matches('^init_worker.*new: worker: put require "kafka_history.resty" into init_by_lua',
      refused("", "worker = 0"))
    assert.matches('new: shared: there is no lua_shared_dict of the name "kafka_history"',
      refused(in_init, "worker = 0"))
    assert.matches('there is no lua_shared_dict of the name "other"',
      refused(in_init .. " lua_shared_dict kafka_history 1m;", "worker = 0, shared = 'other'"))
    assert.matches("new: worker: expected the number of a worker, 0 to 0, got number 1",
      refused(in_init, "worker = 1"))
    assert.matches("new: worker: such a consumer is made in init_worker_by_lua",
      server:run "return select(2, pcall(in_request))")
    assert.matches("new: worker: expected the number of a worker, 0 to 0, got nil",
      refused(in_init, "shared = 'kafka_history'"))
  end)
end)
