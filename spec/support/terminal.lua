-- Runs commands on a pseudo-terminal of their own (spec/support/terminal.py).

local child = require "support.child"

local terminal = {}

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- Runs a command of the shell's: what it wrote on its terminal, and the exit status (124: it took too
-- long; 128 + n: ended by signal n).
-- @tparam table options columns (80), seconds (20), steps: an array of what terminal.py takes, as in
--   "await:100%", "resize:40", "kill:TERM"
function terminal.run(command, options)
  options = options or {}
  local words = { "python3 spec/support/terminal.py", options.columns or 80, options.seconds or 20 }
  for _, step in ipairs(options.steps or {}) do words[#words + 1] = quote(step) end
  words[#words + 1] = "-- sh -c " .. quote("exec " .. command)
  local output = child.output(table.concat(words, " ") .. '; echo "=$?"')
  local text, status = output:match("^(.*)=(%d+)\n$")
  return text, tonumber(status)
end

--- The same for a Lua script, with this interpreter. `environment`: as in "TERM=xterm NO_COLOR=1".
function terminal.lua(script, environment, options)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  assert(file:write(script))
  file:close()
  local text, status = terminal.run(("env LUA_INIT= LUA_PATH=%s LUA_CPATH=%s %s %s %s"):format(
    quote(package.path), quote(package.cpath), environment, quote(child.interpreter()), name), options)
  os.remove(name)
  return text, status
end

return terminal
