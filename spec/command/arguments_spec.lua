-- The arguments of kafka-history: what is wrong with them is said, and help, page and completions agree.

local child = require "support.child"
local command = require "support.command"
local watchdog = require "support.watchdog"

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

describe("kafka-history refuses", function()
  before_each(watchdog.start)
  after_each(command.clean)
  after_each(watchdog.stop)

  local brokers = { "-b", "127.0.0.1:1", "-t", "t" }

  -- Each: what is said, then the arguments behind brokers and topic.
  local cases = {
    { "expected beginning, end, -N, @MILLISECONDS, OFFSET or", "--from", "start" },
    { "expected beginning, end,", "--from", "-1x" },
    { "expected beginning, end,", "--from", "0:1,2" },
    { "a whole number, 1 or more, not '0'", "--from", "-0" },
    { "option '--from' requires an argument", "--from" },
    { "--count: expected a whole number, 1 or more, not '0'", "--count", "0" },
    { "--count: expected a whole number, 1 or more, not 'x'", "-c", "x" },
    { "--count: expected a whole number, 1 or more, not '1e3'", "-c", "1e3" },
    { "--timeout: expected seconds, above 0, not '0'", "--timeout", "0" },
    { "--timeout: expected seconds, above 0, not 'soon'", "--timeout", "soon" },
    { "argument for option '-u' must be one of 'caught-up'", "-u", "now" },
    { "must be one of 'auto', 'always', 'never'", "--progress", "sometimes" },
    { "must be one of 'bash', 'zsh', 'fish'", "--completion", "csh" },
    { "-X: expected PROPERTY=VALUE, not 'debug'", "-X", "debug" },
    { 'security.protcol: ', "-X", "security.protcol=ssl" },
    { "security.protocol", "-X", "security.protocol=slow" },
    { "enable.auto.commit: this property is the engine's own", "-X", "enable.auto.commit=true" },
    { "no/such: No such file", "--config", "no/such" },
    { "--format: expected value, json, or a text with %s and the like, not 'jsn'", "--format", "jsn" },
    { "--format: there is no %q; there are %t %p", "-f", "%s %q" },
    { "--format: a % at the end", "-f", "%s %" },
    { "--format: there is no \\q; there are \\n", "-f", "%s\\q" },
    { "--format: there is no \\x; there are \\n", "-f", "%s\\x4" },
    { "--format: says how messages are printed, and a handler", "-f", "json", "-e", "print(1)" },
    { "--on-error: expected stop, skip or retry=N, not 'retry'", "-e", "x()", "--on-error", "retry" },
    { "--on-error: goes with a handler only", "--on-error", "skip" },
    { "-e: goes without a handler's file", "-e", "x()", "handler.lua" },
    { "--watch: goes with a handler's file only", "--watch" },
    { "--watch: goes with a handler's file only", "--watch", "-e", "x()" },
    { "--watch: goes without --group", "--watch", "-g", "g", "handler.lua" },
    { "--max-bytes: goes with --latest only", "--max-bytes", "1M" },
    { "--max-bytes: expected a number of bytes, or one with K, M or G, not '1T'", "--latest", "--max-bytes",
      "1T" },
    { "--from: with --group it is beginning only", "-g", "g", "--from", "end" },
    { "--from: PARTITION:OFFSET goes with one topic only", "-t", "u", "--from", "0:1" },
    { "-b: goes without --embedded", "--embedded", "file.jsonl" },
    { "unknown option '--formt'\nDid you mean '--format'?", "--formt", "json" },
    { "too many arguments", "a.lua", "b.lua" },
  }

  for _, case in ipairs(cases) do
    local said = table.remove(case, 1)
    it(table.concat(case, " "), function()
      local words = {}
      for _, word in ipairs(brokers) do words[#words + 1] = word end
      for _, word in ipairs(case) do words[#words + 1] = word end
      local result = command.run(words)
      assert.matches("kafka-history: ", result.stderr:sub(1, 15), 1, true)
      assert.matches(said, result.stderr, 1, true)
      assert.same({ "", 2 }, { result.stdout, result.status })
    end)
  end

  it("to guess brokers or a topic", function()
    assert.matches("brokers are needed: %-b", command.run({ "-t", "t" }).stderr)
    assert.matches("a topic is needed: %-t", command.run({ "-b", "127.0.0.1:1" }).stderr)
    assert.matches("\nTry 'kafka%-history %-%-help'%.\n$", command.run({}).stderr)
    assert.equal(2, command.run({}).status)
  end)

  it("addresses that are none, and takes those that are", function()
    for _, address in ipairs { ":", ":9092", "k1:port", "k1:99999", "k1:9092,:1", "[::1", "::1" } do
      local result = command.run { "-b", address, "-t", "t" }
      assert.equal(2, result.status)
      assert.matches("-b: expected HOST:PORT, not '", result.stderr, 1, true)
    end
    local result = command.run { "-b", "127.0.0.1:1,[::1]:1,plaintext://localhost:1,127.0.0.1", "-t", "t",
      "--timeout", "0.1" }
    assert.equal(124, result.status)
  end)

  it("a file of properties with a line that is none, and does not show it", function()
    local file = command.file "client.id=x\nsecret words\n"
    local result = command.run { "-b", "127.0.0.1:1", "-t", "t", "--config", file }
    assert.equal(2, result.status)
    assert.matches(file .. ":2: expected a line name=value", result.stderr, 1, true)
    assert.is_nil(result.stderr:find("secret", 1, true))
  end)

  it("a file that is no topic: missing, no JSON, no base64, a partition that cannot be", function()
    for text, said in pairs {
      ['{"value":"1"}\nx'] = "line 2 is no JSON",
      ['{"value_base64":"?"}'] = "line 1: value_base64: is no base64",
      ['{"value":"1","partition":-1}'] = "line 1: partition: expected a number from 0 to 9999",
      ['{"value":"1","timestamp":"now"}'] = "message 1: timestamp must be",
      ['{"value":"1","headers":[1]}'] = "line 1: headers: expected an array of objects",
    } do
      local file = command.file(text, ".jsonl")
      local result = command.run { "--embedded", file }
      assert.same({ "", 2 }, { result.stdout, result.status })
      assert.matches(file .. ": ", result.stderr, 1, true)
      assert.matches(said, result.stderr, 1, true)
    end
    local result = command.run { "--embedded", "no/such.jsonl" }
    assert.equal(2, result.status)
    assert.matches("no/such.jsonl: No such file", result.stderr, 1, true)
  end)

  it("a file that is too large for the embedded broker, and names the limit", function()
    local random = assert(io.open("/dev/urandom", "rb"))
    local lines = {}
    for i = 1, 70 do
      local hex = random:read(100000):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
      lines[i] = ('{"value":"%s"}'):format(hex)
    end
    random:close()
    local result = command.run { "--embedded", command.file(table.concat(lines, "\n"), ".jsonl") }
    assert.equal(2, result.status)
    assert.matches("keeps 5 MB (compressed) of each partition", result.stderr, 1, true)
  end)
end)

describe("kafka-history says", function()
  before_each(watchdog.start)
  after_each(watchdog.stop)

  it("its versions", function()
    local result = command.run { "--version" }
    assert.equal(0, result.status)
    assert.matches("^kafka%-history scm, librdkafka %d+%.%d+%.%d+, Lua[^\n]*\n$", result.stdout)
  end)

  it("in its page what its help says: every option, every exit status", function()
    local result = command.run { "--help" }
    assert.equal(0, result.status)
    local page = read "doc/kafka-history.1":gsub("\\%-", "-")
    local count = 0
    for option in result.stdout:match "\nOptions:\n(.-)\n\n":gmatch "%f[%-%w](%-%-?%l[%w-]*)[ ,\n]" do
      count = count + 1
      assert(page:find(option, 1, true), option .. " is not in doc/kafka-history.1")
    end
    assert.is_true(count > 25)
    for status in result.stdout:match "\nExit status:\n(.*)$":gmatch "%f[%d](%d+) " do
      assert(page:find("\n *" .. status .. "  "), status .. " is not in doc/kafka-history.1")
    end
  end)

  it("to shells what is in completion/ (make completion writes it)", function()
    for shell, name in pairs { bash = "kafka-history.bash", zsh = "_kafka-history",
      fish = "kafka-history.fish" } do
      local result = command.run { "--completion", shell }
      assert.equal(0, result.status)
      assert.equal(read("completion/" .. name), result.stdout)
    end
    assert.equal("--progress\n", child.output [[bash -c '. completion/kafka-history.bash
      COMP_WORDS=(kafka-history --prog) COMP_CWORD=1; _kafka-history; echo "${COMPREPLY[@]}"']])
  end)
end)
