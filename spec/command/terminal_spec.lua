-- kafka-history on a pseudo-terminal, as a person sees it.

local child = require "support.child"
local command = require "support.command"
local terminal = require "support.terminal"
local watchdog = require "support.watchdog"

-- Messages that take their time, so that the bar is drawn between them.
local slow = "os.execute 'sleep 0.1'; print('message ' .. msg.offset)"

describe("kafka-history on a terminal", function()
  before_each(watchdog.start)
  after_each(command.clean)
  after_each(watchdog.stop)

  local function run(environment, words, steps, redirection)
    local file = command.file('"a"\n"b"\n"c"\n"d"\n', ".jsonl")
    local quoted = {}
    for i, word in ipairs(words) do quoted[i] = "'" .. word:gsub("'", "'\\''") .. "'" end
    return terminal.run(("env TERM=xterm COLUMNS= NO_COLOR=1 %s KAFKA_HISTORY_LUA=%s bin/kafka-history "
      .. "--embedded %s -t t %s %s"):format(environment, child.interpreter(), file, table.concat(quoted, " "),
      redirection or ""), { columns = 100, steps = steps })
  end

  -- What is left on the screen: of each line what was written behind the last return.
  local function screen(text)
    local lines = {}
    for line in text:gsub("\r\n", "\n"):gmatch "([^\n]*)\n" do
      lines[#lines + 1] = line:gsub("^.*\r", ""):gsub("\27%[K", "")
    end
    return table.concat(lines, "\n")
  end

  it("shows the bar below what it prints, then the verdict", function()
    local text, status = run("", { "-u", "caught-up", "-e", slow })
    assert.equal(0, status)
    assert.matches("%[=+> *%]  %d%d%% %d messages", text)
    assert.is_nil(text:find("\27[32m", 1, true))
    assert.matches("^message 0\nmessage 1\nmessage 2\nmessage 3\n"
      .. "caught up: 4 messages of 1 partition in %d.%d s %(%d+/s%)$", screen(text))
  end)

  it("says that it waits for more, and ends with the verdict on Ctrl-C", function()
    local text, status = run("", {}, { "await:Ctrl-C ends it", "type:\\x03" })
    assert.equal(130, status)
    assert.matches('"d"\ncaught up: 4 messages of [^\n]*\nwaiting for more messages; Ctrl%-C ends it'
      .. ".*interrupted: 4 messages of [^\n]*$", screen(text))
  end)

  it("draws nothing where that is not wanted: TERM=dumb, --progress never, stderr elsewhere", function()
    for _, case in ipairs { { "TERM=dumb", {} }, { "", { "--progress", "never" } },
      { "", {}, "2>/dev/null" } } do
      local words = { "-u", "caught-up", "-e", slow }
      for _, word in ipairs(case[2]) do words[#words + 1] = word end
      local text, status = run(case[1], words, nil, case[3])
      assert.same({ "message 0\r\nmessage 1\r\nmessage 2\r\nmessage 3\r\n", 0 }, { text, status })
    end
  end)

  it("keeps what goes into a file free of it", function()
    local output = command.file ""
    local text, status = run("", { "-u", "caught-up", "-e", slow }, nil, ">" .. output)
    assert.equal(0, status)
    assert.matches("caught up: 4 messages", text)
    local file = io.open(output)
    assert.equal("message 0\nmessage 1\nmessage 2\nmessage 3\n", file:read "*a")
    file:close()
  end)
end)
