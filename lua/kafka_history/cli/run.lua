--- The command: reads what the arguments say, and returns the exit status.

local arguments = require "kafka_history.cli.arguments"
require "cjson" -- which is needed later: what is missing is to be told at once

-- What the process ends with; kafka-history(1) says it, too.
local status = {
  done = 0, handler = 1, usage = 2, kafka = 3, output = 4, timeout = 124, interrupted = 130, gone = 141,
}

local function say_usage(mistake, hint)
  io.stderr:write("kafka-history: ", mistake, "\n", hint or "")
  return status.usage
end

return function(words)
  local options, mistake = arguments.read(words)
  if not options then return say_usage(mistake, "Try 'kafka-history --help'.\n") end
  local session = require "kafka_history.cli.session"
  local ended, text = session.run(options)
  if ended == "usage" then return say_usage(text) end
  return status[ended]
end
