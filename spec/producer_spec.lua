-- kafka_history.producer, against the in-process broker; kcat reads what it sent.
local broker = require "kafka_history.broker"
local child = require "support.child"
local library = require "support.library"
local producer = require "kafka_history.producer"

local function kcat(arguments)
  return child.output(library.outside .. "kcat " .. arguments)
end

local function now()
  return tonumber(child.output("date +%s.%N"))
end

-- One line a message, in a partition's order.
local function read(addresses, topic, format)
  return kcat(("-C -b %s -t %s -o beginning -e -q -X fetch.wait.max.ms=10 -f '%s\\n'")
    :format(addresses, topic, format or "%K:%k %S:%s"))
end

local is_luajit = rawget(_G, "jit") ~= nil

-- A port where nobody listens.
local NOBODY = "127.0.0.1:1"

describe("a producer", function()
  local b, p

  before_each(function()
    b = assert(broker.new { topics = { t = 1, many = 4 } })
  end)

  after_each(function()
    if p then p:close() end
    p = nil
    b:close()
  end)

  local function new(config)
    config = config or {}
    config.addresses = config.addresses or b:addresses()
    p = assert(producer.new(config))
    return p
  end

  it("delivers messages as they were given, null and empty told apart", function()
    new()
    assert.is_true(p:send("t", { key = "k", value = "v" }))
    assert.is_true(p:send("t", { key = "", value = "" }))
    assert.is_true(p:send("t", {}))
    assert.is_true(p:send("t", "plain"))
    assert.is_true(p:flush())
    assert.equal("1:k 1:v\n0: 0:\n-1: -1:\n-1: 5:plain\n", read(b:addresses(), "t"))
  end)

  it("delivers headers, timestamp and partition as they were given", function()
    new()
    assert(p:send("many", {
      value = "v", partition = 3, timestamp = 1234567890123,
      headers = { { name = "a", value = "1" }, { name = "a" }, { name = "b", value = "" } },
    }))
    assert(p:flush())
    assert.equal("3 1234567890123 a=1,a=NULL,b=\n", read(b:addresses(), "many", "%p %T %h"))
  end)

  it("takes addresses as an array, and options as librdkafka's properties", function()
    new {
      addresses = { NOBODY, b:addresses() }, client_id = "spec",
      options = { ["linger.ms"] = 0, acks = "all", ["enable.idempotence"] = true, ["batch.size"] = 1000.0 },
    }
    assert(p:send("t", "v"))
    assert.is_true(p:flush(10))
    assert.matches("^kafka_history.producer: spec#producer%-", tostring(p))
  end)

  describe("reports", function()
    it("the first failure since the last flush, and how many there were", function()
      new { options = { ["max.in.flight.requests.per.connection"] = 1, ["batch.num.messages"] = 1 } }
      assert(p:send("t", "first"))
      assert(p:flush())
      b:error("Produce", { "MSG_SIZE_TOO_LARGE", "INVALID_REQUIRED_ACKS" })
      for i = 1, 3 do assert(p:send("t", tostring(i))) end
      local ok, err, code = p:flush()
      assert.is_nil(ok)
      assert.equal("MSG_SIZE_TOO_LARGE", code)
      assert.matches("^MSG_SIZE_TOO_LARGE: 2 messages were not delivered; the first to topic 't' %[0%]: ",
        err)
      assert.is_true(p:flush())
      assert.equal("-1: 5:first\n-1: 1:3\n", read(b:addresses(), "t"))
    end)

    it("why nobody could be reached", function()
      new { addresses = NOBODY, options = { ["message.timeout.ms"] = 400 } }
      assert(p:send("t", "v"))
      assert.same({ nil, "timeout", "TIMEOUT" }, { p:flush(0.1) })
      local ok, err, code = p:flush(10)
      assert.same({ nil, "_MSG_TIMED_OUT" }, { ok, code })
      assert.matches("1 message was not delivered", err)
      assert.matches("librdkafka says: .*127%.0%.0%.1:1", err)
      assert.is_true(p:flush())
    end)

    it("a full queue after a bounded wait, and has room again when messages left", function()
      b:down(1)
      new { options = {
        ["queue.buffering.max.messages"] = 2,
        ["reconnect.backoff.ms"] = 10, ["reconnect.backoff.max.ms"] = 50,
      } }
      assert(p:send("t", "1"))
      assert(p:send("t", "2"))
      local started = now()
      local ok, err, code = p:send("t", "3", 0.3)
      local took = now() - started
      assert.same({ nil, "_QUEUE_FULL" }, { ok, code })
      assert.matches("queue.buffering.max.messages", err)
      assert.is_true(took >= 0.3 and took < 2)
      b:up(1)
      assert.is_true(p:send("t", "4", 10))
      assert.is_true(p:flush(10))
      assert.equal("-1: 1:1\n-1: 1:2\n-1: 1:4\n", read(b:addresses(), "t"))
    end)

    it("a message that is too large, and a partition that is not there", function()
      new { options = { ["message.max.bytes"] = 1000 } }
      local ok, err, code = p:send("t", ("x"):rep(2000))
      assert.same({ nil, "MSG_SIZE_TOO_LARGE" }, { ok, code })
      assert.matches("cannot send to topic 't'", err)
      -- It is told at once if the topic's partitions are known by now, and else by flush.
      ok, err, code = p:send("t", { partition = 7 })
      if ok then
        ok, err, code = p:flush()
        assert.matches("topic 't' %[7%]", err)
      end
      assert.same({ nil, "_UNKNOWN_PARTITION" }, { ok, code })
      assert.matches("topic 't'", err)
    end)

    it("a client that cannot be made, as an error and not by raising", function()
      local made, err, code = producer.new {
        addresses = NOBODY,
        options = { ["security.protocol"] = "ssl", ["ssl.ca.location"] = "/no/such/file" },
      }
      assert.is_nil(made)
      assert.matches("ssl.ca.location", err)
      assert.equal(code .. ":", err:match("^%S+"))
    end)
  end)

  it("shows a secret nowhere, whatever becomes of it", function()
    for property, options in pairs {
      ["ssl.key.pem"] = { ["security.protocol"] = "ssl" },
      ["ssl.keystore.password"] = {
        ["security.protocol"] = "ssl", ["ssl.keystore.location"] = "/no/such/file",
      },
      ["sasl.oauthbearer.config"] = {
        ["security.protocol"] = "sasl_plaintext", ["sasl.mechanism"] = "OAUTHBEARER",
        ["enable.sasl.oauthbearer.unsecure.jwt"] = true, ["message.timeout.ms"] = 100,
      },
    } do
      options[property] = "hunter2"
      local words
      local ok, made, err = pcall(producer.new, { addresses = b:addresses(), options = options })
      if ok and made then
        made:send("t", "v")
        words = { tostring(made), select(2, made:flush(3)) }
        assert.truthy(words[2])
        made:close()
      else
        words = { tostring(made), tostring(err) }
      end
      assert.is_nil(table.concat(words, " "):find("hunter2", 1, true), property)
    end
  end)

  describe("in a transaction", function()
    it("commits, aborts, and goes on", function()
      new { transactional_id = "tx" }
      assert.is_true(p:begin())
      assert(p:send("t", "1"))
      assert.is_true(p:commit())
      assert.is_true(p:begin())
      assert(p:send("t", "2"))
      assert.is_true(p:abort())
      assert.is_true(p:begin())
      assert(p:send("t", "3"))
      assert.is_true(p:commit())
      assert.is_true(p:flush())
      local got = read(b:addresses(), "t")
      assert.matches("^%-1: 1:1\n", got)
      assert.matches("%-1: 1:3\n$", got)
    end)

    it("is over for good when another producer took its transactional_id", function()
      new { transactional_id = "tx" }
      assert(p:begin())
      assert(p:send("t", "1"))
      b:error("EndTxn", "PRODUCER_FENCED")
      local ok, err, code = p:commit()
      assert.is_nil(ok)
      assert.equal(code .. ":", err:match("^%S+"))
      assert.matches("commit: .*close this producer and make another", err)
      ok, err, code = p:send("t", "2")
      assert.is_nil(ok)
      assert.matches("close it, make another", err)
      assert.equal(code .. ":", err:match("^%S+"))
    end)

    it("must be aborted when a message of it failed, and then can begin again", function()
      new { transactional_id = "tx" }
      assert(p:begin())
      b:error("Produce", "MSG_SIZE_TOO_LARGE")
      assert(p:send("t", "1"))
      local ok, err = p:commit()
      assert.is_nil(ok)
      assert.matches("call abort%(%) and repeat the transaction", err)
      assert.is_true(p:abort())
      assert.is_true(p:flush())
      -- No further than that: the in-process broker does not take the new sequence of messages.
      assert.is_true(p:begin())
    end)

    it("says that nobody answers, and begins when somebody does", function()
      b:down(1)
      new {
        transactional_id = "tx",
        options = { ["reconnect.backoff.ms"] = 10, ["reconnect.backoff.max.ms"] = 50 },
      }
      local ok, err, code = p:begin(0.5)
      assert.same({ nil, "_TIMED_OUT" }, { ok, code })
      assert.matches("begin%(%) again", err)
      assert.matches("librdkafka says: .*refused", err)
      b:up(1)
      for _ = 1, 20 do
        ok, err = p:begin(5)
        if ok then break end
      end
      assert.is_true(ok, err)
      assert(p:send("t", "1"))
      assert.is_true(p:commit())
    end)
  end)

  describe("raises, and says what is wrong, for", function()
    local function raises(text, call, ...)
      local ok, err = pcall(call, ...)
      assert.is_false(ok)
      assert.is_truthy(err:find(text, 1, true), err)
      return err
    end

    it("a configuration that makes no sense", function()
      raises("its argument must be a table { addresses = }, not a string",
        producer.new, "127.0.0.1:9092")
      raises("addresses must be \"host:port,host:port\" or an array of \"host:port\", not nil",
        producer.new, {})
      raises("addresses must be", producer.new, { addresses = {} })
      raises("not a number (9092)", producer.new, { addresses = { 9092 } })
      raises("a key must be addresses, client_id, transactional_id or options, not a string (\"adresses\")",
        producer.new, { adresses = NOBODY })
      raises("client_id must be a string that is not empty, not a number (1)",
        producer.new, { addresses = NOBODY, client_id = 1 })
      raises("transactional_id must be a string",
        producer.new, { addresses = NOBODY, transactional_id = "" })
      raises("options must be a table", producer.new, { addresses = NOBODY, options = "x" })
      raises("a property in options must be a string, not a number (1)",
        producer.new, { addresses = NOBODY, options = { "x" } })
      raises("options['linger.ms'] must be a string, a number or a boolean, not a table", producer.new,
        { addresses = NOBODY, options = { ["linger.ms"] = {} } })
      raises("No such configuration property: \"lingerms\"; did you mean \"linger.ms\"?",
        producer.new, { addresses = NOBODY, options = { lingerms = 1 } })
      raises("is outside allowed range",
        producer.new, { addresses = NOBODY, options = { ["linger.ms"] = -5 } })
      raises("options['bootstrap.servers'] is set with the key addresses", producer.new,
        { addresses = NOBODY, options = { ["bootstrap.servers"] = "x" } })
    end)

    it("an unknown property by its name, even if it looks like a secret", function()
      local err = raises("No such configuration property: \"sasl.passwort.secret\"", producer.new,
        { addresses = NOBODY, options = { ["sasl.passwort.secret"] = "hunter2" } })
      assert.is_nil(err:find("hunter2", 1, true))
    end)

    it("a message or a topic that makes no sense", function()
      new()
      raises("send: key must be a string or nil (Kafka's null), not a number (1)",
        p.send, p, "t", { key = 1 })
      raises("send: a message must be a table or a string (its value), not nil", p.send, p, "t")
      raises("send: a field must be key, value, headers, timestamp or partition, not a string (\"topic\")",
        p.send, p, "t", { topic = "t" })
      raises("send: the topic must be a string of", p.send, p, "no topic", "v")
      raises("send: the topic must be a string of", p.send, p, nil, "v")
      raises("send: the time must be a number of seconds", p.send, p, "t", "v", "1")
      raises("flush: the time must be a number of seconds", p.flush, p, -1)
    end)

    it("transactions that it has not, or in the wrong order", function()
      new()
      raises("begin: this producer has no transactions; make it with a transactional_id", p.begin, p)
      raises("commit: this producer has no transactions", p.commit, p)
      p:close()
      new { transactional_id = "tx" }
      raises("commit: no transaction is open; begin() one first", p.commit, p)
      raises("abort: no transaction is open", p.abort, p)
      assert(p:begin())
      raises("begin: a transaction is open; commit() or abort() it first", p.begin, p)
    end)
  end)

  describe("ends", function()
    it("once, with everything delivered, and answers \"closed\" from then on", function()
      new { options = { ["linger.ms"] = 1000 } }
      for _ = 1, 3 do assert(p:send("t", "v")) end
      assert.is_true(p:close())
      assert.is_true(p:close())
      for _, method in ipairs { "send", "flush", "begin", "commit", "abort" } do
        assert.same({ nil, "closed", "CLOSED" }, { p[method](p, "t", "v") })
      end
      assert.equal("kafka_history.producer: closed", tostring(p))
      assert.equal(("-1: 1:v\n"):rep(3), read(b:addresses(), "t"))
    end)

    it("within 5 seconds when nobody takes its messages", function()
      new { addresses = NOBODY }
      assert(p:send("t", "v"))
      local started = now()
      assert.is_true(p:close())
      assert.is_true(now() - started < 5.5)
    end)

    it("its open transaction, so that no reader waits for it", function()
      new { transactional_id = "tx" }
      assert(p:begin())
      assert(p:send("t", "v"))
      b:error("EndTxn", { "NO_ERROR" })
      assert.is_true(p:close())
      -- Who comes next under the same name finds nothing to wait for.
      new { transactional_id = "tx" }
      assert.is_true(p:begin(5))
    end)

    it("when it is collected, without keeping the collector waiting", function()
      local weak = setmetatable({}, { __mode = "k" })
      for _ = 1, 5 do
        local made = assert(producer.new { addresses = NOBODY })
        assert(made:send("t", "v"))
        weak[made] = true
      end
      local started = now()
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
      assert.is_true(now() - started < 1)
    end)

    it("at the end of a block, by <close>", function()
      if is_luajit then return pending("Lua 5.4 only") end
      new()
      load("local given = ... local closed <close> = given")(p)
      assert.same({ nil, "closed", "CLOSED" }, { p:flush() })
    end)

    it("only in its own process: a forked child can neither use nor harm it", function()
      if not is_luajit then return pending("needs LuaJIT's ffi to fork") end
      local ffi = require "ffi"
      pcall(ffi.cdef, "int fork(void); int waitpid(int, int *, int); void _exit(int);")
      new()
      local pid = ffi.C.fork()
      if pid == 0 then
        local ok, err = pcall(p.flush, p)
        local close_ok = pcall(p.close, p)
        debug.getmetatable(p).__gc(p)
        ffi.C._exit(not ok and err:find("fork", 1, true) and not close_ok and 0 or 1)
      end
      local status = ffi.new("int[1]")
      assert.equal(pid, ffi.C.waitpid(pid, status, 0))
      assert.equal(0, status[0])
      assert(p:send("t", "still here"))
      assert.is_true(p:flush())
    end)
  end)
end)
