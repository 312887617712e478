-- The reader in nginx's workers, which answer requests beside it. The specs look on from outside: what they
-- run in a worker are texts.
local broker = require "kafka_history.broker"
local nginx = require "support.nginx"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local many = 100000

-- What each worker begins with: `state` is its own, for all requests; read() reads in a timer.
local beginning = [[
  history = require "kafka_history.resty"
  now = require "kafka_history.core".consumer.now
  state = { values = {} }
  addresses = "%s"
  consumer = assert(history.new {
    addresses = addresses, topics = "t", options = { ["fetch.wait.max.ms"] = 10 },
  })
  function collect(msg) table.insert(state.values, msg.value) end
  function read(handler, opts)
    state.results = nil
    assert(ngx.timer.at(0, function()
      local results = { consumer:read_history(handler or collect, opts) }
      for i = 1, 4 do results[i] = tostring(results[i]) end
      state.results = table.concat(results, " ")
    end))
  end
]]

describe("in nginx", function()
  if nginx.missing then return nginx.say_missing() end

  local full, shop, server

  setup(function()
    full = assert(broker.new { topics = { t = 4 } })
    assert(full:produce("t", reading.numbers(1, many)))
  end)

  teardown(function() full:close() end)

  before_each(watchdog.start)

  after_each(function()
    nginx.clean()
    reading.clean()
    watchdog.stop()
  end)

  -- A server whose workers have a consumer of a broker with so many values, and run `code` then.
  local function start(values, code, options)
    shop = reading.broker { t = 1 }
    if values > 0 then assert(shop:produce("t", reading.numbers(1, values))) end
    options = options or {}
    options.http = ("init_worker_by_lua_block {\n%s\n%s\n}\n%s"):format(beginning:format(shop:addresses()),
      code or "", options.http or "")
    server = nginx.start(options)
    return server
  end

  local function quit_in_silence()
    local seconds = server:quit()
    assert.equal("", server:errors())
    assert.is_true(seconds < 2, ("it took %.2f s"):format(seconds))
  end

  it("reads history, says so, and goes on live", function()
    start(3, "read()")
    assert.equal("true", server:run "return consumer:caught_up():wait(10)")
    assert.equal("1 2 3", server:run "return table.concat(state.values, ' ')")
    assert(shop:produce("t", "live"))
    server:await("return state.values[4]", "live")
    quit_in_silence()
  end)

  it("answers requests and runs timers while 100 000 messages are read by a busy handler", function()
    local run = nginx.read_beside_timer(full:addresses())
    assert.equal(many, run.messages)
    assert.is_true(run.seconds >= many * 20e-6)
    assert.is_true(run.longest < 1, ("a gap of %.2f s"):format(run.longest))
    assert.is_true(#run.late >= run.seconds / 0.2, ("%d ticks in %.1f s"):format(#run.late, run.seconds))
    assert.is_true(run.answers >= run.seconds / 0.2, ("%d answers"):format(run.answers))
  end)

  it("is woken seldom for an idle consumer", function()
    start(3, "read()")
    server:run "return consumer:caught_up():wait(10)"
    local before, began = server:wake_ups(), reading.now()
    nginx.wait_until(function() return reading.now() - began > 2 end)
    local woken = server:wake_ups() - before
    assert.is_true(woken < 20, woken .. " times in 2 s")
  end)

  describe("a handler", function()
    it("may sleep, and requests are answered meanwhile", function()
      start(3, "read(function(msg) state.sleeps = true ngx.sleep(0.3) state.sleeps = false collect(msg) end)")
      server:await("return state.sleeps", "true")
      assert.equal("true", server:run "return consumer:caught_up():wait(10)")
      assert.equal("3", server:run "return #state.values")
      quit_in_silence()
    end)

    it("may use cosockets", function()
      start(20, [[read(function(msg)
        local socket = ngx.socket.tcp()
        assert(socket:connect("127.0.0.1", {port}))
        assert(socket:send("GET /echo/" .. msg.value .. " HTTP/1.0\r\n\r\n"))
        table.insert(state.values, assert(socket:receive "*a"):match "\r\n\r\n(.*)")
        socket:close()
      end)]], { server = [[location /echo/ {
        content_by_lua_block { ngx.print(ngx.var.uri:match "%d+") }
      }]] })
      assert.equal("true", server:run "return consumer:caught_up():wait(10)")
      local expected = table.concat(reading.numbers(1, 20), " ")
      assert.equal(expected, server:run "return table.concat(state.values, ' ')")
    end)

    it("that raises ends reading, and who waits learns why", function()
      start(3)
      local waiting = server:send("/run", [[
        return table.concat({ select(2, consumer:caught_up():wait(100)) }, " ")
      ]])
      server:run "read(function(msg) if msg.value == '2' then error 'boom' end end)"
      local _, body = waiting.finish()
      assert.matches("^HANDLER: t%[0%]@1: .*boom.* HANDLER$", body)
      server:await("return state.results and state.results:sub(1, 11)", "nil HANDLER")
      server:run "read()"
      assert.equal("true", server:run "return consumer:caught_up():wait(10)")
      assert.equal("2 3", server:run "return table.concat(state.values, ' ')")
    end)

    it("may close, and may cancel", function()
      start(3, "read(function(msg, of) collect(msg) if msg.value == '2' then of:cancel() end end)")
      server:await("return state.results", "nil cancelled CANCELLED nil")
      server:run "read(function(msg, of) collect(msg) of:close() end)"
      server:await("return state.results", "nil closed CLOSED nil")
      assert.equal("1 2 3", server:run "return table.concat(state.values, ' ')")
      quit_in_silence()
    end)

    it("may be retried after a pause in which requests are answered", function()
      start(3, [[read(function(msg)
        if msg.value == "2" and not state.go then state.failed = (state.failed or 0) + 1 return false end
        collect(msg)
      end, { on_error = { retry = 100, backoff = 0.05 } })]])
      server:await("return (state.failed or 0) > 2", "true")
      server:run "state.go = true"
      assert.equal("true", server:run "return consumer:caught_up():wait(10)")
      assert.equal("1 2 3", server:run "return table.concat(state.values, ' ')")
    end)
  end)

  for _, verb in ipairs { "close", "cancel" } do
    local results = ("nil %s %s nil"):format(verb == "close" and "closed" or "cancelled",
      verb == "close" and "CLOSED" or "CANCELLED")

    it(verb .. " from a request ends a reader that waits", function()
      start(3, "read()")
      server:run "return consumer:caught_up():wait(10)"
      server:run(("consumer:%s()"):format(verb))
      server:await("return state.results", results)
      quit_in_silence()
    end)

    it(verb .. " from a request takes effect after the handler that is suspended", function()
      start(3, [[read(function(msg)
        state.inside = true
        while not state.go do ngx.sleep(0.01) end
        collect(msg)
      end)]])
      server:await("return state.inside", "true")
      server:run(("consumer:%s()"):format(verb))
      assert.equal("nil", server:run "return state.results")
      server:run "state.go = true"
      server:await("return state.results", results)
      assert.equal("1", server:run "return table.concat(state.values, ' ')")
    end)
  end

  it("close in a request waits for the end and releases who waits", function()
    start(3)
    local waiting = server:send("/run", "return select(2, consumer:caught_up():wait(100))")
    server:await("return ngx.timer.running_count()", "0")
    assert.equal("true", server:run "return consumer:close()")
    assert.same({ 200, "closed" }, { waiting.finish() })
    server:await("return ngx.timer.running_count()", "0")
    quit_in_silence()
  end)

  it("commits for a member of a group, from a handler and from a request", function()
    start(3, [[
      consumer = assert(history.new { addresses = addresses, topics = "t", consumer_group = "g" })
      read(function(msg) state.committed = tostring(consumer:commit(10)) collect(msg) end)
    ]])
    assert.equal("true", server:run "return consumer:caught_up():wait(10)")
    assert.equal("true", server:run "return state.committed")
    assert.equal("true", server:run "return consumer:commit(10)")
    assert.equal("3", server:run "return #state.values")
    quit_in_silence()
  end)

  it("releases all requests that wait at once, and a late one does not wait", function()
    start(3)
    local waiting = {}
    for i = 1, 5 do
      waiting[i] = server:send("/run", [[
        state.waiting = (state.waiting or 0) + 1
        return consumer:caught_up():wait(100)
      ]])
    end
    server:await("return state.waiting", "5")
    assert.equal("timeout", server:run "return select(2, consumer:caught_up():wait(0.05))")
    assert.equal("timeout", server:run "return select(2, consumer:caught_up():wait(0))")
    server:run "read()"
    for i = 1, 5 do assert.same({ 200, "true" }, { waiting[i].finish() }) end
    assert.equal("true", server:run "return consumer:caught_up():wait(0)")
  end)

  it("raises where nginx cannot wait, with the reason", function()
    start(3, [[
      state.in_init_worker = tostring(select(2, pcall(consumer.read_history, consumer, collect)))
    ]], { server = [[location /filtered {
      content_by_lua_block { ngx.say "said" }
      header_filter_by_lua_block {
        state.in_filter = select(2, pcall(function() consumer:caught_up():wait(1) end))
      }
    }]] })
    server:get "/filtered"
    assert.matches("nginx cannot wait here; it can in a timer", server:run "return state.in_init_worker")
    assert.matches("wait: nginx cannot wait here; it can in a timer", server:run "return state.in_filter")
    assert.equal("closed", server:run "consumer:close() return select(2, consumer:read_history(collect))")
  end)

  it("does not let a consumer be made before the workers are forked", function()
    server = nginx.start { http = [[init_by_lua_block {
      local history = require "kafka_history.resty"
      message = select(2, pcall(function() history.new { addresses = "x", topics = "t" } end))
    }]] }
    local message = server:run "return message"
    assert.matches("^init_by_lua.*:3: new: init_by_lua runs in nginx's master", message)
    assert.matches("make it in init_worker_by_lua", message)
  end)

  it("names the caller's line for a mistake in the configuration", function()
    start(0)
    assert.matches("%]:2: new: colour: ", server:run [[return select(2, pcall(function()
      history.new { addresses = "x", topics = "t", colour = 1 }
    end))]])
    assert.matches("%]:1: new: expected a table",
      server:run "return select(2, pcall(function() history.new() end))")
  end)

  it("reads in one timer after the other, and options hold across them", function()
    start(10000, [[read(function(msg)
      local context = tostring(ngx.ctx)
      if context ~= state.context then state.legs, state.context = (state.legs or 0) + 1, context end
      collect(msg)
      if msg.value == "9000" and not state.failed then state.failed = true return false end
    end, { batch = 1, on_error = { retry = 1 }, timeout = 3 })]])
    server:await("return state.results", "nil timeout TIMEOUT nil")
    assert.equal("10001", server:run "return #state.values")
    assert.is_true(tonumber(server:run "return state.legs") >= 5)
    quit_in_silence()
  end)

  it("leaves nothing when consumers are closed or collected, and nothing in the file system", function()
    local directory = nginx.directory()
    start(3, "", { main = ("env TMPDIR=%s;"):format(directory) })
    local function count_descriptors()
      return nginx.count(("/proc/%d/fd"):format(server:workers()[1]))
    end
    local read_and_drop = ([[
      local done = 0
      for i = 1, 5 do
        local one = assert(history.new { addresses = "%s", topics = "t" })
        assert(one:read_history(function() done = done + 1 end, { stop_at = "caught_up", timeout = 10 }))
        if i %% 2 == 0 then one:close() end
      end
      collectgarbage() collectgarbage()
      return done
    ]]):format(shop:addresses())
    assert.equal("15", server:run(read_and_drop))
    server:await("collectgarbage() return ngx.timer.running_count()", "0")
    local before = count_descriptors()
    for _ = 1, 3 do assert.equal("15", server:run(read_and_drop)) end
    server:await("collectgarbage() return ngx.timer.running_count()", "0")
    nginx.wait_until(function() return count_descriptors() <= before end, 10, "the end of what was opened")
    assert.equal(0, nginx.count(directory))
    quit_in_silence()
    os.execute("rmdir " .. directory)
  end)

  it("says what is wrong when it cannot be woken, and reads when that is mended", function()
    local directory = nginx.directory()
    start(3, "", { main = ("env TMPDIR=%s/later;"):format(directory) })
    assert.matches("cannot be woken: SYSTEM: .*/later",
      server:run "return select(2, pcall(consumer.read_history, consumer, collect))")
    os.execute(("mkdir %s/later"):format(directory))
    server:run "read()"
    assert.equal("true", server:run "return consumer:caught_up():wait(10)")
    quit_in_silence()
    os.execute("rm -r " .. directory)
  end)

  it("has several consumers in one worker", function()
    start(3, ([[
      local other = assert(history.new { addresses = "%s", topics = "t" })
      state.count = 0
      ngx.timer.at(0, function() other:read_history(function() state.count = state.count + 1 end) end)
      read()
      state.other = other
    ]]):format(full:addresses()))
    assert.equal("true", server:run "return consumer:caught_up():wait(10)")
    assert.equal("true", server:run "return state.other:caught_up():wait(20)")
    assert.equal(tostring(many), server:run "return state.count")
    quit_in_silence()
  end)

  describe("a worker leaves within 2 s, with nothing in the error log,", function()
    local states = {
      ["while it waits for messages"] = { 3, "read()", "return consumer:caught_up():state()", "caught_up" },
      ["while nobody reads"] = { 3, "", "return 1", "1" },
      ["in the middle of the history"] = { 50000, "read(function() state.at = 1 ngx.sleep(0.001) end)",
        "return state.at", "1" },
      ["after it was closed"] = { 3, "read(function(_, of) of:close() end)",
        "return state.results ~= nil", "true" },
      ["while it retries"] = { 3, [[read(function()
        state.at = 1
        return false
      end, { on_error = { retry = 9, backoff = 20 } })]], "return state.at", "1" },
    }
    for name, given in pairs(states) do
      it(name .. ": quit", function()
        start(given[1], given[2])
        server:await(given[3], given[4])
        quit_in_silence()
      end)

      it(name .. ": reload", function()
        start(given[1], given[2])
        server:await(given[3], given[4])
        assert.is_true(server:reload() < 2)
        assert.equal("", server:errors())
        server:await(given[3], given[4])
        quit_in_silence()
      end)
    end

    it("while no broker answers, and releases requests that wait", function()
      server = nginx.start { http = ("init_worker_by_lua_block { %s read() }"):format(
        beginning:format "127.0.0.1:1") }
      local waiting = server:send("/run", "state.waits = 1 return select(2, consumer:caught_up():wait(60))")
      server:await("return state.waits", "1")
      quit_in_silence()
      assert.same({ 200, "closed" }, { waiting.finish() })
    end)
  end)

  it("has nothing to do with a consumer that the master made", function()
    shop = reading.broker { t = 1 }
    server = nginx.start { workers = 2, http = ([[
      init_by_lua_block {
        local history = require "kafka_history"
        state = { consumer = assert(history.new { addresses = "%s", topics = "t" }) }
        state.latch = state.consumer:caught_up()
        assert(state.consumer:step(function() end))
      }
    ]]):format(shop:addresses()) }
    local reason = "belongs to process %d+; after fork"
    assert.matches(reason, server:run "return select(2, pcall(state.consumer.progress, state.consumer))")
    assert.matches(reason, server:run "return select(2, pcall(state.latch.wait, state.latch, 0))")
    assert.equal("collected", server:run [[
      state.consumer, state.latch = nil, nil
      collectgarbage() collectgarbage()
      return "collected"
    ]])
    assert.equal("1", server:run "return 1")
    quit_in_silence()
  end)
end)
