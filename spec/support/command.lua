-- Runs bin/kafka-history as a process, with the interpreter that runs the specs.

local child = require "support.child"
local system = require "system"

local command = {}

local lua = os.getenv "KH_LUA" or (rawget(_G, "jit") and "luajit" or "lua5.4")

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local environment = ("TERM=dumb KAFKA_HISTORY_LUA=%s ASAN_OPTIONS=detect_leaks=0"):format(quote(lua))

-- The command line as the shell takes it; the process ends after `seconds` (30) at the latest.
-- TERM=dumb, as there is no terminal.
function command.line(words, seconds)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = quote(word) end
  return ("%s timeout --foreground -k 2 %d bin/kafka-history %s"):format(environment, seconds or 30,
    table.concat(quoted, " "))
end

local function read(name)
  local file = io.open(name, "rb")
  local text = file and file:read "*a" or ""
  if file then file:close() end
  return text
end

-- A file that is removed by command.clean.
local files = {}
function command.file(text, suffix)
  local name = os.tmpname()
  files[#files + 1] = name
  if suffix then
    name = name .. suffix
    files[#files + 1] = name
  end
  command.write(name, text)
  return name
end

function command.write(name, text)
  local file = assert(io.open(name, "wb"))
  file:write(text)
  file:close()
end

local running = {}
running.__index = running
local started = {}

-- For after_each: ends what runs, and removes the files.
function command.clean()
  for i = #started, 1, -1 do
    started[i]:stop()
    started[i] = nil
  end
  for i = #files, 1, -1 do
    os.remove(files[i])
    files[i] = nil
  end
end

-- Starts a line of the shell's in the background, as `command.start` does the command.
function command.start_line(line)
  local base = command.file ""
  local self = setmetatable({ base = base }, running)
  for _, suffix in ipairs { ".out", ".err", ".pid", ".status" } do files[#files + 1] = base .. suffix end
  local script = ("%s </dev/null >%s.out 2>%s.err & echo $! >%s.pid; wait $!; echo $? >%s.status")
    :format(line, base, base, base, base)
  os.execute(("sh -c %s >/dev/null 2>&1 &"):format(quote(script)))
  started[#started + 1] = self
  while read(base .. ".pid") == "" do system.sleep(0.01) end
  return self
end

function command.start(words)
  return command.start_line(command.line(words, 60))
end

function running:stdout() return read(self.base .. ".out") end
function running:stderr() return read(self.base .. ".err") end
function running:status() return tonumber(read(self.base .. ".status")) end

-- Waits until it has printed something that matches; `stream`: "stdout" or "stderr".
function running:await(stream, pattern)
  local deadline = system.monotime() + 25
  while not self[stream](self):find(pattern) do
    if system.monotime() > deadline or self:status() then
      if self[stream](self):find(pattern) then return end
      error(("%s without %s:\n%s\n%s"):format(stream, pattern, self:stdout(), self:stderr()), 2)
    end
    system.sleep(0.02)
  end
end

function running:signal(name)
  os.execute(("kill -%s %s"):format(name, read(self.base .. ".pid"):match "%d+"))
end

-- The exit status, once it has ended.
function running:finish()
  while not self:status() do system.sleep(0.02) end
  return self:status()
end

function running:stop()
  if not self:status() then self:signal "TERM" end
  return self:finish()
end

-- Runs a line of the shell's to its end: stdout, stderr and the exit status in a table.
function command.shell(line)
  local errors = os.tmpname()
  local output = child.output(("export %s; { %s; } 2>%s </dev/null; echo \"=$?\""):format(environment, line,
    errors))
  local stdout, status = output:match "^(.*)=(%d+)\n$"
  local result = { stdout = stdout, stderr = read(errors), status = tonumber(status) }
  os.remove(errors)
  return result
end

-- The same of the command.
function command.run(words, seconds)
  return command.shell(command.line(words, seconds))
end

return command
