--- How messages are printed: a format becomes a Lua function of the fields that it needs, which collects
-- lines and writes many at once.

local json = require "kafka_history.cli.json"

local format = {}

-- Each letter: the field it needs, and the Lua expression of its text, of which `%s` is that field.
local letters = {
  t = { "topic", "%s" },
  p = { "partition", "numbers[%s]" },
  o = { "offset", "base_text .. tails[low]" },
  T = { "timestamp", "time_text" },
  k = { "key", '(%s or "")' },
  K = { "key", "(%s and numbers[#%s] or \"-1\")" },
  s = { "value", '(%s or "")' },
  S = { "value", "(%s and numbers[#%s] or \"-1\")" },
  R = { "value", "big_endian(%s)" },
  h = { "headers", "headers_text(%s)" },
}

local escapes = { n = "\n", t = "\t", r = "\r", ["0"] = "\0", ["\\"] = "\\" }

-- One piece at `at`: a letter's or literal text, and where the next one is; nil and what is wrong.
local function next_piece(text, at)
  local letter = text:match("^%%(.?)", at)
  if letter == "%" then return "%", at + 2 end
  if letter then
    if letters[letter] then return letters[letter], at + 2 end
    return nil, letter == "" and "a % at the end" or ("there is no %%%s; there are %%t %%p %%o %%k %%K "
      .. "%%s %%S %%T %%h %%R %%%%"):format(letter)
  end
  local hex = text:match("^\\x(%x%x)", at)
  if hex then return string.char(tonumber(hex, 16)), at + 4 end
  local escape = text:match("^\\(.?)", at)
  if escape then
    if escapes[escape] then return escapes[escape], at + 2 end
    return nil, ("there is no \\%s; there are \\n \\t \\r \\0 \\\\ \\xNN"):format(escape)
  end
  local plain = text:match("^[^%%\\]+", at)
  return plain, at + #plain
end

local names = {
  value = "%s\\n",
  json = "json",
}

