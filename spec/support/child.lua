-- Runs Lua scripts in a process of their own, with the interpreter that runs the specs (the
-- environment variable KH_LUA names another one).

local system = require "system"

local child = {}

local function read_file(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function write_file(name, text)
  local file = assert(io.open(name, "wb"))
  assert(file:write(text))
  file:close()
end

--- What a command of the shell's prints.
function child.output(command)
  local pipe = assert(io.popen(command, "r"))
  local output = pipe:read("*a")
  pipe:close()
  return output
end

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local interpreter

-- The program that runs this: the shell's parent.
local function find_interpreter()
  local given = os.getenv("KH_LUA")
  if given and given ~= "" then return given end
  local pipe = assert(io.popen("readlink /proc/$PPID/exe", "r"))
  local path = pipe:read("*l")
  pipe:close()
  return path or (rawget(_G, "jit") and "luajit" or "lua5.4")
end

--- The program that runs this, or that KH_LUA names.
function child.interpreter()
  interpreter = interpreter or find_interpreter()
  return interpreter
end

-- The shell's line for the script in a file, and the file. It runs for at most `seconds`.
local function command_line(script, arguments, seconds, timeout, environment)
  local name = os.tmpname()
  write_file(name, script)
  local words = {}
  for i, argument in ipairs(arguments or {}) do words[i] = quote(tostring(argument)) end
  -- A consumer that nobody closed is ended by a thread that the end of the process overtakes: to a leak
  -- checker that looks just then, what it holds is leaked. Leaks are looked for in the specs' own process.
  return ("ASAN_OPTIONS=detect_leaks=0 LUA_INIT= LUA_PATH=%s LUA_CPATH=%s %s -k 2 %d %s %s %s %s </dev/null")
    :format(quote(package.path), quote(package.cpath), timeout, seconds,
      environment and "env " .. environment or "", quote(child.interpreter()), name,
      table.concat(words, " ")), name
end

-- Runs the script to its end, for at most `seconds` (20): a table with stdout, stderr and the exit
-- status (124: it took too long; 128 + n: ended by signal n). `arguments` are in its `...`;
-- `environment`: words for the shell that set more of it.
function child.run(script, arguments, seconds, environment)
  local line, name = command_line(script, arguments, seconds or 20, "timeout", environment)
  local errors = os.tmpname()
  local pipe = assert(io.popen(("%s 2>%s; echo \"=$?\""):format(line, errors), "r"))
  local stdout, status = pipe:read("*a"):match("^(.*)=(%d+)\n$")
  pipe:close()
  local result = { stdout = stdout, stderr = read_file(errors), status = tonumber(status) }
  os.remove(name)
  os.remove(errors)
  return result
end

local running = {}
running.__index = running

-- Starts the script and does not wait for it; it is ended after `seconds`.
function child.start(script, arguments, seconds)
  -- In the process group of the specs, so that it ends with them.
  local line, name = command_line(script, arguments, seconds, "timeout --foreground")
  local self = setmetatable({ base = name }, running)
  os.execute(("{ %s >%s.out 2>%s.err & echo $! >%s.pid; wait $!; echo $? >%s.status; } 2>/dev/null &")
    :format(line, name, name, name, name))
  return self
end

-- What it has printed so far.
function running:stdout()
  return self.result and self.result.stdout or read_file(self.base .. ".out")
end

-- The exit status, as that of run; nil: it runs.
function running:status()
  if self.result then return self.result.status end
  local file = io.open(self.base .. ".status")
  local status = file and file:read("*n")
  if file then file:close() end
  return status
end

-- Waits until it has ended: the same as run returns.
function running:finish()
  while not self:status() do system.sleep(0.05) end
  if not self.result then
    self.result = { stdout = self:stdout(), stderr = read_file(self.base .. ".err"),
      status = self:status() }
    for _, suffix in ipairs { "", ".out", ".err", ".pid", ".status" } do os.remove(self.base .. suffix) end
  end
  return self.result
end

-- Ends it.
function running:stop()
  if not self:status() then os.execute("kill $(cat " .. self.base .. ".pid)") end
  return self:finish()
end

return child
