-- What the README and examples/ promise, run as printed against the embedded broker.
local broker = require "kafka_history.broker"
local http = require "socket.http"
local loops = require "support.loops"
local prometheus = require "support.prometheus"
local reading = require "support.reading"
local socket = require "socket"

http.TIMEOUT = 20

local interpreter = os.getenv "KH_LUA" or (rawget(_G, "jit") and "luajit" or "lua5.4")
local build = os.getenv "KH_BUILD" or "build"
local start = require("support.program").start

local function read_file(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function contains(lines, wanted)
  for _, line in ipairs(lines) do
    if line == wanted then return true end
  end
  return false
end

-- The block of the README that makes a consumer of its own.
local function readme_program()
  for block in read_file("README.md"):gmatch("```lua\n(.-)```") do
    if block:find('^local history = require "kafka_history"') then return block end
  end
end

describe("examples", function()
  local shop, program

  before_each(function()
    shop = assert(broker.new { topics = { orders = 3 } })
    assert(shop:produce("orders", {
      { key = "a", value = "new", partition = 0 },
      { key = "b", value = "new", partition = 1 },
      { key = "c", value = "", partition = 1 },
      { key = "a", value = "paid", partition = 0 },
      { key = "b", partition = 1 },
      { value = "no key", partition = 2 },
    }))
  end)

  after_each(function()
    if program then program.stop() end
    program = nil
    shop:close()
  end)

  it("has the README's program as examples/history.lua, no longer than 15 lines", function()
    local printed = readme_program()
    assert.equal(read_file("examples/history.lua"), printed)
    assert.is_true(select(2, printed:gsub("\n", "")) <= 15)
  end)

  it("runs the README's program: history, the signal, live messages", function()
    local name = os.tmpname()
    local file = assert(io.open(name, "wb"))
    file:write(readme_program())
    file:close()
    program = start(interpreter, name, shop:addresses(), "orders")
    program.await "^caught up after 6 messages$"
    os.remove(name)
    assert.equal(7, #program.lines)
    assert(shop:produce("orders", { key = "d", value = "live" }))
    assert.equal("d\tlive", program.line())
  end)

  it("rebuilds orders, counts those that are open, and follows them", function()
    program = start(interpreter, "examples/rebuild.lua", shop:addresses(), "orders")
    -- a and c are open; b was deleted; a message without a key is nobody's order.
    program.await "^caught up: 6 messages of 3 partitions in .* 0 gaps, 0 truncated; 2 orders are open$"
    program.await "^live:$"
  end)

  it("shows the whole demo and ends by itself", function()
    program = start(interpreter, "examples/demo.lua")
    assert.equal(0, program.finish())
    local text = table.concat(program.lines, "\n")
    assert.matches("caught up: 400000 messages of 12 partitions", text)
    local _, live = text:gsub("\n  order%-9%d+ ", "")
    assert.is_true(live >= 5, text)
  end)

  for _, host in ipairs { "plain", "cqueues", "luv" } do
    it("shows the three ways to wait in examples/wait_" .. host .. ".lua", function()
      if host ~= "plain" and loops.missing[host] and not os.getenv "CI" then
        pending(host .. " cannot be had here")
        return
      end
      program = start(interpreter, ("examples/wait_%s.lua"):format(host), shop:addresses(), "orders")
      program.await "^meanwhile: +0 %%$"
      program.await "^caught up after 6 messages$"
      assert.equal(0, program.finish(), table.concat(program.lines, "\n"))
    end)
  end

  it("hands the signal to another state on another thread of a C program", function()
    local out = rawget(_G, "jit") and build .. "/luajit" or build
    program = start(out .. "/examples/two_states", shop:addresses(), "orders")
    assert.equal(0, program.finish(), table.concat(program.lines, "\n"))
    table.sort(program.lines)
    assert.same({ "=0", "the other state: caught up", "the reader has handled 6 messages" }, program.lines)
  end)

  describe("prometheus.lua", function()
    local address, metrics

    local function run(...)
      program = start(interpreter, "examples/prometheus.lua", shop:addresses(), "orders", "127.0.0.1:0", ...)
      address = program.await("^metrics at "):match "(http://.*)/metrics$"
    end

    -- Body, status and headers.
    local function get(path)
      local body, status, headers = http.request(address .. path)
      return assert(body, status), status, headers
    end

    local function ready() return (select(2, get "/ready")) end

    local function value(name, labels)
      return prometheus.value(metrics, "kafka_history_" .. name, labels)
    end

    -- Takes the metrics anew until the condition holds.
    local function becomes(condition)
      local text
      local did = reading.becomes(function()
        text = get "/metrics"
        metrics = prometheus.parse(text)
        return condition()
      end, 30)
      assert.is_true(did, text)
    end

    local function partition(name, number)
      return value(name, { topic = "orders", partition = tostring(number) })
    end

    it("answers before the signal that it is not there, and what there is", function()
      shop:down(1)
      run()
      assert.equal(503, ready())
      becomes(function() return (value("logs_total", { level = "error" }) or 0) > 0 end)
      assert.same({ 0, 0, 0, 0, 0 }, { value "caught_up", value "messages_total", value "bytes_total",
        value "fraction", value "rate" })
      assert.equal(1, value("state", { state = "starting" }))
      assert.equal(0, value("state", { state = "caught_up" }))
      assert.is_nil(partition("lag", 0))
      assert.equal(503, ready())

      shop:up(1)
      assert.is_true(reading.becomes(function() return ready() == 200 end, 30))
      becomes(function() return value "caught_up" == 1 end)
    end)

    it("answers after the signal in the format, with a value for each partition, and follows", function()
      run()
      assert.is_true(reading.becomes(function() return ready() == 200 end, 30))
      local body, status, headers = get "/metrics"
      assert.same({ 200, "text/plain; version=0.0.4; charset=utf-8", tostring(#body) },
        { status, headers["content-type"], headers["content-length"] })

      becomes(function() return (value "received_bytes_total" or 0) > 0 end)
      -- Keys: a, b, c, a, b; values: new, new, paid, no key, and an empty one.
      assert.same({ 6, 5 + 16 }, { value "messages_total", value "bytes_total" })
      assert.same({ 1, 1, 0, 0, 0 }, { value "caught_up", value "fraction", value "skipped_total",
        value "gaps_total", value "truncated_total" })
      for _, state in ipairs { "starting", "reading", "caught_up", "failed", "closed" } do
        assert.equal(state == "caught_up" and 1 or 0, value("state", { state = state }))
      end
      for name, times in pairs { snapshot = 1, partition_caught_up = 3, caught_up = 1 } do
        assert.equal(times, value("events_total", { name = name }))
      end
      for number, count in pairs { [0] = 2, 3, 1 } do
        assert.same({ count, count, 0 }, { partition("position", number), partition("end_offset", number),
          partition("lag", number) })
      end
      assert.equal(2, value "keys") -- a and c; b was deleted

      assert(shop:produce("orders", { { key = "d", value = "live", partition = 2 } }))
      becomes(function() return value "messages_total" == 7 end)
      assert.same({ 2, 2, 0 }, { partition("position", 2), partition("end_offset", 2), partition("lag", 2) })
      -- Fetches that find nothing wait: there is something to average.
      becomes(function() return metrics.kafka_history_broker_rtt_seconds end)
      local trip = metrics.kafka_history_broker_rtt_seconds.samples[1]
      assert.matches("^127.0.0.1:%d+/1$", trip.labels.broker)
      assert.is_true(trip.value > 0 and trip.value < 60)
      assert.is_true(value "rate" < 1000)
    end)

    it("says that reading has failed, and goes on when it can", function()
      assert(shop:topic_error("orders", "UNKNOWN_TOPIC_OR_PART"))
      run()
      program.await "^UNKNOWN_TOPIC_OR_PART: .*; going on in 5 s$"
      becomes(function() return value("failures_total", { code = "UNKNOWN_TOPIC_OR_PART" }) == 1 end)
      assert.equal(1, value("state", { state = "failed" }))
      assert.equal(503, ready())
      assert(shop:topic_error("orders", nil))
      becomes(function() return value "caught_up" == 1 end)
      assert.equal(0, value("state", { state = "failed" }))
    end)

    it("serves others while one is slow to ask, and ends with who asks too long or nothing", function()
      run()
      local port = tonumber(address:match ":(%d+)$")
      local slow, long, silent = socket.connect("127.0.0.1", port), socket.connect("127.0.0.1", port),
        socket.connect("127.0.0.1", port)
      assert(slow:send "GET /met")
      assert(long:send("GET /" .. ("x"):rep(8192 - #"GET /")))
      for _, client in ipairs { slow, long, silent } do client:settimeout(20) end
      assert.is_true(reading.becomes(function() return ready() == 200 end, 30))
      assert(slow:send "rics HTTP/1.0\r\nHost: here\r\n\r\n")
      assert.matches("^HTTP/1.1 200 OK\r\n.*kafka_history_caught_up 1\n", (slow:receive "*a"))
      assert.matches("^HTTP/1.1 400 ", (long:receive "*l"))
      assert.equal("closed", select(2, silent:receive "*l"))
      for _, client in ipairs { slow, long, silent } do client:close() end
      assert.equal(404, (select(2, get "/")))
      assert.equal(405, (select(2, http.request { url = address .. "/metrics", method = "DELETE" })))
      assert.equal(200, ready())
    end)

    it("sleeps while there is nothing to do", function()
      run()
      becomes(function() return value "caught_up" == 1 end)
      local children = io.open(("/proc/%s/task/%s/children"):format(program.pid, program.pid))
      local pid = children:read "*n"
      children:close()
      local function used_ticks()
        local user, system = read_file(("/proc/%d/stat"):format(pid))
          :match("%) %S " .. ("%S+ "):rep(10) .. "(%d+) (%d+)")
        return user + system
      end
      local before, began = used_ticks(), reading.now()
      assert.is_true(reading.becomes(function() return reading.now() - began > 3 end))
      assert.is_true(used_ticks() - before < 50) -- of a hundredth of a second
    end)

    it("escapes what a label may hold", function()
      local code = read_file("examples/prometheus.lua"):match "\n(local escapes = .-\nend\n)"
      local label = assert((loadstring or load)(code .. "return label"))() -- luacheck: std max
      local odd = 'a "quoted" \\ and\na second line, {more="x"} \\'
      local text = ("# HELP x y\n# TYPE x gauge\nx{%s,%s} 1\n"):format(label("odd", odd), label("n", 7))
      assert.same({ odd = odd, n = "7" }, prometheus.parse(text).x.samples[1].labels)
    end)

    it("says what is wrong with its arguments", function()
      program = start(interpreter, "examples/prometheus.lua", shop:addresses())
      assert.equal(1, program.finish())
      assert.matches("usage: ", program.lines[1])
      program = start(interpreter, "examples/prometheus.lua", shop:addresses(), "orders", "9464")
      assert.equal(1, program.finish())
      assert.matches("HOST:PORT", program.lines[1])
    end)
  end)

  describe("history.c", function()
    local history = build .. "/examples/history"

    it("prints what was there and ends with --until-caught-up", function()
      program = start(history, "--until-caught-up", shop:addresses(), "orders")
      assert.equal(0, program.finish())
      for _, line in ipairs { "orders 0 0 a new", "orders 0 1 a paid", "orders 1 0 b new", "orders 1 1 c ",
        "orders 1 2 b (null)", "orders 2 0 (null) no key" } do
        assert.is_true(contains(program.lines, line), line)
      end
      assert.matches("caught up: 6 messages", table.concat(program.lines, "\n"))
    end)

    it("goes on live until Ctrl-C", function()
      program = start(history, shop:addresses(), "orders")
      program.await "caught up: 6 messages"
      assert(shop:produce("orders", { key = "d", value = "live", partition = 2 }))
      program.await "^orders 2 1 d live$"
      program.signal "INT"
      assert.equal(0, program.finish())
    end)

    it("says what is wrong with its arguments", function()
      program = start(history, "--until-caught-up", shop:addresses())
      assert.equal(2, program.finish())
      program = start(history, "--until-caught-up", shop:addresses(), "^orders")
      assert.equal(1, program.finish())
      assert.matches("CONFIG: topics: ", program.lines[1])
    end)
  end)
end)
