-- What a topic holds, as kcat shows it: a reader that shares nothing with the module but the library
-- below both, and that knows nothing of ends, targets and signals.

local kafka = require "support.kafka"

local oracle = {}

-- Lengths first, so that keys and values may hold any byte; -1 is null. Headers are in the line, so
-- the specs' headers hold neither commas nor newlines; a null value is the word NULL, and what follows
-- a NUL byte is not shown.
local format = "%p %o %T %K %S %h\\n%k%s\\n"

local function take(bytes, at, length)
  if length < 0 then return nil, at end
  return bytes:sub(at, at + length - 1), at + length
end

local function parse(bytes)
  local log, at = {}, 1
  while at <= #bytes do
    local _, stop, partition, offset, timestamp, key_length, value_length, headers =
      bytes:find("^(%d+) (%d+) (%-?%d+) (%-?%d+) (%-?%d+) ([^\n]*)\n", at)
    assert(stop, "kcat's output is not understood")
    local message = {
      partition = tonumber(partition), offset = tonumber(offset), timestamp = tonumber(timestamp),
      headers = headers,
    }
    message.key, at = take(bytes, stop + 1, tonumber(key_length))
    message.value, at = take(bytes, at, tonumber(value_length))
    assert(bytes:sub(at, at) == "\n", "kcat's output is out of step")
    at = at + 1
    local messages = log[message.partition] or {}
    messages[#messages + 1] = message
    log[message.partition] = messages
  end
  return log
end

-- Everything that is readable now: { [partition] = array of messages }, without the empty ones.
-- level: an isolation.level.
function oracle.read(topic, level)
  return parse(kafka.kcat { "-C", "-t", topic, "-o", "beginning", "-e", "-q",
    "-X", "isolation.level=" .. level, "-X", "fetch.wait.max.ms=20", "-f", format })
end

-- Does the broker list the topic? Asked for all topics, because asking for one may create it.
function oracle.has_topic(topic)
  return kafka.kcat({ "-L" }):find('topic "' .. topic .. '"', 1, true) ~= nil
end

-- A message of the module in the same form.
function oracle.like(msg)
  local headers = {}
  for i, header in ipairs(msg.headers) do
    local value = header.value or "NULL"
    headers[i] = header.name .. "=" .. value:sub(1, (value:find("\0", 1, true) or 0) - 1)
  end
  return {
    partition = msg.partition, offset = msg.offset, timestamp = msg.timestamp, key = msg.key,
    value = msg.value, headers = table.concat(headers, ","),
  }
end

-- The difference of two arrays of messages in words; nil: none.
function oracle.difference(expected, given)
  for i = 1, math.max(#expected, #given) do
    local a, b = expected[i], given[i]
    if not a then return ("message %d is one too many, at offset %d"):format(i, b.offset) end
    if not b then
      return ("%d of %d messages; the next would be at offset %d"):format(#given, #expected, a.offset)
    end
    for _, field in ipairs { "partition", "offset", "timestamp", "key", "value", "headers" } do
      if a[field] ~= b[field] then
        return ("message %d: %s is %q, not %q"):format(i, field, tostring(b[field]):sub(1, 60),
          tostring(a[field]):sub(1, 60))
      end
    end
  end
end

return oracle
