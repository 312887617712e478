--- JSON of a message's parts, fast: what is short and plain, as most keys and values are, is found to be
-- so by C code alone.

local cjson = require "cjson".new()

local json = {}

local encode = cjson.encode
local byte, find, gsub = string.byte, string.find, string.gsub

-- Is it UTF-8, as RFC 3629 has it?
local is_utf8

if rawget(_G, "utf8") then
  local len = utf8.len -- luacheck: std max
  function is_utf8(text)
    return len(text) ~= nil
  end
else
  -- How many bytes follow, and what the first of them may be, by the byte that leads.
  local follow, least, most = {}, {}, {}
  for lead = 0xC2, 0xF4 do
    follow[lead] = lead < 0xE0 and 1 or lead < 0xF0 and 2 or 3
    least[lead] = lead == 0xE0 and 0xA0 or lead == 0xF0 and 0x90 or 0x80
    most[lead] = lead == 0xED and 0x9F or lead == 0xF4 and 0x8F or 0xBF
  end

  function is_utf8(text)
    local at, length = 1, #text
    while at <= length do
      local lead = byte(text, at)
      if lead >= 0x80 then
        local more = follow[lead]
        if not more or at + more > length then return false end
        local second = byte(text, at + 1)
        if second < least[lead] or second > most[lead] then return false end
        for i = at + 2, at + more do
          local other = byte(text, i)
          if other < 0x80 or other > 0xBF then return false end
        end
        at = at + more
      end
      at = at + 1
    end
    return true
  end
end

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local digits = {}
for i = 0, 63 do digits[i] = alphabet:sub(i + 1, i + 1) end

--- Base64 of any bytes.
function json.base64(bytes)
  local out = {}
  for at = 1, #bytes, 3 do
    local a, b, c = byte(bytes, at, at + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    out[#out + 1] = digits[math.floor(n / 262144)] .. digits[math.floor(n / 4096) % 64]
      .. (b and digits[math.floor(n / 64) % 64] or "=") .. (c and digits[n % 64] or "=")
  end
  return table.concat(out)
end

-- cjson escapes the slash too, which nobody needs.
local unescaped = { ["/"] = "/" }

--- A string in quotes; nil where it is no UTF-8.
function json.string(text)
  if not is_utf8(text) then return nil end
  local quoted = encode(text)
  if #quoted == #text + 2 or not find(quoted, "\\/", 1, true) then return quoted end
  return (gsub(quoted, "\\(.)", unescaped))
end

local quote, base64 = json.string, json.base64

--- `"name":"text"`, or `"name_base64":"..."`, or `"name":null`.
function json.member(name, text)
  if text == nil then return '"' .. name .. '":null' end
  local quoted = quote(text)
  if quoted then return '"' .. name .. '":' .. quoted end
  return '"' .. name .. '_base64":"' .. base64(text) .. '"'
end

local member = json.member

--- `,"headers":[...]` of a message's headers; nothing where there are none.
function json.headers(headers)
  if #headers == 0 then return "" end
  local all = {}
  for i, header in ipairs(headers) do
    all[i] = "{" .. member("name", header.name) .. "," .. member("value", header.value) .. "}"
  end
  return ',"headers":[' .. table.concat(all, ",") .. "]"
end

return json
