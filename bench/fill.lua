--- Fills a topic with messages to read: keys from a set, values of one size, over all its partitions.
--
--     lua bench/fill.lua ADDRESSES TOPIC PARTITIONS MESSAGES VALUE_BYTES [KEYS [CODEC]]
--
-- With the word "granted" for MESSAGES it sends 10 000 for each line that it reads, until there are no
-- more: whoever writes the lines sets the pace.

local producer = require "kafka_history.producer"

local addresses, topic, partitions, messages, bytes, keys, codec = ...
partitions, bytes = tonumber(partitions), tonumber(bytes)
keys = tonumber(keys) or 10000

local out = assert(producer.new {
  addresses = addresses,
  options = {
    ["compression.codec"] = codec or "none", ["linger.ms"] = 50, ["batch.size"] = 131072,
    ["queue.buffering.max.messages"] = 1000000,
  },
})
local text = ("the quick brown fox jumps over the lazy dog "):rep(math.ceil(bytes / 44) + 1)
local sent = 0
local function send(count)
  for i = sent + 1, sent + count do
    local shift = i % 44
    assert(out:send(topic, {
      key = ("key-%07d"):format(i * 7919 % keys), value = text:sub(shift + 1, shift + bytes),
      partition = i % partitions,
    }))
  end
  sent = sent + count
end

if messages == "granted" then
  for _ in io.lines() do send(10000) end
else
  send(tonumber(messages))
end
assert(out:flush(120))
out:close()
