-- The mixed topic: 12 partitions, 3 of them empty, all kinds of messages and all codecs.

local kafka = require "support.kafka"
local producer = require "kafka_history.producer"

local mixed = {}

local PARTITIONS = 12
local EMPTY = { [2] = true, [9] = true, [11] = true }
local CODECS = { "none", "gzip", "snappy", "lz4", "zstd" }
local MESSAGE_BYTES = 900 * 1024

local every_byte = {}
for byte = 0, 255 do every_byte[#every_byte + 1] = string.char(byte) end
every_byte = table.concat(every_byte)

local function samples(codec, partition)
  return {
    { key = "key", value = "value" },
    { value = "null key" },
    { key = "", value = "empty key" },
    { key = "null value" },
    { key = "empty value", value = "" },
    {},
    { key = "", value = "" },
    { key = every_byte, value = every_byte .. every_byte },
    { key = "\0", value = "\0\0\0" },
    { key = "a\0b", value = "line\nline\r\n\0end" },
    { key = "old", value = "of 2001", timestamp = 1000000000123 },
    { key = "h", value = "headers", headers = { { name = "codec", value = codec } } },
    { key = "h", value = "repeated", headers = {
      { name = "n", value = "1" }, { name = "n", value = "2" }, { name = "m", value = "" },
      { name = "n", value = "1" } } },
    { key = "h", value = "null headers", headers = {
      { name = "n" }, { name = "n", value = "x" }, { name = "n" } } },
    { headers = {
      { name = "only", value = "\1\2\0\255" }, { name = "partition", value = tostring(partition) } } },
    { key = "compressible", value = ("history "):rep(500) },
  }
end

-- Of a length, compressible, and different in each place.
local function large(length, text)
  return text .. ("0123456789abcdef"):rep(math.floor((length - #text) / 16))
end

local function send(to, topic, sent, partition, message)
  message.partition = partition
  assert(to:send(topic, message))
  local list = sent[partition] or {}
  list[#list + 1] = message
  sent[partition] = list
end

mixed.partitions = PARTITIONS

--- How many messages it has.
mixed.total = 9 * 3 * 16 * #CODECS + #CODECS

--- Creates it and fills it. Returns its name, and what it was sent: an array by partition.
function mixed.create()
  local topic, sent = kafka.create("mixed", { partitions = PARTITIONS }), {}
  for i, codec in ipairs(CODECS) do
    local to = assert(producer.new { addresses = kafka.addresses(), options = {
      ["compression.codec"] = codec, ["linger.ms"] = 20, ["message.max.bytes"] = 1000000 } })
    for partition = 0, PARTITIONS - 1 do
      if not EMPTY[partition] then
        for round = 1, 3 do
          for _, message in ipairs(samples(codec, partition)) do
            message.value = message.value and round == 2 and message.value .. round or message.value
            send(to, topic, sent, partition, message)
          end
        end
      end
    end
    -- Larger than the topic allows, unless it is compressed: no codec can be missing unseen.
    kafka.config(topic, { ["max.message.bytes"] = codec == "none" and 1048588 or 200000 })
    send(to, topic, sent, 3 + i, { key = codec, value = large(MESSAGE_BYTES, codec) })
    assert(to:flush(30))
    to:close()
  end
  return topic, sent
end

return mixed
