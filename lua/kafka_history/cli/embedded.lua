--- A file of JSON, a line each, as the topic of an embedded broker.
--
-- A line that is an object of nothing but a message's members (key, value, key_base64, value_base64,
-- headers, timestamp, partition, topic, offset, timestamp_type), a key or a value among them, is that
-- message, as `--format json` prints it; the offset is not kept. Any other line is itself the value of a
-- message without a key.

local broker = require "kafka_history.broker"
local cjson = require "cjson".new()

local embedded = {}

local members = {
  topic = true, partition = true, offset = true, timestamp = true, timestamp_type = true, headers = true,
  key = true, value = true, key_base64 = true, value_base64 = true,
}

local function is_message(object)
  if type(object) ~= "table" then return false end
  for name in pairs(object) do
    if not members[name] then return false end
  end
  return (object.key or object.value or object.key_base64 or object.value_base64) ~= nil
end

local places = {}
do
  local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  for i = 1, #alphabet do places[alphabet:byte(i)] = i - 1 end
end

-- nil where it is none.
local function from_base64(text)
  local stripped = text:gsub("=+$", "")
  if stripped:find "[^%w+/]" or #stripped % 4 == 1 then return nil end
  local out = {}
  for at = 1, #stripped, 4 do
    local a, b, c, d = stripped:byte(at, at + 3)
    local n = places[a] * 262144 + places[b] * 4096 + (c and places[c] or 0) * 64 + (d and places[d] or 0)
    local bytes = string.char(math.floor(n / 65536), math.floor(n / 256) % 256, n % 256)
    out[#out + 1] = bytes:sub(1, d and 3 or c and 2 or 1)
  end
  return table.concat(out)
end

-- The position behind the string that begins at `at`; behind the value that does, which ends at a comma
-- or with what it is in. The text is known to be JSON.
local function skip_string(text, at)
  while true do
    local stop = text:find('["\\]', at + 1)
    if text:sub(stop, stop) == '"' then return stop + 1 end
    at = stop + 1
  end
end

local function skip_value(text, at)
  local depth = 0
  while true do
    local stop = text:find('["%[%]{},]', at)
    local mark = text:sub(stop, stop)
    at = stop + 1
    if mark == '"' then
      at = skip_string(text, stop)
    elseif mark == "{" or mark == "[" then
      depth = depth + 1
    elseif depth == 0 then
      return stop
    elseif mark ~= "," then
      depth = depth - 1
    end
  end
end

-- The text of a member of the object that a line is, as it stands there.
local function raw_member(line, name)
  local at = line:find "{"
  while true do
    local quote = line:find('"', at + 1, true)
    local behind = skip_string(line, quote)
    local colon = line:find(":", behind, true)
    at = skip_value(line, colon + 1)
    if line:sub(quote + 1, behind - 2) == name then
      return line:sub(colon + 1, at - 1):match "^%s*(.-)%s*$"
    end
  end
end

-- The string that stands for a key or a value: what is no string is itself JSON.
local function to_bytes(object, name, line)
  local coded = object[name .. "_base64"]
  if coded ~= nil then
    local bytes = type(coded) == "string" and from_base64(coded)
    if not bytes then error({ mistake = name .. "_base64: is no base64" }, 0) end
    return bytes
  end
  local value = object[name]
  if value == nil or value == cjson.null then return nil end
  if type(value) == "string" then return value end
  return line and raw_member(line, name) or cjson.encode(value)
end

local function to_message(object, line)
  local headers
  if type(object.headers) == "table" then
    headers = {}
    for i, header in ipairs(object.headers) do
      if type(header) ~= "table" then error({ mistake = "headers: expected an array of objects" }, 0) end
      headers[i] = { name = to_bytes(header, "name"), value = to_bytes(header, "value") }
    end
  end
  local function given(name)
    if object[name] ~= cjson.null then return object[name] end
  end
  return { key = to_bytes(object, "key", line), value = to_bytes(object, "value", line), headers = headers,
    timestamp = given "timestamp", partition = given "partition" }
end

-- Messages by topic, and how many partitions each has.
local function parse(text, topic)
  local messages, partitions, number = {}, {}, 0
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    number = number + 1
    if line:find "%S" then
      local ok, object = pcall(cjson.decode, line)
      if not ok then error({ mistake = ("line %d is no JSON"):format(number) }, 0) end
      local into, message = topic, { value = line }
      if is_message(object) then
        local fine, made = pcall(to_message, object, line)
        if not fine then error({ mistake = ("line %d: %s"):format(number, made.mistake or made) }, 0) end
        message = made
        into = type(object.topic) == "string" and object.topic or topic
        local partition = message.partition
        if partition ~= nil and not (type(partition) == "number" and partition >= 0 and partition < 10000
            and partition % 1 == 0) then
          error({ mistake = ("line %d: partition: expected a number from 0 to 9999"):format(number) }, 0)
        end
      end
      messages[into] = messages[into] or {}
      table.insert(messages[into], message)
      partitions[into] = math.max(partitions[into] or 1, (message.partition or 0) + 1)
    end
  end
  return messages, partitions
end

local function base_name(file)
  local name = file:match "([^/]*)$":gsub("%.[^.]*$", ""):gsub("[^%w._-]", "-")
  return name ~= "" and name or "topic"
end

local function names(set)
  local all = {}
  for name in pairs(set) do all[#all + 1] = name end
  table.sort(all)
  return all
end

local function check_topics(topics, partitions)
  for _, topic in ipairs(topics) do
    if not partitions[topic] then
      error({ mistake = ("no line is of topic %s; there are %s"):format(topic,
        table.concat(names(partitions), ", ")) }, 0)
    end
  end
end

local function fill(shop, messages)
  for topic, list in pairs(messages) do
    local ok, stored, err, code = pcall(shop.produce, shop, topic, list, { timeout = 120 })
    if not ok then error({ mistake = tostring(stored) }, 0) end
    if not stored then
      if code ~= "FULL" then error({ mistake = err }, 0) end
      error({ mistake = "too large for the embedded broker, which keeps 5 MB (compressed) of each partition: "
        .. "give its lines more partitions, or take a part of it" }, 0)
    end
  end
end

local function open(options)
  local file, mistake = io.open(options.embedded, "rb")
  local text = file and file:read "*a"
  if file then file:close() end
  if not text then error({ mistake = mistake or "cannot be read", named = mistake }, 0) end
  local topic = options.topics[1] or base_name(options.embedded)
  local messages, partitions = parse(text, topic)
  if not next(partitions) then partitions[topic] = 1 end
  check_topics(options.topics, partitions)
  local shop, err = broker.new { topics = partitions }
  if not shop then error({ mistake = err }, 0) end
  fill(shop, messages)
  return shop, #options.topics > 0 and options.topics or names(partitions)
end

--- The broker and the topics to read; nil and what is wrong.
function embedded.open(options)
  local ok, shop, topics = pcall(open, options)
  if ok then return shop, topics end
  if type(shop) ~= "table" then error(shop, 0) end
  return nil, shop.named or options.embedded .. ": " .. shop.mistake
end

return embedded
