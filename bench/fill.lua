--- Fills a topic with messages to read: keys from a set, values of one size, over all its partitions.
--
--     lua bench/fill.lua ADDRESSES TOPIC PARTITIONS MESSAGES VALUE_BYTES [KEYS [CODEC]]

local producer = require "kafka_history.producer"

local addresses, topic, partitions, messages, bytes, keys, codec = ...
partitions, messages, bytes = tonumber(partitions), tonumber(messages), tonumber(bytes)
keys = tonumber(keys) or 10000

local out = assert(producer.new {
  addresses = addresses,
  options = {
    ["compression.codec"] = codec or "none", ["linger.ms"] = 50, ["batch.size"] = 131072,
    ["queue.buffering.max.messages"] = 1000000,
  },
})
local text = ("the quick brown fox jumps over the lazy dog "):rep(math.ceil(bytes / 44) + 1)
for i = 1, messages do
  local shift = i % 44
  assert(out:send(topic, {
    key = ("key-%07d"):format(i * 7919 % keys), value = text:sub(shift + 1, shift + bytes),
    partition = i % partitions,
  }))
end
assert(out:flush(120))
out:close()
