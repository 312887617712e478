-- nginx under load, on a real Kafka of its own: what `make nginx` runs. Prints what it has measured.
local cluster = require "support.cluster"
local nginx = require "support.nginx"
local producer = require "kafka_history.producer"
local system = require "system"

local many, few = 1000000, 200000
local keys, partitions, workers = 10000, 4, 4

local function note(format, ...)
  io.write("# ", format:format(...), "\n")
  io.stdout:flush()
end

-- Each worker has the latest value of each key. In `shared`, for all of them: how many messages each has
-- handled, and how many have caught up.
local http = [[
  lua_shared_dict shared 1m;
  init_worker_by_lua_block {
    history = require "kafka_history.resty"
    local now = require "kafka_history.core".consumer.now
    state = { latest = {}, handled = 0 }
    consumer = assert(history.new { addresses = "%s", topics = "%s", options = { %s } })
    local function handle(key, value)
      state.latest[key] = value
      state.handled = state.handled + 1
      %s
    end
    local function read()
      local _, err, code = consumer:read_history(handle, { fields = { "key", "value" } })
      if code ~= "CLOSED" then ngx.log(ngx.ERR, "reading has ended: ", err) end
    end
    function start()
      ngx.timer.at(0, read)
      ngx.timer.at(0, function()
        if consumer:caught_up():wait() then ngx.shared.shared:incr("caught_up", 1, 0) end
      end)
    end
    %s
  }
]]
local locations = [[
  location /price { content_by_lua_block { ngx.say(state.latest["k" .. math.random(%d)] or "none") } }
]]

local function milliseconds(text)
  local number, unit = text:match "^([%d.]+)(%a+)$"
  return tonumber(number) * ({ us = 1e-3, ms = 1, s = 1000, m = 60000 })[unit]
end

