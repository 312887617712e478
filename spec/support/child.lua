-- Runs Lua scripts in a process of their own, with the interpreter that runs the specs (the
-- environment variable KH_LUA names another one).

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

-- Runs the script to its end, for at most `seconds` (20): a table with stdout, stderr and the exit
-- status (124: it took too long; 128 + n: ended by signal n). `arguments` are in its `...`.
function child.run(script, arguments, seconds)
  interpreter = interpreter or find_interpreter()
  local names = { os.tmpname(), os.tmpname() }
  write_file(names[1], script)
  local words = {}
  for i, argument in ipairs(arguments or {}) do words[i] = quote(tostring(argument)) end
  -- A consumer that nobody closed is ended by a thread that the end of the process overtakes: to a leak
  -- checker that looks just then, what it holds is leaked. Leaks are looked for in the specs' own process.
  local line = ("ASAN_OPTIONS=detect_leaks=0 LUA_INIT= LUA_PATH=%s LUA_CPATH=%s "
    .. "timeout -k 2 %d %s %s %s 2>%s </dev/null; echo \"=$?\""):format(
      quote(package.path), quote(package.cpath), seconds or 20, quote(interpreter), names[1],
      table.concat(words, " "), names[2])
  local pipe = assert(io.popen(line, "r"))
  local stdout, status = pipe:read("*a"):match("^(.*)=(%d+)\n$")
  pipe:close()
  local result = { stdout = stdout, stderr = read_file(names[2]), status = tonumber(status) }
  os.remove(names[1])
  os.remove(names[2])
  return result
end

return child
