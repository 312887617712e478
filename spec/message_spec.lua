-- A message: what it holds, and that it stays what it is.
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local raised = reading.raised

local all_bytes = {}
for byte = 0, 255 do all_bytes[#all_bytes + 1] = string.char(byte) end
all_bytes = table.concat(all_bytes)

describe("a message", function()
  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  -- The messages as the handler gets them, in order.
  local function read(messages, more)
    local consumer = reading.values(messages, more)
    local got = {}
    assert(consumer:read_history(function(msg) got[#got + 1] = msg end,
      { stop_at = "caught_up", timeout = 20 }))
    return got, consumer
  end

  it("has the topic, partition and offset where it lies", function()
    local of = reading.broker { orders = 3 }
    assert(of:produce("orders", { { value = "a", partition = 2 }, { value = "b", partition = 2 } }))
    local got = {}
    assert(reading.consumer(of, "orders"):read_history(function(msg) got[#got + 1] = msg end,
      { stop_at = "caught_up", timeout = 20 }))
    assert.same({ "orders", 2, 0, "a" }, { got[1].topic, got[1].partition, got[1].offset, got[1].value })
    assert.same({ "orders", 2, 1, "b" }, { got[2].topic, got[2].partition, got[2].offset, got[2].value })
  end)

  it("has numbers that are integers, where Lua has integers", function()
    local type_of = rawget(math, "type")
    if not type_of then return end
    local msg = read { { value = "x", timestamp = 1234567890123 } } [1]
    for _, field in ipairs { "partition", "offset", "timestamp" } do
      assert.equal("integer", type_of(msg[field]))
    end
  end)

  it("has the producer's time in milliseconds, and says whose time it is", function()
    local msg = read { { value = "x", timestamp = 1234567890123 } } [1]
    assert.equal(1234567890123, msg.timestamp)
    assert.equal("create_time", msg.timestamp_type)
  end)

  it("has keys and values byte by byte, NUL included", function()
    local msg = read { { key = all_bytes, value = all_bytes .. "\0" } } [1]
    assert.equal(all_bytes, msg.key)
    assert.equal(all_bytes .. "\0", msg.value)
  end)

  it("tells null from empty", function()
    local got = read { { key = "", value = "" }, { key = "k" }, { value = "v" }, {} }
    assert.same({ "", "" }, { got[1].key, got[1].value })
    assert.equal("k", got[2].key)
    assert.is_nil(got[2].value)
    assert.is_nil(got[3].key)
    assert.equal("v", got[3].value)
    assert.is_nil(got[4].key)
    assert.is_nil(got[4].value)
  end)

  it("is a tombstone when its value is null, not when it is empty", function()
    local got = read { { key = "k" }, { key = "k", value = "" } }
    assert.is_true(got[1]:is_tombstone())
    assert.is_false(got[2]:is_tombstone())
  end)

  it("gives its value as data(), nil for a tombstone", function()
    local got = read { { key = "k", value = all_bytes }, { key = "k", value = "" }, { key = "k" } }
    assert.equal(all_bytes, got[1]:data())
    assert.equal("", got[2]:data())
    assert.is_nil(got[3]:data())
  end)

  it("of a megabyte arrives whole", function()
    local value = all_bytes:rep(4096)
    assert.is_true(read { value } [1].value == value)
  end)

  describe("with headers", function()
    local headers = {
      { name = "a", value = "1" }, { name = "b", value = "" }, { name = "a" },
      { name = "c", value = all_bytes }, { name = "a", value = "2" }, { name = "", value = "no name" },
      { name = "d", value = "x" }, { name = "d" },
    }

    it("has them in order, duplicates, empty and null values kept", function()
      assert.same(headers, read { { value = "x", headers = headers } } [1].headers)
    end)

    it("gives the last one of a name, nil where that is null or there is none", function()
      local msg = read { { value = "x", headers = headers } } [1]
      assert.equal("2", msg:header("a"))
      assert.equal("", msg:header("b"))
      assert.equal(all_bytes, msg:header("c"))
      assert.equal("no name", msg:header(""))
      assert.is_nil(msg:header("d"))
      assert.is_nil(msg:header("e"))
      assert.is_nil(msg:header("A"))
      assert.is_nil(msg:header("a\0"))
    end)

    it("wants a name for header()", function()
      local msg = read { { value = "x", headers = headers } } [1]
      raised(msg.header, msg)
      raised(msg.header, msg, {})
    end)

    it("gives a new table each time, so that nobody changes the message", function()
      local msg = read { { value = "x", headers = headers } } [1]
      msg.headers[1].value = "changed"
      msg.headers[2] = nil
      assert.same(headers, msg.headers)
    end)

    it("has a hundred of them", function()
      local many = {}
      for i = 1, 100 do many[i] = { name = "h" .. i, value = ("v"):rep(i) } end
      local msg = read { { key = "k", headers = many } } [1]
      assert.same(many, msg.headers)
      assert.equal(("v"):rep(77), msg:header("h77"))
    end)
  end)

  it("without headers has an empty table of them", function()
    assert.same({}, read { "x" } [1].headers)
  end)

  it("becomes a plain table of all its fields", function()
    local given = { key = "k", value = all_bytes, timestamp = 1234567890123,
      headers = { { name = "a", value = "1" }, { name = "b" } } }
    assert.same({
      topic = "t", partition = 0, offset = 0, timestamp = 1234567890123, timestamp_type = "create_time",
      key = "k", value = all_bytes, headers = given.headers,
    }, read { given } [1]:totable())
    local bare = read { {} } [1]:totable()
    assert.is_nil(bare.key)
    assert.is_nil(bare.value)
    assert.same({}, bare.headers)
    assert.is_nil(getmetatable(bare))
  end)

  it("is readable as text: where it lies, key and value", function()
    local got = read { { key = "k", value = "v" }, {}, { key = "", value = "" } }
    assert.equal('t[0]@0 "k" = "v"', tostring(got[1]))
    assert.equal("t[0]@1 null = null", tostring(got[2]))
    assert.equal('t[0]@2 "" = ""', tostring(got[3]))
  end)

  it("as text is printable and short whatever it holds", function()
    local text = tostring(read { { key = all_bytes, value = ("long "):rep(100000) } } [1])
    assert.is_nil(text:find("[^\32-\126]"))
    assert.is_true(#text < 700)
    assert.matches("^t%[0%]@0 ", text)
  end)

  it("has nil for a field that it does not know", function()
    local msg = read { "x" } [1]
    for _, name in ipairs { "", "keys", "kez", "valve", "topik", "offseT", "header_", "paxtition",
      "timestamq", "timestamp_typo", "timestamp_type_", "val\0e", "Key" } do
      assert.is_nil(msg[name], name)
    end
    assert.is_nil(msg[1])
    assert.is_nil(msg[true])
    assert.is_nil(msg[{}])
  end)

  it("cannot be written to", function()
    local msg = read { "x" } [1]
    raised(function() msg.value = "y" end)
    raised(function() msg.new = 1 end)
    raised(function() msg[1] = 1 end)
    assert.equal("x", msg.value)
    assert.is_nil(msg.new)
  end)

  it("has methods that refuse whatever is no message", function()
    local msg, consumer = read { "x" }
    msg = msg[1]
    local strangers = { {}, "x", 1, true, consumer, consumer:caught_up(), io.stdout, print }
    for _, method in ipairs { "data", "header", "is_tombstone", "totable" } do
      raised(msg[method], nil, "a")
      for _, stranger in ipairs(strangers) do raised(msg[method], stranger, "a") end
    end
    for _, metamethod in ipairs { "__index", "__tostring" } do
      for _, stranger in ipairs(strangers) do
        raised(getmetatable(msg)[metamethod], stranger, "key")
      end
    end
  end)

  it("stays what it is after the next batch, and after the consumer was closed and collected", function()
    local values = reading.numbers(1, 2000)
    local got, consumer = read(values)
    consumer:close()
    consumer = nil -- luacheck: ignore
    reading.clean()
    for _ = 1, 3 do collectgarbage() end
    assert.equal(2000, #got)
    for i, msg in ipairs(got) do
      assert.equal(i - 1, msg.offset)
      assert.equal(values[i], msg:data())
    end
  end)

  it("has by fields the same that it has as an object", function()
    local names = { "topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers" }
    local given = { { key = all_bytes, value = "v", timestamp = 1234567890123,
      headers = { { name = "a", value = all_bytes }, { name = "a" } } }, {}, { key = "", value = "" } }
    local objects = read(given)
    local at = 0
    local consumer = reading.values(given)
    assert(consumer:read_history(function(...)
      at = at + 1
      assert.equal(consumer, (select(9, ...)))
      for i, name in ipairs(names) do
        local value = select(i, ...)
        if name == "timestamp" and at > 1 then
          assert.equal("number", type(value))
        else
          assert.same(objects[at][name], value)
        end
      end
    end, { stop_at = "caught_up", timeout = 20, fields = names }))
    assert.equal(3, at)
  end)
end)