--- The pieces of a format, an array of literal strings and letters' tables, or "json"; nil and what is
-- wrong with it.
function format.parse(text)
  if not names[text] and not text:find "[%%\\]" then
    return nil, ("expected value, json, or a text with %%s and the like, not '%s'"):format(text)
  end
  text = names[text] or text
  if text == "json" then return text end
  local pieces, at = {}, 1
  while at <= #text do
    local piece, after = next_piece(text, at)
    if not piece then return nil, after end
    at = after
    if type(piece) == "string" and type(pieces[#pieces]) == "string" then
      pieces[#pieces] = pieces[#pieces] .. piece
    else
      pieces[#pieces + 1] = piece
    end
  end
  return pieces
end

-- --- what the compiled functions call ------------------------------------------------------------------

-- Small numbers come again and again: partitions, lengths. Every other one is made anew.
local numbers = setmetatable({}, { __index = function(cache, number)
  local text = ("%d"):format(number)
  if number < 4096 then cache[number] = text end
  return text
end })

-- Offsets come in order: of a thousand the first digits are made once. The base, its text without the
-- last three digits, and what those may be.
local padded, bare = {}, {}
for i = 0, 999 do padded[i], bare[i] = ("%03d"):format(i), ("%d"):format(i) end

local function start_of(offset)
  local base = offset - offset % 1000
  if base == 0 then return base, "", bare end
  return base, ("%d"):format(base / 1000), padded
end

-- What is done before a line is put together, where the field is in it.
local before = {
  offset = [[
  local low = offset - base
  if low < 0 or low >= 1000 then
    base, base_text, tails = start_of(offset)
    low = offset - base
  end
]],
  -- Many messages are of one millisecond.
  timestamp = [[
  if timestamp ~= time then
    time, time_text = timestamp, timestamp and decimal("%d", timestamp) or no_time
  end
]],
}

local function headers_text(headers)
  local all = {}
  for i, header in ipairs(headers) do all[i] = header.name .. "=" .. (header.value or "NULL") end
  return table.concat(all, ",")
end

-- The length as four bytes; of null -1.
local function big_endian(value)
  local length = value and #value or 0xFFFFFFFF
  return string.char(math.floor(length / 16777216), math.floor(length / 65536) % 256,
    math.floor(length / 256) % 256, length % 256)
end

local function expression(pieces)
  local fields, known, parts = {}, {}, {}
  for i, piece in ipairs(pieces) do
    if type(piece) == "string" then
      parts[i] = ("%q"):format(piece):gsub("\\\n", "\\n")
    else
      local field = piece[1]
      if not known[field] then
        known[field] = true
        fields[#fields + 1] = field
      end
      parts[i] = piece[2]:gsub("%%s", field)
    end
  end
  return fields, parts
end

local json_fields = { "topic", "partition", "offset", "timestamp", "key", "value", "headers" }
local json_before = [[
  local key_1, key_2, key_3 = ',"key":"', escape(key), '"'
  if not key_2 then key_1, key_2, key_3 = other("key", key) end
  local value_1, value_2, value_3 = ',"value":"', escape(value), '"'
  if not value_2 then value_1, value_2, value_3 = other("value", value) end
]]
local json_parts = {
  "heads[topic][partition]", "base_text", "tails[low]", [[',"timestamp":']], "time_text", "key_1", "key_2",
  "key_3", "value_1", "value_2", "value_3", "headers_json(headers)", "'}\\n'",
}

-- What the lines of a topic's partition begin with.
local heads = setmetatable({}, { __index = function(topics, topic)
  local begin = '{"topic":"' .. json.escape(topic) .. '","partition":'
  local partitions = setmetatable({}, { __index = function(cache, partition)
    local head = begin .. numbers[partition] .. ',"offset":'
    cache[partition] = head
    return head
  end })
  topics[topic] = partitions
  return partitions
end })

-- Where a line is one field and a constant, the constants are put between the lines of a batch at once.
local template = [[
local write, numbers, start_of, headers_text, big_endian, escape, other, headers_json, heads = ...
local BYTES, LINES, no_time = select(10, ...)
local concat, decimal = table.concat, string.format
local base, base_text, tails, time, time_text = -1000, "", nil, false, ""
local lines, count, bytes = {}, 0, 0

local function drain()
  if count == 0 then return end
  local text = concat(lines, @between@, 1, count)@after@
  count, bytes = 0, 0
  write(text)
end

local function handle(@fields@)
@before@  local line = @line@
  count = count + 1
  lines[count] = line
  bytes = bytes + #line
  if bytes >= BYTES or count >= LINES then drain() end
end

return handle, drain
]]

local function fill(text, values)
  return (text:gsub("@(%w+)@", function(name) return values[name] end))
end

-- The expression of a line, and what comes between and after lines.
local function line_of(pieces, parts)
  local first = pieces[1]
  if type(first) == "table" and #parts <= 2 and (first[1] == "key" or first[1] == "value")
      and not first[2]:find "#" and first ~= letters.R and type(pieces[2]) ~= "table" then
    return parts[1], parts[2] or '""', ".. " .. (parts[2] or '""')
  end
  return '"" .. ' .. table.concat(parts, " .. "), '""', ""
end

--- A printer of messages: { fields = names, handle = function(fields...), drain = function() } which
-- writes what handle has collected; `write` gets text. `each`: write every message at once.
function format.compile(text, write, each)
  local pieces = format.parse(text)
  local fields, parts = json_fields, json_parts
  if pieces ~= "json" then
    fields, parts = expression(pieces)
    -- One field is needed at least.
    if #fields == 0 then fields = { "offset" } end
  end
  local statements = { pieces == "json" and json_before or nil }
  for _, field in ipairs(fields) do statements[#statements + 1] = before[field] end
  local line, between, after = line_of(pieces, parts)
  local source = fill(template, { fields = table.concat(fields, ", "), line = line, between = between,
    after = after, before = table.concat(statements) })
  local load_text = loadstring or load -- luacheck: std max
  local handle, drain = assert(load_text(source, "=format"))(write, numbers, start_of, headers_text,
    big_endian, json.escape, json.other, json.headers, heads, each and 0 or 65536, 4000,
    pieces == "json" and "null" or "-1")
  return { fields = fields, handle = handle, drain = drain }
end

return format
