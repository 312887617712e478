--- The handler: from a file, or from the code that was given. It is loaded into globals of its own, so that
-- loading it anew begins with nothing.

local output = require "kafka_history.cli.output"

local handler = {}

local function callable(value)
  local metatable = getmetatable(value)
  return type(value) == "function" or type(metatable) == "table" and metatable.__call ~= nil
end

-- As the stock one, but through the buffer, which the stock one empties at each line without looking
-- whether it could be written.
local function print_buffered(...)
  local texts = { ... }
  for i = 1, select("#", ...) do texts[i] = tostring(texts[i]) end
  output.write(table.concat(texts, "\t") .. "\n")
end

local function environment()
  return setmetatable({ print = print_buffered }, { __index = _G })
end

local function load_text(text, name, globals)
  if not rawget(_G, "setfenv") then return load(text, name, "t", globals) end
  local chunk, mistake = loadstring(text, name) -- luacheck: std max
  return chunk and setfenv(chunk, globals), mistake -- luacheck: std max
end

--- The text of a file; nil and why not.
function handler.read(name)
  local file, mistake = io.open(name, "rb")
  if not file then return nil, mistake end
  local text = file:read "*a"
  file:close()
  if not text then return nil, name .. ": cannot be read" end
  -- As the interpreter does: a first line that begins with # is the shell's.
  return (text:gsub("^#[^\n]*", ""))
end

local parts = { handle = true, caught_up = true, tick = true, close = true }

local function check(name, value)
  if callable(value) then value = { handle = value } end
  if type(value) ~= "table" then
    return nil, ("%s: expected it to return function(msg, consumer) or a table with `handle`, got %s")
      :format(name, value == nil and "nothing" or "a " .. type(value))
  end
  for part, its in pairs(value) do
    if parts[part] and not callable(its) then
      return nil, ("%s: %s: expected a function, got a %s"):format(name, part, type(its))
    end
  end
  if not value.handle then return nil, name .. ": the table that it returns has no function `handle`" end
  return value
end

-- What the file requires from beside itself is found, and what it has required before is loaded anew.
local function forget_modules(known)
  for name in pairs(package.loaded) do
    if not known[name] then package.loaded[name] = nil end
  end
end

local function on_raise(value)
  return { text = tostring(value), trace = debug.traceback("", 2) }
end

local known

--- { handle =, caught_up =, tick =, close = } of a file with this text; nil and what is wrong.
function handler.load(name, text)
  if not known then
    known = {}
    for module in pairs(package.loaded) do known[module] = true end
    package.path = (name:match "^(.*/)[^/]*$" or "./") .. "?.lua;" .. package.path
  end
  forget_modules(known)
  local chunk, mistake = load_text(text, "@" .. name, environment())
  if not chunk then return nil, mistake end
  local ok, value = xpcall(chunk, on_raise)
  if not ok then return nil, type(value) == "table" and value.text or tostring(value) end
  return check(name, value)
end

--- The same of the body of function(msg, consumer).
function handler.body(code)
  local chunk, mistake = load_text("local msg, consumer = ...; " .. code, "=-e", environment())
  if not chunk then return nil, mistake end
  return { handle = chunk }
end

return handler
