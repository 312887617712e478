--- JSON of a message's parts.

local escape = require "kafka_history.core".escape_json

local json = {}

--- The text as it stands between quotes; nil for nil, and for what is no UTF-8.
json.escape = escape

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local digits = {}
for i = 0, 63 do digits[i] = alphabet:sub(i + 1, i + 1) end

-- Base64 of any bytes.
local function base64(bytes)
  local out = {}
  for at = 1, #bytes, 3 do
    local a, b, c = bytes:byte(at, at + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    out[#out + 1] = digits[math.floor(n / 262144)] .. digits[math.floor(n / 4096) % 64]
      .. (b and digits[math.floor(n / 64) % 64] or "=") .. (c and digits[n % 64] or "=")
  end
  return table.concat(out)
end

--- What stands for a member whose text `escape` has no answer to, in three parts.
function json.other(name, text)
  if text == nil then return ',"' .. name .. '":null', "", "" end
  return ',"' .. name .. '_base64":"', base64(text), '"'
end

local function member(name, text)
  local escaped = escape(text)
  if escaped then return ',"' .. name .. '":"' .. escaped .. '"' end
  return table.concat { json.other(name, text) }
end

--- `,"headers":[...]` of a message's headers; nothing where there are none.
function json.headers(headers)
  if #headers == 0 then return "" end
  local all = {}
  for i, header in ipairs(headers) do
    all[i] = "{" .. member("name", header.name):sub(2) .. member("value", header.value) .. "}"
  end
  return ',"headers":[' .. table.concat(all, ",") .. "]"
end

return json
