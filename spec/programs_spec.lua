-- The programs of examples/ that each show one use, run as processes against the embedded broker.
local broker = require "kafka_history.broker"
local http = require "socket.http"
local json = require "cjson"
local loops = require "support.loops"
local reading = require "support.reading"
local socket = require "socket"
local start = require("support.program").start

http.TIMEOUT = 20

local interpreter = os.getenv "KH_LUA" or (rawget(_G, "jit") and "luajit" or "lua5.4")
local build = os.getenv "KH_BUILD" or "build"

describe("the example", function()
  local shop, program, files

  -- A name in the temporary directory that nothing has; what is there in the end is removed.
  local function file_name()
    local name = os.tmpname()
    os.remove(name)
    table.insert(files, name)
    return name
  end

  local function open_shop(topics)
    shop = assert(broker.new { topics = topics })
  end

  local function run(name, ...)
    program = start(interpreter, ("examples/%s.lua"):format(name), shop:addresses(), ...)
  end

  -- To its end; what it has printed.
  local function output()
    local status = program.finish()
    local text = table.concat(program.lines, "\n", 1, #program.lines - 1)
    return text, status
  end

  before_each(function()
    files = {}
  end)

  after_each(function()
    if program then program.stop() end
    if shop then shop:close() end
    program, shop = nil, nil
    for _, name in ipairs(files) do os.remove(name) end
  end)

  describe("dead_letter.lua", function()
    before_each(function()
      open_shop { orders = 1, dead = 1 }
      assert(shop:produce("orders", {
        { key = "a", value = '{"total": 12.5}' },
        { key = "b", value = "by hand", headers = { { name = "trace", value = "7" } } },
        { key = "c", value = '{"city": "Lima"}' },
        { key = "d", value = '{"total": 7.5}' },
      }))
    end)

    it("copies what cannot be handled to the other topic, and reads on", function()
      run("dead_letter", "orders", "dead")
      program.await "^dead letter: orders%[0%] offset 1: .*invalid token"
      program.await "^dead letter: orders%[0%] offset 2: an order without a total$"
      program.await "^caught up: 2 orders, 20.00 in total; 2 dead letters$"
      assert(shop:produce("orders", { key = "e" }))
      program.await "^dead letter: orders%[0%] offset 4: an order without a total$"
      program.stop()

      local letters = {}
      local consumer = reading.consumer(shop, "dead")
      assert(consumer:read_history(function(message) table.insert(letters, message) end,
        { stop_at = "caught_up", timeout = 20 }))
      assert.equal(3, #letters)
      assert.same({ "b", "by hand", "7", "orders", "0", "1" }, { letters[1].key, letters[1].value,
        letters[1]:header "trace", letters[1]:header "dead-letter.topic",
        letters[1]:header "dead-letter.partition", letters[1]:header "dead-letter.offset" })
      assert.matches("invalid token", letters[1]:header "dead-letter.reason")
      assert.same({ "c", '{"city": "Lima"}', 4 }, { letters[2].key, letters[2].value, #letters[2].headers })
      assert.same({ "e", nil }, { letters[3].key, letters[3].value })
      reading.clean()
    end)

    it("stops, and loses nothing, when a dead letter cannot be written", function()
      assert(shop:error("Produce", "MSG_SIZE_TOO_LARGE"))
      run("dead_letter", "orders", "dead")
      program.await "^no dead letter could be written: .*MSG_SIZE_TOO_LARGE"
      program.await "HANDLER: orders%[0%].*1.*invalid token"
      assert.equal(1, program.finish())
    end)
  end)

  describe("batch.lua", function()
    local state_file

    local function order(city, total, partition)
      return { value = json.encode { city = city, total = total }, partition = partition }
    end

    before_each(function()
      open_shop { orders = 3 }
      state_file = file_name()
      assert(shop:produce("orders", { order("Lima", 5, 0), order("Oslo", 2.5, 1), order("Lima", 1, 1) }))
    end)

    it("handles at each run what is new, and ends", function()
      run("batch", "orders", state_file)
      assert.matches("^3 new orders in [%d.]+ s\nLima\t6.00\nOslo\t2.50$", (output()))
      assert(shop:produce("orders", { order("Oslo", 10, 0), order("Quito", 4, 2) }))
      run("batch", "orders", state_file)
      assert.matches("^2 new orders in [%d.]+ s\nLima\t6.00\nOslo\t12.50\nQuito\t4.00$", (output()))
      run("batch", "orders", state_file)
      assert.matches("^0 new orders in [%d.]+ s\nLima\t6.00\nOslo\t12.50\nQuito\t4.00$", (output()))
    end)

    it("fails without a trace in its file when an order is none", function()
      assert(shop:produce("orders", { value = "by hand", partition = 2 }))
      run("batch", "orders", state_file)
      local text, status = output()
      assert.equal(1, status)
      assert.matches("HANDLER: orders%[2%]", text)
      assert.is_nil(io.open(state_file))
    end)
  end)

  describe("warm_up.lua", function()
    local address

    local function open()
      run("warm_up", "prices", "127.0.0.1:0")
      address = program.await("^serving at "):match "(http://.*)/$"
    end

    -- Status and body.
    local function get(path)
      local body, status = http.request(address .. path)
      return status, body
    end

    before_each(function()
      open_shop { prices = 2 }
      assert(shop:produce("prices", {
        { key = "a/b", value = "1" }, { key = "c", value = "2" }, { key = "a/b", value = "3" },
        { key = "d", value = "" }, { key = "e", value = "5" }, { key = "e" }, { value = "no key" },
      }))
    end)

    if loops.missing.cqueues and not os.getenv "CI" then
      pending "cqueues cannot be had here"
      return
    end

    it("answers its health check with 503 until all is in the cache, then serves it", function()
      assert(shop:down(1))
      open()
      assert.same({ 503, "0 % read\n" }, { get "/health" })
      assert.same({ 503, "0 % read\n" }, { get "/value/c" })
      assert(shop:up(1))
      program.await "^warm after 7 messages in [%d.]+ s$"
      assert.same({ 200, "warm\n" }, { get "/health" })
      assert.same({ 200, "3" }, { get "/value/a%2Fb" })
      assert.same({ 200, "2" }, { get "/value/c" })
      assert.same({ 200, "" }, { get "/value/d" })
      assert.equal(404, (get "/value/e"))
      assert.equal(404, (get "/value/f"))
      assert.equal(404, (get "/"))
      assert.equal(405, (select(2, http.request { url = address .. "/health", method = "DELETE" })))
    end)

    it("follows the topic, and serves others beside a client that asks nothing", function()
      open()
      program.await "^warm after "
      local silent = assert(socket.connect("127.0.0.1", (address:match ":(%d+)$")))
      assert(shop:produce("prices", { { key = "c", value = "live" }, { key = "a/b" } }))
      assert.is_true(reading.becomes(function() return select(2, get "/value/c") == "live" end, 20))
      assert.is_true(reading.becomes(function() return get "/value/a%2Fb" == 404 end, 20))
      silent:close()
      assert.equal(200, (get "/health"))
    end)

    it("ends when reading fails for good", function()
      if os.getenv "KH_LIBRDKAFKA" == "2.5.3" then
        pending "this librdkafka crashes at such an answer, in every client"
        return
      end
      assert(shop:topic_error("prices", "TOPIC_AUTHORIZATION_FAILED"))
      run("warm_up", "prices", "127.0.0.1:0")
      local text, status = output()
      assert.equal(1, status)
      assert.matches("TOPIC_AUTHORIZATION_FAILED", text)
    end)
  end)

  describe("join.lua", function()
    local function order(number, customer, total)
      return { key = number, value = json.encode { customer = customer, total = total } }
    end

    local function customer(number, name)
      return { key = number, value = json.encode { name = name } }
    end

    it("joins two histories once both are complete, then what comes live, whichever is first", function()
      open_shop { orders = 2, customers = 1 }
      assert(shop:produce("orders", { order("o1", "c1", 5), order("o2", "c2", 6), order("o3", "c9", 7),
        order("o4", "c1", 8), { key = "o4" }, order("o1", "c1", 9) }))
      assert(shop:produce("customers", { customer("c1", "Bob"), customer("c2", "Eve"),
        customer("c1", "Ada") }))
      run("join", "orders", "customers")
      program.await "^caught up after 9 messages; 1 orders without a customer$"
      assert.same({ "o1\tAda\t9.00", "o2\tEve\t6.00" }, { program.lines[1], program.lines[2] })

      assert(shop:produce("customers", customer("c9", "Joe")))
      assert.equal("o3\tJoe\t7.00", program.line())
      assert(shop:produce("orders", order("o5", "c2", 1.5)))
      assert.equal("o5\tEve\t1.50", program.line())
    end)
  end)

  describe("envelope.lua", function()
    local listener, registry

    -- Avro's way to write whole numbers from 0 on, up to 63, and strings.
    local function long(number) return string.char(2 * number) end
    local function text(value) return long(#value) .. value end
    local function envelope(id, payload) return ("\0\0\0\1" .. string.char(id)) .. payload end

    before_each(function()
      open_shop { orders = 1 }
      listener = assert(socket.bind("127.0.0.1", 0))
      listener:settimeout(20)
      registry = ("http://127.0.0.1:%d"):format(select(2, listener:getsockname()))
    end)

    after_each(function()
      listener:close()
    end)

    -- Answers one request; the path that it asked for.
    local function answer(status, body)
      local client = assert(listener:accept())
      client:settimeout(20)
      local path = client:receive("*l"):match "^GET (%S+) "
      repeat local line = client:receive "*l" until line == ""
      client:send(("HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s")
        :format(status, #body, body))
      client:close()
      return path
    end

    local avro = json.encode {
      type = "record", name = "order", namespace = "shop", fields = {
        { name = "state", type = { type = "enum", name = "state", symbols = { "new", "paid" } } },
        { name = "city", type = { "null", "string" } },
        { name = "items", type = { type = "array", items = "int" } },
        { name = "total", type = "double" },
        { name = "gift", type = "boolean" },
        { name = "change", type = "long" },
        { name = "parent", type = { "null", "shop.order" } },
      },
    }
    -- From the IEEE's tables: 12.5, -0.1 and 2^-1074.
    local doubles = { "\0\0\0\0\0\0\41\64", "\154\153\153\153\153\153\185\191", "\1\0\0\0\0\0\0\0" }

    it("decodes Avro and JSON by schemas that it asks for once", function()
      local child = long(0) .. long(0) .. long(0) .. doubles[2] .. "\0" .. "\3" .. long(0)
      local tiny = long(1) .. long(0) .. "\1" .. long(1) .. long(7) .. long(0) .. doubles[3] .. "\1"
        .. "\255\255\255\255\15" .. long(0)
      assert(shop:produce("orders", {
        { key = "a", value = envelope(2, long(1) .. long(1) .. text "Lima" .. long(2) .. long(3) .. long(4)
          .. long(0) .. doubles[1] .. "\1" .. "\128\2" .. long(1) .. child) },
        { key = "b", value = envelope(3, '{"total": 1.5}') },
        { key = "c", value = envelope(2, tiny) },
        { key = "a" },
      }))
      run("envelope", "orders", registry)
      assert.equal("/schemas/ids/258", answer("200 OK", json.encode { schema = avro }))
      assert.equal("/schemas/ids/259", answer("200 OK", json.encode { schemaType = "JSON", schema = "{}" }))
      program.await "^caught up after 4 messages$"
      assert.same({
        "a\tschema 258\t{change=128 city=Lima gift=true items=[3, 4] parent={change=-2 city=null gift=false "
          .. "items={} parent=null state=new total=-0.1} state=paid total=12.5}",
        "b\tschema 259\t{total=1.5}",
        "c\tschema 258\t{change=-2147483648 city=null gift=true items=[7] parent=null state=paid "
          .. "total=4.9406564584125e-324}",
        "a\tdeleted",
      }, { program.lines[1], program.lines[2], program.lines[3], program.lines[4] })
    end)

    it("waits for a registry that is away for a moment", function()
      assert(shop:produce("orders", { { key = "a", value = envelope(3, "[7]") } }))
      run("envelope", "orders", registry)
      answer("503 Service Unavailable", "")
      answer("200 OK", json.encode { schemaType = "JSON", schema = "{}" })
      program.await "^a\tschema 259\t%[7%]$"
      program.await "^caught up after 1 messages$"
    end)

    for name, case in pairs {
      ["that is in no envelope"] = { "{}", "not in a schema registry's envelope" },
      ["that ends too early"] = { "\0\0\0\1", "not in a schema registry's envelope" },
    } do
      it("stops at a message " .. name .. ", and says where it is", function()
        assert(shop:produce("orders", { case[1] }))
        run("envelope", "orders", registry)
        program.await("HANDLER: orders%[0%].*0.*" .. case[2])
        assert.equal(1, program.finish())
      end)
    end
  end)

  describe("latest.lua", function()
    it("shows each key once, with its last value, and then what comes live", function()
      open_shop { prices = 1 }
      assert(shop:produce("prices", {
        { key = "b", value = "1" }, { key = "a", value = "2" }, { key = "b", value = "3" },
        { key = "c", value = "4" }, { key = "c" }, { key = "d", value = "" }, { value = "no key" },
      }))
      run("latest", "prices")
      program.await "^caught up"
      assert.same({ "a\t2", "b\t3", "d\t", "nil\tno key", "caught up: 7 messages read, 4 handled" },
        program.lines)
      assert(shop:produce("prices", {
        { key = "a", value = "5" }, { key = "a", value = "6" }, { key = "b" },
      }))
      assert.same({ "a\t5", "a\t6", "b\tnil" }, { program.line(), program.line(), program.line() })
    end)
  end)

  describe("view.lua", function()
    it("holds the latest value of each key, is asked as a table, and follows the topic", function()
      open_shop { prices = 1 }
      assert(shop:produce("prices", {
        { key = "b", value = "1" }, { key = "a", value = "2" }, { key = "b", value = "3" },
        { key = "c", value = "4" }, { key = "c" }, { key = "d", value = "" },
      }))
      run("view", "prices")
      program.await "^d\t"
      assert.same({ "caught up after 6 messages: 3 keys", "a\t2\tprices[0] offset 1",
        "b\t3\tprices[0] offset 2", "d\t\tprices[0] offset 5" }, program.lines)
      assert(shop:produce("prices", {
        { key = "a", value = "5" }, { key = "c", value = "6" }, { key = "b" },
      }))
      assert.same({ "a: 2 -> 5", "c: nothing -> 6", "b: 3 -> nothing" },
        { program.line(), program.line(), program.line() })
    end)
  end)

  describe("host.c", function()
    local host = (rawget(_G, "jit") and build .. "/luajit" or build) .. "/examples/host"
    local input -- what the program's stdin is read from

    local function open(handler)
      local fifo = file_name()
      assert(os.execute("mkfifo " .. fifo))
      program = start("sh", "-c", 'exec "$0" "$1" "$2" bookings <"$3"', host, handler, shop:addresses(), fifo)
      input = assert(io.open(fifo, "w"))
      input:setvbuf "no"
    end

    after_each(function()
      if input then input:close() end
      input = nil
    end)

    it("runs a handler in Lua from its own loop, beside its own work", function()
      open_shop { bookings = 2 }
      assert(shop:produce("bookings", {
        { key = "ann", value = "1000" }, { key = "bob", value = "300" }, { key = "ann", value = "-250" },
      }))
      open "examples/handler.lua"
      assert.same({ "ann\t750", "bob\t300" }, { program.line(), program.line() })
      input:write "\n"
      assert.equal("caught_up, 3 messages", program.line())
      assert(shop:produce("bookings", { key = "ann", value = "1" }))
      assert.is_true(reading.becomes(function()
        input:write "\n"
        return program.line() == "caught_up, 4 messages"
      end, 20))
      input:close()
      input = nil
      assert.equal(0, program.finish())
    end)

    it("ends with the error of a handler that fails, or that cannot be loaded", function()
      open_shop { bookings = 1 }
      assert(shop:produce("bookings", { { key = "ann", value = "a lot" } }))
      open "examples/handler.lua"
      program.await "HANDLER: bookings%[0%].*not an amount"
      assert.equal(1, program.finish())
      input:close()
      open "examples/none.lua"
      program.await "cannot open examples/none.lua"
      assert.equal(1, program.finish())
      program = start(host)
      program.await "^usage: "
      assert.equal(2, program.finish())
    end)
  end)

  for name, arguments in pairs {
    dead_letter = { "a", "b" }, batch = { "a" }, warm_up = {}, join = { "a" }, envelope = { "a" }, view = {},
    latest = {},
  } do
    it(name .. ".lua says how it is used when an argument is missing", function()
      program = start(interpreter, ("examples/%s.lua"):format(name), arguments[1] and "k:9092", arguments[2])
      local text, status = output()
      assert.equal(1, status)
      assert.matches("usage: lua5.4 examples/" .. name .. ".lua ADDRESSES ", text)
    end)
  end
end)

describe("examples/handler.lua", function()
  it("is run by the command, without Kafka too", function()
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write('{"key":"ann","value":"1000"}\n{"key":"bob","value":"3"}\n{"key":"ann","value":"-250"}\n')
    file:close()
    local program = start("env", "KAFKA_HISTORY_LUA=" .. interpreter, "bin/kafka-history", "--embedded", name,
      "-t", "bookings", "--until", "caught-up", "examples/handler.lua")
    local status = program.finish()
    os.remove(name)
    assert.same({ "ann\t750", "bob\t3", "=0" }, program.lines)
    assert.equal(0, status)
  end)
end)

describe("the spec of examples/handler.lua", function()
  it("passes, as busted runs it", function()
    local busted = io.popen("command -v busted"):read "*l"
    local first = io.open(busted):read "*l"
    local program
    if first:find "lua" then
      program = start(interpreter, busted, "--ignore-lua", "-o", "TAP", "examples/handler_spec.lua")
    else
      program = start(busted, "--lua=" .. interpreter, "-o", "TAP", "examples/handler_spec.lua")
    end
    local status = program.finish()
    local text = table.concat(program.lines, "\n")
    assert.equal(0, status, text)
    assert.matches("\n1%.%.6\n", text)
  end)
end)
