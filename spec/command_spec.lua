-- kafka-history as a process, in short, for every build of the module and every librdkafka; spec/command/
-- has the rest.

local command = require "support.command"
local watchdog = require "support.watchdog"

describe("the command", function()
  local file

  before_each(watchdog.start)
  before_each(function()
    file = command.file(table.concat({ '{"key":"a","value":"1"}', '{"key":"b","value":null}',
      '{"key":"a","value":"2"}' }, "\n"), ".jsonl")
  end)
  after_each(command.clean)
  after_each(watchdog.stop)

  local function run(...)
    return command.run { "--embedded", file, "-t", "t", "-u", "caught-up", ... }
  end

  it("prints a history, and the latest value of each key", function()
    assert.same({ stdout = "a 1\nb \na 2\n", stderr = "", status = 0 }, run("-f", "%k %s\\n"))
    assert.same({ stdout = "a 2\n", stderr = "", status = 0 }, run("--latest", "-f", "%k %s\\n"))
  end)

  it("runs a handler, and says on which message it failed", function()
    assert.equal("a\t1\nb\tnil\na\t2\n", run("-e", "print(msg.key, msg.value)").stdout)
    local result = run("-e", "if not msg.value then error 'odd' end")
    assert.equal(1, result.status)
    assert.matches("^kafka%-history: the handler failed at t%[0%], offset 1: .*odd", result.stderr)
  end)

  it("ends cleanly on Ctrl-C", function()
    local running = command.start { "--embedded", file, "-t", "t", "--progress", "always" }
    running:await("stderr", "caught up: 3 messages")
    running:signal "INT"
    assert.equal(130, running:finish())
  end)
end)
