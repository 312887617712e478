-- kafka-history on a pseudo-terminal, as a person sees it: the bar, the verdict, the data between them.
local child = require "support.child"
local command = require "support.command"
local terminal = require "support.terminal"

-- Takes 20 ms a message.
local slow = "require 'system'.sleep(0.02)"

describe("kafka-history on a terminal", function()
  after_each(command.clean)

  local function run(words, options, environment)
    local quoted = {}
    for i, word in ipairs(words) do quoted[i] = "'" .. word:gsub("'", "'\\''") .. "'" end
    local line = "env LUA_INIT= TERM=xterm COLUMNS= %s KAFKA_HISTORY_LUA='%s' bin/kafka-history %s"
    return terminal.run(line:format(environment or "NO_COLOR=1", child.interpreter(),
      table.concat(quoted, " ")), options)
  end

  local function history(count)
    local lines = {}
    for i = 1, count do lines[i] = ('{"key":"k%d","value":"value %d"}'):format(i % 3, i) end
    return command.file(table.concat(lines, "\n"), ".jsonl")
  end

  it("draws a bar while the history is read, and then the verdict in its place", function()
    local text, status = run({ "--embedded", history(50), "-t", "t", "--until", "caught-up", "-e", slow },
      { columns = 100 })
    assert.equal(0, status, text)
    assert.matches("\r\27%[K%[=*> *%] +%d+%% %d+ messages?", text)
    assert.matches("\r\27%[Kcaught up: 50 messages of 1 partition in %d+%.%d s %(%d+/s%)\r\n$", text)
  end)

  it("does so in colour", function()
    local text = run({ "--embedded", history(50), "-t", "t", "--until", "caught-up", "-e", slow },
      { columns = 100 }, "NO_COLOR=")
    assert.matches("%[\27%[32m=*> *\27%[0m%] +%d+%%", text)
  end)

  it("never writes data behind the bar", function()
    local text, status = run({ "--embedded", history(50), "-t", "t", "--until", "caught-up", "-e",
      slow .. " print(msg.value)" }, { columns = 100 })
    assert.equal(0, status, text)
    for i = 1, 50 do assert.matches(("[\nK]value %d\r\n"):format(i), "\n" .. text) end
  end)

  it("draws none where it is told so", function()
    local text, status = run({ "--embedded", history(50), "-t", "t", "--until", "caught-up",
      "--progress", "never", "-e", slow }, { columns = 100 })
    assert.same({ "", 0 }, { text, status })
  end)

  it("says that it waits for more, and on Ctrl-C what it has read", function()
    local text, status = run({ "--embedded", history(3), "-t", "t" },
      { columns = 100, steps = { "await:waiting for more messages; Ctrl-C ends it", "type:\\x03" } })
    assert.matches("value 1\r\nvalue 2\r\nvalue 3\r\n", text)
    assert.matches("caught up: 3 messages of 1 partition in [^\r\n]*\r\nwaiting for more", text)
    assert.matches("interrupted: 3 messages of 1 partition in [^\r\n]*\r\n$", text)
    assert.equal(130, status)
  end)
end)