describe("nginx under load", function()
  if nginx.missing then return nginx.say_missing() end

  local broker, topic, out, server

  -- Messages with these numbers; returns when they are there.
  local function send(to, first, last, at_once)
    for i = first, last do
      assert(out:send(to, { key = "k" .. i % keys, value = "value " .. i, partition = i % partitions }))
      if at_once and i % at_once == 0 then assert(out:flush(60)) end
    end
    assert(out:flush(60))
  end

  lazy_setup(function()
    broker = cluster.start(1, "--secure")
    out = assert(producer.new { addresses = broker.address, options = { ["linger.ms"] = 5 } })
    topic = broker:create("prices", partitions)
    send(topic, 1, many)
  end)

  lazy_teardown(function()
    if out then out:close() end
    if broker then broker:stop() end
  end)

  after_each(nginx.clean)

  local function start(options)
    server = nginx.start {
      workers = options.workers or workers,
      http = http:format(options.addresses or broker.address, options.topic or topic, options.options or "",
        options.handle or "", options.idle and "" or "start()"),
      server = locations:format(keys),
    }
    return server
  end

  local function await_caught_up(count)
    nginx.wait_until(function()
      return tonumber(server:run "return ngx.shared.shared:get 'caught_up' or 0") >= count
    end, 120, "the end of history in every worker")
  end

  -- Every worker's count of messages, once it is this one.
  local function await_handled(count)
    local seen, left = {}, workers
    nginx.wait_until(function()
      local worker, handled = server:run "return ngx.worker.pid() .. ' ' .. state.handled":match "(%d+) (%d+)"
      if tonumber(handled) >= count and not seen[worker] then seen[worker], left = true, left - 1 end
      return left == 0
    end, 120, count .. " messages in every worker")
  end

  -- Starts wrk; its finish() returns what it says, as numbers.
  local function load(seconds, header)
    local command = "wrk -t 2 -c 32 -d %ds --latency --timeout 5s -H '%s' %s/price 2>&1"
    local pipe = assert(io.popen(command:format(seconds, header or "X-None: 0", server.url), "r"))
    local wrk = { began = system.monotime() }
    function wrk.finish()
      local said = pipe:read "*a"
      pipe:close()
      local requests = tonumber(said:match "(%d+) requests in")
      assert(requests and requests > 0, said)
      return {
        said = said, requests = requests, rate = tonumber(said:match "Requests/sec:%s*([%d.]+)"),
        p50 = milliseconds(said:match "50%%%s+(%S+)"), p99 = milliseconds(said:match "99%%%s+(%S+)"),
        failed = said:match "Socket errors[^\n]*" or said:match "Non%-2xx[^\n]*",
      }
    end
    return wrk
  end

  local function say(what, result)
    note("%s: %d requests, %.0f a second, p50 %.2f ms, p99 %.2f ms", what, result.requests, result.rate,
      result.p50, result.p99)
  end

  it("answers every request while four workers read a million messages each", function()
    start { idle = true }
    local quiet = load(5).finish()
    server:stop()
    start { handle = "local over = now() + 5e-6 while now() < over do end" }
    local began = system.monotime()
    local busy = load(3).finish()
    assert.equal("nil", server:run "return ngx.shared.shared:get 'caught_up'") -- they read all the while
    await_caught_up(workers)
    note("%d workers have read %d messages each after %.1f s", workers, many, system.monotime() - began)
    await_handled(many)
    say("without reading", quiet)
    say("while reading", busy)
    assert.is_nil(quiet.failed)
    assert.is_nil(busy.failed)
    assert.is_true(server:quit() < 2)
    assert.equal("", server:errors())
  end)

  it("answers every request while it is reloaded in the middle of the history", function()
    start {}
    local wrk = load(6, "Connection: close")
    for _ = 1, 2 do
      nginx.wait_until(function() return tonumber(server:run "return state.handled") > 1000 end)
      local seconds = server:reload()
      note("reload: %.2f s", seconds)
      assert.is_true(seconds < 2)
    end
    local result = wrk.finish()
    say("with two reloads", result)
    assert.is_nil(result.failed)
    await_handled(many)
    assert.equal("", server:errors())
  end)

  it("answers every request while the broker is killed and started again, and reads on", function()
    local live = broker:create("live", partitions)
    send(live, 1, 1000)
    start { topic = live }
    await_caught_up(workers)
    local wrk = load(12)
    broker:tool "kill 1"
    broker:tool "restart 1"
    send(live, 1001, 2000)
    await_handled(2000)
    local seconds = system.monotime() - wrk.began
    local result = wrk.finish()
    note("killed, restarted and read on after %.1f s", seconds)
    say("meanwhile", result)
    assert.is_nil(result.failed)
    assert.is_true(server:quit() < 2)
    assert.equal("", server:errors())
  end)

  it("leaves within 2 s while the broker is down", function()
    local down = broker:create("down", partitions)
    send(down, 1, 1000)
    start { topic = down, workers = 2 }
    await_caught_up(2)
    broker:tool "kill 1"
    local seconds = server:quit()
    broker:tool "restart 1"
    assert.is_true(seconds < 2, ("it took %.2f s"):format(seconds))
    assert.equal("", server:errors())
  end)

  it("takes no more memory for a million live messages than for 200 000", function()
    local live = broker:create("live", partitions)
    send(live, 1, 1000)
    -- The handler's own sockets are what a timer would pile up.
    start { topic = live, workers = 1, handle = [[
      if state.handled % 200 == 0 then
        local socket = ngx.socket.tcp()
        assert(socket:connect("127.0.0.1", {port}))
        socket:close()
      end
    ]] }
    await_caught_up(1)
    local pid = server:workers()[1]
    local function tail(first, last)
      send(live, first, last, 100)
      nginx.wait_until(function() return tonumber(server:run "return state.handled") >= last end, 60)
      server:run "collectgarbage() collectgarbage()"
      return nginx.resident_kb(pid)
    end
    tail(1001, few / 2)
    local early = tail(few / 2 + 1, few)
    local late = tail(few + 1, many)
    note("%d KB after %d messages, %d KB after %d (%+.1f %%)", early, few, late, many,
      (late / early - 1) * 100)
    assert.is_true(late < early * 1.05)
    assert.equal("", server:errors())
  end)

  it("reads through TLS", function()
    local ca = broker:tool "credentials":match "ca=(%S+)"
    start { workers = 2, addresses = broker:tool "addresses --listener SSL":match "%S+",
      options = ('["security.protocol"] = "ssl", ["ssl.ca.location"] = "%s"'):format(ca) }
    await_caught_up(2)
    assert.is_true(server:reload() < 2)
    await_caught_up(4)
    assert.is_true(server:quit() < 2)
    assert.equal("", server:errors())
  end)
end)
