-- What kafka-history prints, in all formats, of a file that becomes a topic.

local command = require "support.command"
local cjson = require "cjson"
local watchdog = require "support.watchdog"

local every_byte = {}
for byte = 0, 255 do every_byte[#every_byte + 1] = string.char(byte) end
every_byte = table.concat(every_byte)

local mixed = table.concat({
  '{"key":"a","value":"one","timestamp":1700000000123}',
  '{"key":"b","value":null,"timestamp":1700000000124}',
  '{"key":null,"value":"","timestamp":1700000000125}',
  '{"key":"","value":"caf\\u00e9 \\"quoted\\" a/b \\\\ \\u0001\\n","timestamp":1700000000126}',
  '{"key_base64":"AP8=","value_base64":"/wA=","timestamp":1700000000127}',
  '{"key":"h","value":"x","timestamp":1700000000128,"headers":[{"name":"n","value":"1"},'
    .. '{"name":"n","value":null},{"name":"m","value_base64":"gA=="}]}',
}, "\n") .. "\n"

describe("kafka-history prints", function()
  before_each(watchdog.start)
  after_each(command.clean)
  after_each(watchdog.stop)

  local function print_of(text, ...)
    local file = command.file(text, ".jsonl")
    local result = command.run { "--embedded", file, "-t", "t", "--until", "caught-up", ... }
    assert.equal("", result.stderr)
    assert.equal(0, result.status)
    return result.stdout
  end

  it("a value a line, an empty one for null, by default", function()
    local expected = "one\n\n\ncafé \"quoted\" a/b \\ \1\n\n\255\0\nx\n"
    assert.equal(expected, print_of(mixed))
    assert.equal(expected, print_of(mixed, "--format", "value"))
    assert.equal(expected, print_of(mixed, "-f", "%s\\n"))
  end)

  it("JSON that tells null from empty, and bytes that are no text", function()
    assert.equal(table.concat({
      '{"topic":"t","partition":0,"offset":0,"timestamp":1700000000123,"key":"a","value":"one"}',
      '{"topic":"t","partition":0,"offset":1,"timestamp":1700000000124,"key":"b","value":null}',
      '{"topic":"t","partition":0,"offset":2,"timestamp":1700000000125,"key":null,"value":""}',
      '{"topic":"t","partition":0,"offset":3,"timestamp":1700000000126,"key":"",'
        .. '"value":"café \\"quoted\\" a/b \\\\ \\u0001\\n"}',
      '{"topic":"t","partition":0,"offset":4,"timestamp":1700000000127,"key_base64":"AP8=",'
        .. '"value_base64":"/wA="}',
      '{"topic":"t","partition":0,"offset":5,"timestamp":1700000000128,"key":"h","value":"x",'
        .. '"headers":[{"name":"n","value":"1"},{"name":"n","value":null},'
        .. '{"name":"m","value_base64":"gA=="}]}',
    }, "\n") .. "\n", print_of(mixed, "-f", "json"))
  end)

  it("JSON that --embedded takes back: the same again", function()
    local first = print_of(mixed, "-f", "json")
    assert.equal(first, print_of(first, "-f", "json"))
  end)

  it("as UTF-8 what is UTF-8, and nothing else", function()
    local valid = { "\194\128", "\223\191", "\224\160\128", "\237\159\191", "\238\128\128", "\239\191\191",
      "\240\144\128\128", "\244\143\191\191", "a\226\130\172z", "\127" }
    local invalid = { "\128", "\191", "\192\128", "\193\191", "\194", "\194a", "\224\159\191", "\224\160",
      "\237\160\128", "\240\143\191\191", "\240\144\128", "\244\144\128\128", "\245\128\128\128", "\255",
      "a\226\130", "\226\130a", "\240\144\128a" }
    local function encode(text)
      local digits = ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
      local bits = text:gsub(".", function(c)
        local byte, out = c:byte(), ""
        for _ = 1, 8 do out, byte = byte % 2 .. out, math.floor(byte / 2) end
        return out
      end)
      bits = bits .. ("0"):rep(-#bits % 6)
      local coded = bits:gsub("......", function(six)
        local at = tonumber(six, 2) + 1
        return digits:sub(at, at)
      end)
      return coded .. ("="):rep(-#coded % 4)
    end
    local lines = {}
    for _, text in ipairs(valid) do lines[#lines + 1] = ('{"value_base64":"%s"}'):format(encode(text)) end
    for _, text in ipairs(invalid) do lines[#lines + 1] = ('{"value_base64":"%s"}'):format(encode(text)) end
    lines[#lines + 1] = ('{"value_base64":"%s"}'):format(encode(every_byte))
    invalid[#invalid + 1] = every_byte
    local at = 0
    for line in print_of(table.concat(lines, "\n"), "-f", "json"):gmatch "[^\n]+" do
      at = at + 1
      local object = cjson.decode(line)
      if at <= #valid then
        assert.equal(valid[at], object.value)
      else
        assert.equal(encode(invalid[at - #valid]), object.value_base64)
        assert.is_nil(object.value)
      end
    end
    assert.equal(#valid + #invalid, at)
  end)

  it("each letter of a format, and its escapes", function()
    local line = '{"partition":0,"key":"k","value":"value","timestamp":1700000000123,'
      .. '"headers":[{"name":"a","value":"1"},{"name":"b","value":null}]}\n'
      .. '{"partition":1,"timestamp":5,"value":null,"key":"1"}\n'
    local expected = {
      ["%t\\n"] = "t\nt\n", ["%p\\n"] = "0\n1\n", ["%o\\n"] = "0\n0\n",
      ["%k\\n"] = "k\n1\n", ["%K\\n"] = "1\n1\n",
      ["%s\\n"] = "value\n\n", ["%S\\n"] = "5\n-1\n", ["%T\\n"] = "1700000000123\n5\n",
      ["%h\\n"] = "a=1,b=NULL\n\n",
      ["%R\\n"] = "\0\0\0\5\n\255\255\255\255\n", ["%%\\n"] = "%\n%\n", ["a\\tb\\r\\n"] = "a\tb\r\na\tb\r\n",
      ["\\x41\\0\\\\\\n"] = "A\0\\\nA\0\\\n", ["%p%s%p\\n"] = "0value0\n11\n",
      ["%k%s\\n"] = "kvalue\n1\n", ["\"%k\"]]\\n"] = "\"k\"]]\n\"1\"]]\n",
    }
    for format, text in pairs(expected) do
      -- Two partitions come in any order.
      local first, second = text:match "^(.-\n)(.*)$"
      local got = print_of(line, "-f", format)
      assert.is_true(got == text or got == second .. first, format .. ": " .. got)
    end
  end)

  it("every message of many, in order, in each format", function()
    local lines, values = {}, {}
    for i = 1, 20000 do
      values[i] = ("value %d"):format(i)
      lines[i] = ('{"key":"%d","value":"%s","timestamp":1}'):format(i, values[i])
    end
    local text = table.concat(lines, "\n")
    assert.is_true(print_of(text) == table.concat(values, "\n") .. "\n")
    local all = {}
    for i = 1, 20000 do
      all[i] = ('{"topic":"t","partition":0,"offset":%d,"timestamp":1,"key":"%d","value":"%s"}\n')
        :format(i - 1, i, values[i])
    end
    assert.is_true(print_of(text, "-f", "json") == table.concat(all))
    for i = 1, 20000 do all[i] = ("%d %d %d %s\n"):format(i - 1, #tostring(i), i, values[i]) end
    assert.is_true(print_of(text, "-f", "%o %K %k %s\\n") == table.concat(all))
  end)

  it("offsets and times of any size, in any order", function()
    local text = ""
    local printer = require "kafka_history.cli.format".compile("%o %T\\n",
      function(more) text = text .. more end)
    local numbers = { 0, 7, 999, 1000, 1001, 999999, 1000000, 42, 2147483648, 99999999999999, 100000000000000,
      123456789012345, 9007199254740992, 5 }
    local expected = {}
    for i, number in ipairs(numbers) do
      printer.handle(number, i % 3 > 0 and number or nil)
      expected[i] = ("%d %d\n"):format(number, i % 3 > 0 and number or -1)
    end
    printer.drain()
    assert.equal(table.concat(expected), text)
  end)

  it("values larger than its buffer", function()
    local lines = {}
    for i = 1, 20 do lines[i] = ('{"value":"%s"}'):format(("%d "):format(i):rep(100000)) end
    local expected = table.concat(lines, "\n"):gsub('{"value":"(.-)"}', "%1") .. "\n"
    assert.is_true(print_of(table.concat(lines, "\n")) == expected)
  end)

  it("lines that are no messages as they stand, and values that are no strings", function()
    assert.equal('{"order": 1, "key": "x"}\n17\n"text"\n{"b": [1, "}"], "a": 1.50}\n12345678901234567890\n',
      print_of('{"order": 1, "key": "x"}\r\n17\n\n  \n"text"\n'
        .. '{"key":"\\"k", "value" : {"b": [1, "}"], "a": 1.50} }\n{"value":12345678901234567890}'))
  end)

  it("two topics of one file, and one of them", function()
    local text = '{"topic":"a","value":"1"}\n{"topic":"b","value":"2"}\n'
    local file = command.file(text, ".jsonl")
    local got = command.run { "--embedded", file, "-u", "caught-up", "-f", "%t %s\\n" }.stdout
    assert.is_true(got == "a 1\nb 2\n" or got == "b 2\na 1\n")
    local one = command.run { "--embedded", file, "-t", "b", "-u", "caught-up", "-f", "%t %s\\n" }
    assert.equal("b 2\n", one.stdout)
    local missing = command.run { "--embedded", file, "-t", "c", "-u", "caught-up" }
    assert.equal(2, missing.status)
    assert.matches("no line is of topic c; there are a, b", missing.stderr, 1, true)
  end)

  it("nothing of an empty file, whose topic is named like it", function()
    local file = command.file("\n", ".jsonl")
    local result = command.run { "--embedded", file, "-u", "caught-up", "--progress", "always" }
    assert.equal("", result.stdout)
    assert.equal(0, result.status)
    assert.matches("caught up: 0 messages of 1 partition", result.stderr)
  end)
end)
