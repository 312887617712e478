-- kafka_history.broker. What it stores is read back by kcat, a program that knows nothing of it.
local broker = require "kafka_history.broker"
local child = require "support.child"
local library = require "support.library"
local producer = require "kafka_history.producer"

local is_luajit = rawget(_G, "jit") ~= nil
local interpreter = is_luajit and "luajit" or "lua5.4"

local function kcat(arguments)
  return child.output(library.outside .. "kcat " .. arguments)
end

local function now()
  return tonumber(child.output("date +%s.%N"))
end

-- All messages of a partition as kcat reads them; a length of -1 is null.
local function read(addresses, topic, partition, options)
  local bytes = kcat(("-C -b %s -t %s -p %d -o beginning -e -q -X fetch.wait.max.ms=10 %s -f "
    .. "'%%o %%T %%K %%S %%h\\n%%k%%s\\n'"):format(addresses, topic, partition, options or ""))
  local messages, at = {}, 1
  while at <= #bytes do
    local _, stop, offset, timestamp, key, value, headers =
      bytes:find("^(%d+) (%-?%d+) (%-?%d+) (%-?%d+) ([^\n]*)\n", at)
    key, value = tonumber(key), tonumber(value)
    at = stop + 1
    local message = { offset = tonumber(offset), timestamp = tonumber(timestamp), headers = headers }
    if key >= 0 then
      message.key = bytes:sub(at, at + key - 1)
      at = at + key
    end
    if value >= 0 then
      message.value = bytes:sub(at, at + value - 1)
      at = at + value
    end
    at = at + 1
    messages[#messages + 1] = message
  end
  return messages
end

local function watermarks(addresses, topic, partition)
  local function ask(what)
    local answer = kcat(("-Q -b %s -t %s:%d:%d"):format(addresses, topic, partition, what))
    return tonumber(answer:match("offset (%d+)"))
  end
  return ask(-2), ask(-1)
end

local function random_bytes(count)
  local file = assert(io.open("/dev/urandom", "rb"))
  local bytes = file:read(count)
  file:close()
  return bytes
end

describe("an in-process broker", function()
  local made

  local function new(config)
    made = assert(broker.new(config))
    return made
  end

  after_each(function()
    if made then made:close() end
    made = nil
  end)

  describe("stores", function()
    it("keys and values byte by byte, and tells null from empty", function()
      local all = {}
      for byte = 0, 255 do all[#all + 1] = string.char(byte) end
      all = table.concat(all)
      local b = new { topics = { t = 1 } }
      assert.equal(6, b:produce("t", {
        { key = all, value = all },
        { key = "", value = "" },
        { key = "only" },
        { value = "only" },
        {},
        "plain",
      }))
      local got = read(b:addresses(), "t", 0)
      assert.equal(6, #got)
      assert.same({ all, all }, { got[1].key, got[1].value })
      assert.same({ "", "" }, { got[2].key, got[2].value })
      assert.same({ "only", nil }, { got[3].key, got[3].value })
      assert.is_nil(got[3].value)
      assert.is_nil(got[4].key)
      assert.equal("only", got[4].value)
      assert.is_nil(got[5].key)
      assert.is_nil(got[5].value)
      assert.is_nil(got[6].key)
      assert.equal("plain", got[6].value)
    end)

    it("headers in order, with duplicates, empty and null values", function()
      local b = new { topics = { t = 1 } }
      assert(b:produce("t", { headers = {
        { name = "a", value = "1" }, { name = "b", value = "" }, { name = "a" }, { name = "a", value = "2" },
      } }))
      assert.equal("a=1,b=,a=NULL,a=2", read(b:addresses(), "t", 0)[1].headers)
    end)

    it("a given timestamp, and the time of now without one", function()
      local b = new { topics = { t = 1 } }
      local before = now() * 1000
      assert(b:produce("t", { { value = "x", timestamp = 1234567890123 }, "y" }))
      local got = read(b:addresses(), "t", 0)
      assert.equal(1234567890123, got[1].timestamp)
      assert.is_true(got[2].timestamp >= before - 1000 and got[2].timestamp <= before + 10000)
    end)

    it("one message that is not in an array, and none of an empty array", function()
      local b = new { topics = { t = 1 } }
      assert.equal(1, b:produce("t", { key = "k" }))
      assert.equal(1, b:produce("t", "v"))
      assert.equal(0, b:produce("t", {}))
      assert.equal(2, #read(b:addresses(), "t", 0))
    end)

    it("a message in the partition it names", function()
      local b = new { topics = { t = 3 } }
      assert(b:produce("t", { { value = "b", partition = 1 }, { value = "c", partition = 2 } }))
      assert.same({ 0, 1, 1 }, {
        #read(b:addresses(), "t", 0), #read(b:addresses(), "t", 1), #read(b:addresses(), "t", 2),
      })
    end)

    it("a key where librdkafka's partitioner sends it", function()
      local b = new { topics = { ours = 5, theirs = 5 } }
      local messages, lines = {}, {}
      for i = 1, 200 do
        messages[i] = { key = "key" .. i, value = "v" }
        lines[i] = "key" .. i .. ":v"
      end
      assert(b:produce("ours", messages))
      local pipe = assert(io.popen(library.outside .. "kcat -K : -P -t theirs -b "
        .. b:addresses(), "w"))
      pipe:write(table.concat(lines, "\n"), "\n")
      pipe:close()
      for partition = 0, 4 do
        local ours, theirs = read(b:addresses(), "ours", partition), read(b:addresses(), "theirs", partition)
        assert.is_true(#ours > 0)
        for i = 1, math.max(#ours, #theirs) do assert.equal(theirs[i].key, ours[i].key) end
      end
    end)

    it("messages without a key in each partition in turn, from call to call", function()
      local b = new { topics = { t = 3 } }
      assert(b:produce("t", { "0", "1" }))
      assert(b:produce("t", { "2", "3", "4" }))
      local function values(partition)
        local list = {}
        for i, message in ipairs(read(b:addresses(), "t", partition)) do list[i] = message.value end
        return table.concat(list, " ")
      end
      assert.same({ "0 3", "1 4", "2" }, { values(0), values(1), values(2) })
    end)

    it("in a hundred partitions, made and filled in a moment", function()
      local messages = {}
      for i = 1, 180 do messages[i] = tostring(i) end
      local started = now()
      local b = new { topics = { one = 60, two = 60 }, brokers = 3 }
      assert.equal(180, b:produce("one", messages))
      assert.is_true(now() - started < 5)
      assert.same({ 0, 3 }, { watermarks(b:addresses(), "one", 59) })
    end)

    it("many messages in their order, spread over several leaders", function()
      local b = new { topics = { t = 4 }, brokers = 3 }
      local messages = {}
      for i = 1, 40000 do messages[i] = { value = tostring(i), partition = i % 4 } end
      assert.equal(40000, b:produce("t", messages))
      for partition = 0, 3 do
        local got = read(b:addresses(), "t", partition)
        assert.equal(10000, #got)
        for i, message in ipairs(got) do
          local expected = (partition == 0 and 4 or partition) + (i - 1) * 4
          assert.equal(tostring(expected), message.value)
        end
      end
    end)
  end)

  describe("that is full", function()
    -- Fills partition 0 by calls of `count` messages until there is no room.
    local function fill(b, count, value_of)
      local stored, number = 0, 0
      for _ = 1, 1000 do
        local messages = {}
        for i = 1, count do
          number = number + 1
          messages[i] = { key = tostring(number), value = value_of(number), partition = 0 }
        end
        local n, err, code, part = b:produce("t", messages, { timeout = 60 })
        if not n then
          assert.equal("FULL", code)
          return stored + part, err
        end
        assert.equal(count, n)
        stored = stored + count
      end
      error("never full")
    end

    local function assert_nothing_is_lost(b, stored)
      assert.same({ 0, stored }, { watermarks(b:addresses(), "t", 0) })
      local got = read(b:addresses(), "t", 0)
      assert.equal(stored, #got)
      for i, message in ipairs(got) do assert.equal(tostring(i), message.key) end
    end

    it("says FULL rather than lose what cannot be compressed", function()
      local b = new { topics = { t = 2 } }
      local stored, err = fill(b, 700, function() return random_bytes(1000) end)
      assert.is_true(stored * 1000 > 4.5 * 1024 * 1024)
      assert.matches("^FULL: topic 't' %[0%]", err)
      assert.matches("new broker", err)
      assert_nothing_is_lost(b, stored)
      assert.equal(1, b:produce("t", { value = "other", partition = 1 }))
    end)

    it("has compressed before, and lost nothing then either", function()
      local b = new { topics = { t = 1 } }
      local stored = fill(b, 5000, function() return random_bytes(250) .. ("x"):rep(2250) end)
      assert.is_true(stored * 2500 > 30 * 1024 * 1024)
      assert_nothing_is_lost(b, stored)
    end)

    it("takes what fits beside it: a first part, counted in the error", function()
      local b = new { topics = { t = 1 } }
      local messages = { { key = "1", value = "small" } }
      for i = 2, 10 do messages[i] = { key = tostring(i), value = random_bytes(1000000) } end
      local n, err, code, stored = b:produce("t", messages)
      assert.is_nil(n)
      assert.equal("FULL", code)
      assert.equal(6, stored)
      assert.matches("no room for message 7 ", err)
      assert.matches("Of this call's 10 messages 6 were stored", err)
      assert_nothing_is_lost(b, 6)
    end)

    it("refuses a message that no partition could ever hold", function()
      local b = new { topics = { t = 1 } }
      local n, _, code, stored = b:produce("t", ("x"):rep(6 * 1024 * 1024))
      assert.same({ nil, "FULL", 0 }, { n, code, stored })
      assert.equal(1, b:produce("t", ("x"):rep(5 * 1024 * 1024 - 1000)))
      assert.same({ 0, 1 }, { watermarks(b:addresses(), "t", 0) })
    end)

    it("is not so after a thousand batches of one message", function()
      local b = new { topics = { t = 1 } }
      for i = 1, 1000 do assert(b:produce("t", tostring(i))) end
      assert.same({ 0, 1000 }, { watermarks(b:addresses(), "t", 0) })
    end)
  end)

  describe("has faults:", function()
    local function leaders(b)
      local found = {}
      local listing = kcat("-L -b " .. b:addresses() .. " -t t")
      for partition, leader in listing:gmatch("partition (%d+), leader (%-?%d+)") do
        found[tonumber(partition) + 1] = tonumber(leader)
      end
      return found
    end

    it("leaders are known, can move and be missing", function()
      local b = new { topics = { t = 4 }, brokers = 3 }
      assert.same({ 1, 2, 3, 1 }, leaders(b))
      assert.is_true(b:leader("t", 1, 3))
      assert.is_true(b:leader("t", 2, nil))
      assert.same({ 1, 3, -1, 1 }, leaders(b))
      assert.equal(1, b:produce("t", { partition = 1 }))
    end)

    it("what nobody leads does not arrive within the timeout, and later does", function()
      local b = new { topics = { t = 1 } }
      assert(b:produce("t", "before"))
      b:leader("t", 0, false)
      local started = now()
      local n, err, code, stored = b:produce("t", "lost", { timeout = 0.3 })
      assert.same({ nil, "_MSG_TIMED_OUT", 0 }, { n, code, stored })
      assert.matches("topic 't' %[0%]", err)
      assert.is_true(now() - started < 3)
      b:leader("t", 0, 1)
      assert.equal(1, b:produce("t", "after"))
      local got = read(b:addresses(), "t", 0)
      assert.same({ 2, "before", "after" }, { #got, got[1].value, got[2].value })
    end)

    it("a broker goes down and comes up with what it had", function()
      local b = new { topics = { t = 1 } }
      assert(b:produce("t", "kept"))
      assert.is_true(b:down(1))
      local _, err, code = b:produce("t", "lost", { timeout = 0.5 })
      assert.equal("_MSG_TIMED_OUT", code)
      assert.matches("librdkafka says: ", err)
      assert.equal("", kcat("-L -m 1 -b " .. b:addresses() .. " 2>/dev/null"))
      assert.is_true(b:up(1))
      assert.equal(1, b:produce("t", "more"))
      assert.equal(2, #read(b:addresses(), "t", 0))
    end)

    it("answers come late", function()
      local b = new { topics = { t = 1 } }
      assert.is_true(b:round_trip_time(1, 0.4))
      local started = now()
      assert.equal(1, b:produce("t", "slow"))
      assert.is_true(now() - started >= 0.4)
      assert.is_true(b:round_trip_time(1, 0))
    end)

    it("injected errors that pass are survived, in order, and others are reported", function()
      local b = new { topics = { t = 1 } }
      assert.is_true(b:error("Produce", { "NOT_LEADER_FOR_PARTITION", 7, "_TRANSPORT" }))
      assert.equal(3, b:produce("t", { "1", "2", "3" }))
      local got = read(b:addresses(), "t", 0)
      assert.same({ 3, "1", "3" }, { #got, got[1].value, got[3].value })
      assert.is_true(b:error(0, "MSG_SIZE_TOO_LARGE"))
      local n, err, code, stored = b:produce("t", "4")
      assert.same({ nil, "MSG_SIZE_TOO_LARGE", 0 }, { n, code, stored })
      assert.matches("topic 't' %[0%].*0 of 1 messages were stored", err)
      assert.is_true(b:error("Produce", { "MSG_SIZE_TOO_LARGE", "MSG_SIZE_TOO_LARGE" }))
      assert.is_true(b:clear_errors("Produce"))
      assert.equal(1, b:produce("t", "5"))
    end)

    it("a topic's metadata reports an error, until it does not", function()
      local b = new { topics = { t = 1 } }
      assert.is_true(b:topic_error("t", "TOPIC_AUTHORIZATION_FAILED"))
      assert.matches("authorization failed", kcat("-L -b " .. b:addresses() .. " -t t 2>/dev/null"))
      assert.is_true(b:topic_error("t", nil))
      assert.same({ 1 }, leaders(b))
    end)

    it("a follower is read instead of the leader, as far as it has come", function()
      local b = new { topics = { t = 1 }, brokers = 2 }
      assert(b:produce("t", "first"))
      assert(b:produce("t", "second"))
      -- Without end, as a client waits for a follower: whom it asks, and what it got.
      local function follow()
        local log = os.tmpname()
        local got = child.output(library.outside ..
          ("timeout 1 kcat -C -b %s -t t -p 0 -o beginning -u -q -d fetch 2>%s"):format(b:addresses(), log))
        local asked = child.output("cat " .. log):find("/2: Fetch topic t [0]", 1, true) ~= nil
        os.remove(log)
        return asked, got
      end
      assert.same({ false, "first\nsecond\n" }, { follow() })
      assert.is_true(b:follower("t", 0, 2))
      assert.is_true(b:follower_watermarks("t", 0, 0, 0))
      assert.same({ true, "first\n" }, { follow() })
      assert.is_true(b:follower_watermarks("t", 0, nil, nil))
      assert.same({ true, "first\nsecond\n" }, { follow() })
      assert.is_true(b:follower("t", 0, nil))
      assert.same({ false, "first\nsecond\n" }, { follow() })
      assert.is_true(b:rack(2, "r2"))
    end)
  end)

  describe("raises, and says what is wrong, for", function()
    local function raises(text, call, ...)
      local ok, err = pcall(call, ...)
      assert.is_false(ok)
      assert.is_truthy(err:find(text, 1, true), err)
    end

    it("a configuration that makes no sense", function()
      raises("its argument must be a table", broker.new)
      raises("topics must be a table", broker.new, {})
      raises("a key must be topics or brokers, not a string (\"topic\")", broker.new, { topic = {} })
      raises("topics['t'] must be a whole number from 1 to 10000, not a number (0)",
        broker.new, { topics = { t = 0 } })
      raises("topics['t'] must be a whole number", broker.new, { topics = { t = 1.5 } })
      raises("topics['t'] must be a whole number from 1 to 10000, not a string (\"3\")",
        broker.new, { topics = { t = "3" } })
      raises("a topic's name must be", broker.new, { topics = { "orders" } })
      raises("a topic's name must be", broker.new, { topics = { ["or ders"] = 1 } })
      raises("a topic's name must be", broker.new, { topics = { [("x"):rep(250)] = 1 } })
      raises("brokers must be a whole number from 1 to 100, not a number (101)",
        broker.new, { topics = {}, brokers = 101 })
    end)

    it("a message that makes no sense, before any is stored", function()
      local b = new { topics = { t = 1 } }
      local function message(bad)
        return function() return b:produce("t", { "fine", bad }) end
      end
      raises("message 2: key must be a string or nil (Kafka's null), not a number (42)",
        message { key = 42 })
      raises("message 2: value must be a string or nil (Kafka's null), not a boolean (true)",
        message { value = true })
      raises("message 2: a message must be a table or a string (its value), not a number (7)",
        message(7))
      raises("2: a field must be key, value, headers, timestamp or partition, not a string (\"vlaue\")",
        message { vlaue = "x" })
      raises("message 2: timestamp must be", message { timestamp = 0 })
      raises("message 2: timestamp must be", message { timestamp = "1" })
      raises("message 2: partition must be", message { partition = -1 })
      raises("message 2: topic 't' has no partition 1", message { partition = 1 })
      raises("message 2: headers must be an array", message { headers = "x" })
      raises("message 2: headers must be an array", message { headers = { a = "x" } })
      raises("message 2: a header must be a table { name = , value = }, not a string",
        message { headers = { "x" } })
      raises("message 2: a header's name must be a string, not nil", message { headers = { {} } })
      raises("message 2: a header's value must be a string or nil (Kafka's null), not a number (1)",
        message { headers = { { name = "x", value = 1 } } })
      raises("message 2: a header's field must be name or value",
        message { headers = { { name = "x", val = "" } } })
      raises("message 1: value must be", b.produce, b, "t", { value = 1 })
      raises("messages must be an array without holes",
        b.produce, b, "t", { [1] = "a", [3] = "c", [1000] = "d" })
      raises("messages must be an array of messages, a message or a string, not nil", b.produce, b, "t")
      raises("the topic must be one that was named in broker.new, not a string (\"x\")",
        b.produce, b, "x", {})
      raises("the topic must be one that was named in broker.new, not a number (1)", b.produce, b, 1, {})
      raises("an option must be timeout", b.produce, b, "t", {}, { time = 1 })
      raises("timeout must be a number of seconds", b.produce, b, "t", {}, { timeout = -1 })
      assert.same({ 0, 0 }, { watermarks(b:addresses(), "t", 0) })
    end)

    it("a fault that makes no sense", function()
      local b = new { topics = { t = 1 } }
      raises("leader: the partition must be a whole number from 0 to 0, not a number (1)",
        b.leader, b, "t", 1, 1)
      raises("leader: the broker's id must be a whole number from 1 to 1, not a number (2)",
        b.leader, b, "t", 0, 2)
      raises("down: the broker's id must be", b.down, b)
      raises("up: the broker's id must be", b.up, b, "1")
      raises("round_trip_time: the time must be", b.round_trip_time, b, 1, "1")
      raises("error: the API must be its number or one of Produce, Fetch", b.error, b, "Fetsch", 1)
      raises("error: an error must be its number or librdkafka's name",
        b.error, b, "Fetch", { "NOT_A_LEADER" })
      raises("error: an error must be", b.error, b, "Fetch")
      raises("clear_errors: the API must be", b.clear_errors, b)
      raises("topic_error: an error must be", b.topic_error, b, "t", "NOPE")
      raises("rack: the rack must be a string, not nil", b.rack, b, 1)
      raises("the high watermark must be", b.follower_watermarks, b, "t", 0, 0, -5)
      raises("the topic must be one", b.follower, b, "x", 0, 1)
    end)

    it("something that is no broker", function()
      local b = new { topics = {} }
      raises("kafka_history.broker", b.addresses, {})
      raises("kafka_history.broker", b.close, io.stdout)
    end)
  end)

  describe("ends", function()
    it("once, and answers \"closed\" from then on", function()
      local b = new { topics = { t = 1 } }
      assert.matches("^kafka_history.broker: 127.0.0.1:%d+$", tostring(b))
      assert.is_true(b:close())
      assert.is_true(b:close())
      for _, method in ipairs {
        "addresses", "produce", "leader", "follower", "follower_watermarks", "down", "up", "round_trip_time",
        "rack", "error", "clear_errors", "topic_error",
      } do
        assert.same({ nil, "closed", "CLOSED" }, { b[method](b, "t", 0, 1) })
      end
      assert.equal("kafka_history.broker: closed", tostring(b))
    end)

    it("beside clients that are alive, and are not harmed", function()
      local b = new { topics = { t = 1 } }
      local p = assert(producer.new {
        addresses = b:addresses(), options = { ["message.timeout.ms"] = 3000 },
      })
      assert(p:send("t", "x"))
      assert(p:flush(10))
      local started = now()
      b:close()
      assert.is_true(now() - started < 2)
      assert(p:send("t", "y"))
      local ok, err, code = p:flush(10)
      assert.is_nil(ok)
      -- librdkafka 2.0.2 looks at the times of messages for a broker that is gone when it happens to.
      assert.is_true(code == "_MSG_TIMED_OUT" or code == "TIMEOUT", code)
      if code ~= "TIMEOUT" then assert.matches("1 message was not delivered", err) end
      p:close()
    end)

    it("when it is collected, without keeping the collector waiting", function()
      local weak = setmetatable({}, { __mode = "k" })
      collectgarbage() -- what earlier tests left
      for _ = 1, 5 do
        local b = assert(broker.new { topics = { t = 3 }, brokers = 3 })
        assert(b:produce("t", { "1", "2", "3" }))
        weak[b] = true
      end
      local started = now()
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
      assert.is_true(now() - started < 1)
    end)

    it("at the end of a block, by <close>", function()
      if is_luajit then return pending("Lua 5.4 only") end
      local b = new { topics = {} }
      load("local given = ... local closed <close> = given")(b)
      assert.same({ nil, "closed", "CLOSED" }, { b:addresses() })
    end)

    it("only in its own process: a forked child can neither use nor harm it", function()
      if not is_luajit then return pending("needs LuaJIT's ffi to fork") end
      local ffi = require "ffi"
      pcall(ffi.cdef, "int fork(void); int waitpid(int, int *, int); void _exit(int);")
      local b = new { topics = { t = 1 } }
      local pid = ffi.C.fork()
      if pid == 0 then
        local ok, err = pcall(b.addresses, b)
        local close_ok = pcall(b.close, b)
        local text = tostring(b)
        debug.getmetatable(b).__gc(b)
        ffi.C._exit(not ok and err:find("fork", 1, true) and not close_ok and text:find("closed") and 0 or 1)
      end
      local status = ffi.new("int[1]")
      assert.equal(pid, ffi.C.waitpid(pid, status, 0))
      assert.equal(0, status[0])
      assert.equal(1, b:produce("t", "still here"))
    end)
  end)

  it("is an error, and not the end of the process, where files cannot be opened", function()
    local script = os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write([[
      local broker, all = require "kafka_history.broker", {}
      while true do
        local b, err, code = broker.new { topics = {}, brokers = 3 }
        all[#all + 1] = b
        if not b then print(err, code) break end
      end
    ]])
    file:close()
    local output = child.output(("ulimit -n 60; LUA_PATH='%s' LUA_CPATH='%s' %s %s 2>&1; echo exit $?")
      :format(package.path, package.cpath, interpreter, script))
    os.remove(script)
    assert.matches("^SYSTEM: cannot make an in%-process broker: .*\tSYSTEM\nexit 0\n$", output)
  end)

  it("says nothing on the terminal, whatever happens to it", function()
    local script = os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write([[
      local b = assert(require "kafka_history.broker".new { topics = { t = 1 }, brokers = 2 })
      b:produce("t", "1")
      b:error("Produce", "_TRANSPORT")
      b:produce("t", "2")
      b:down(1)
      b:produce("t", "3", { timeout = 0.3 })
      local p = require "kafka_history.producer".new { addresses = b:addresses() }
      p:send("t", "4")
      p:flush(0.2)
      b:close()
      p = nil
      collectgarbage()
    ]])
    file:close()
    local output = child.output(("LUA_PATH='%s' LUA_CPATH='%s' %s %s 2>&1; echo exit $?")
      :format(package.path, package.cpath, interpreter, script))
    os.remove(script)
    assert.equal("exit 0\n", output)
  end)
end)
