--- Fills a topic with messages to read: keys from a set, values of one size, over all its partitions.
--
--     lua bench/fill.lua ADDRESSES TOPIC PARTITIONS MESSAGES VALUE_BYTES [KEYS [CODEC [RUN]]]
--
-- RUN messages in a row go to the same partition (1): with many partitions, what makes batches full.
-- Values are parts of one text of words, of which lz4 makes 1.6 bytes one.
-- With the word "granted" for MESSAGES it sends 10 000 for each line that it reads, until there are no
-- more: whoever writes the lines sets the pace.

local producer = require "kafka_history.producer"

local addresses, topic, partitions, messages, bytes, keys, codec, run = ...
partitions, bytes = tonumber(partitions), tonumber(bytes)
keys, run = tonumber(keys) or 10000, tonumber(run) or 1

local out = assert(producer.new {
  addresses = addresses,
  options = {
    ["compression.codec"] = codec or "none", ["linger.ms"] = 50, ["batch.size"] = 131072,
    ["queue.buffering.max.messages"] = 1000000,
  },
})

-- The same at every run: a generator of its own.
local seed = 1
local function random(below)
  seed = seed * 48271 % 2147483647
  return seed % below
end

local letters = "etaoinshrdlucmfwypvbgkjqxz"
local words = {}
for i = 1, 2000 do
  local word = {}
  for at = 1, 3 + random(7) do
    local letter = 1 + random(#letters)
    word[at] = letters:sub(letter, letter)
  end
  words[i] = table.concat(word)
end
local sentence = {}
for i = 1, 40000 do sentence[i] = words[1 + random(#words)] end
local text = table.concat(sentence, " ")

local sent = 0
local function send(count)
  for i = sent + 1, sent + count do
    local shift = i * 7919 % (#text - bytes)
    assert(out:send(topic, {
      key = ("key-%07d"):format(i * 7919 % keys), value = text:sub(shift + 1, shift + bytes),
      partition = math.floor(i / run) % partitions,
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
