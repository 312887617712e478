-- Reads messages in a schema registry's envelope: each names the schema that it was written with.
--
--   lua5.4 examples/envelope.lua ADDRESSES TOPIC http://REGISTRY:8081
--
-- The envelope, which the serializers of Confluent's clients write and others read: a byte 0, the schema's
-- id as 4 bytes, most significant first, then the payload. The registry answers GET /schemas/ids/ID with
-- JSON: the schema's text, and its type where it is not Avro. A schema never changes under its id, so each
-- is asked for once; nearly all messages of a topic share a few.
--
-- Avro (all but map, fixed and float) and JSON are decoded here. Needs LuaSocket and lua-cjson (Debian:
-- lua-socket, lua-cjson).

local history = require "kafka_history"
local http = require "socket.http"
local json = require "cjson"

local addresses, topic, registry = ...
if not registry then error("usage: lua5.4 examples/envelope.lua ADDRESSES TOPIC REGISTRY_URL", 0) end

io.stdout:setvbuf "line"
http.TIMEOUT = 10

-- 1. Avro: a schema says which of these comes next; the text itself has no marks. Each function reads a
-- value at `at` and returns it with the place behind it.

local avro = {}

-- A named type by its name; { "null", "string" }: a union; { type = "record", ... }; "long".
local function decode(schema, bytes, at, names)
  local kind = schema
  if type(schema) == "table" then kind = schema.type or "union" end
  if type(kind) == "table" then return decode(kind, bytes, at, names) end -- { type = { type = ... } }
  if type(schema) == "table" and schema.name then
    names[schema.name] = schema
    if schema.namespace then names[schema.namespace .. "." .. schema.name] = schema end
  end
  if names[kind] then return decode(names[kind], bytes, at, names) end
  if not avro[kind] then error(("no decoder for Avro's type %q"):format(kind), 0) end
  return avro[kind](bytes, at, schema, names)
end

local function byte(bytes, at)
  return bytes:byte(at) or error("the payload ends too early", 0), at + 1
end

-- 7 bits a byte, the lowest first; then zigzag: 0, -1, 1, -2, ... LuaJIT's numbers are exact up to 2^53.
function avro.long(bytes, at)
  local sum, scale = 0, 1
  local part
  repeat
    part, at = byte(bytes, at)
    sum, scale = sum + part % 128 * scale, scale * 128
  until part < 128
  local half = math.floor(sum / 2)
  return sum % 2 == 0 and half or -half - 1, at
end
avro.int = avro.long

function avro.string(bytes, at)
  local size
  size, at = avro.long(bytes, at)
  if size < 0 or at + size - 1 > #bytes then error("the payload ends too early", 0) end
  return bytes:sub(at, at + size - 1), at + size
end
avro.bytes = avro.string

function avro.boolean(bytes, at)
  local value
  value, at = byte(bytes, at)
  return value == 1, at
end

function avro.null(_, at)
  return json.null, at
end

-- IEEE 754, the lowest byte first.
function avro.double(bytes, at)
  local high, higher = bytes:byte(at + 6, at + 7)
  if not higher then error("the payload ends too early", 0) end
  local fraction = high % 16
  for i = at + 5, at, -1 do fraction = fraction * 256 + bytes:byte(i) end
  local exponent = higher % 128 * 16 + math.floor(high / 16)
  local sign = higher < 128 and 1 or -1
  if exponent == 2047 then return sign * (fraction == 0 and math.huge or 0 / 0), at + 8 end
  if exponent == 0 then return sign * fraction * 2 ^ -1074, at + 8 end
  return sign * (fraction / 2 ^ 52 + 1) * 2 ^ (exponent - 1023), at + 8
end

function avro.enum(bytes, at, schema)
  local index
  index, at = avro.long(bytes, at)
  return schema.symbols[index + 1], at
end

function avro.union(bytes, at, schema, names)
  local index
  index, at = avro.long(bytes, at)
  if not schema[index + 1] then error("the payload does not fit its schema", 0) end
  return decode(schema[index + 1], bytes, at, names)
end

function avro.record(bytes, at, schema, names)
  local record = {}
  for _, field in ipairs(schema.fields) do
    record[field.name], at = decode(field.type, bytes, at, names)
  end
  return record, at
end

-- Blocks of items; a negative count is followed by the block's size. A block of none ends it.
function avro.array(bytes, at, schema, names)
  local array = {}
  while true do
    local count
    count, at = avro.long(bytes, at)
    if count == 0 then return array, at end
    if count < 0 then count, at = -count, select(2, avro.long(bytes, at)) end
    for _ = 1, count do array[#array + 1], at = decode(schema.items, bytes, at, names) end
  end
end

-- 2. The registry: a function that decodes payloads for each id that was seen.

local formats = {}

function formats.AVRO(text)
  local schema = json.decode(text)
  return function(payload) return (decode(schema, payload, 1, {})) end
end

function formats.JSON()
  return json.decode
end

local decoders = {}

local function decoder(id)
  if not decoders[id] then
    local url = ("%s/schemas/ids/%d"):format(registry, id)
    local body, status = http.request(url)
    if status ~= 200 then error(("%s: %s"):format(url, status), 0) end
    local answer = json.decode(body)
    local format = answer.schemaType or "AVRO"
    if not formats[format] then error(("schema %d: no decoder for %s"):format(id, format), 0) end
    decoders[id] = formats[format](answer.schema)
  end
  return decoders[id]
end

local function open(envelope)
  local magic, a, b, c, d = envelope:byte(1, 5)
  if magic ~= 0 or not d then error("not in a schema registry's envelope", 0) end
  local id = ((a * 256 + b) * 256 + c) * 256 + d
  return decoder(id)(envelope:sub(6)), id
end

-- 3. Business logic sees tables. Here they are shown, with their fields in order.

local function show(value)
  if value == json.null then return "null" end
  if type(value) == "number" then return ("%.14g"):format(value) end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  if #value > 0 then
    for i, item in ipairs(value) do parts[i] = show(item) end
    return "[" .. table.concat(parts, ", ") .. "]"
  end
  for name, part in pairs(value) do table.insert(parts, name .. "=" .. show(part)) end
  table.sort(parts)
  return "{" .. table.concat(parts, " ") .. "}"
end

local function handle(message)
  local envelope = message:data()
  if not envelope then return print(message.key, "deleted") end
  local value, id = open(envelope)
  print(message.key, ("schema %d"):format(id), show(value))
end

-- A registry that is away for a moment shall not end this: the same message is tried again.
local consumer = assert(history.new { addresses = addresses, topics = topic })
local on_error = { retry = 3, backoff = 0.5 }
local ok, err = consumer:read_history(handle, { on_error = on_error, stop_at = "caught_up" })
if not ok then error(err, 0) end
print(("caught up after %d messages"):format(consumer:progress().messages))
ok, err = consumer:read_history(handle, { on_error = on_error })
if not ok then error(err, 0) end
