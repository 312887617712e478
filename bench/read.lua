--- How fast a topic's history is read: messages a second, CPU a message, peak memory, beside a plain C loop
-- on librdkafka and other clients. The machine's speed drifts, so only ratios are to be quoted: each is
-- that of two runs of the same round.

local race = require "race"

local messages = race.settings.messages
local topics = {
  { name = "1 x 100 B", partitions = 1, messages = messages },
  { name = "8 x 100 B", partitions = 8, messages = messages, has_table_form = true },
  -- Half as many: as many bytes as the others are not needed.
  { name = "8 x 1 KiB", partitions = 8, messages = math.ceil(messages / 2), bytes = 1024 },
  { name = "8 x 100 B lz4", partitions = 8, messages = messages, codec = "lz4" },
}

for _, topic in ipairs(topics) do topic.messages = math.min(topic.messages, race.room(topic)) end
race.open(topics)
for _, topic in ipairs(topics) do
  local contestants = race.choose(race.module_and_c(), race.fast(),
    topic.has_table_form and race.table_form() or {}, race.others(), race.franz_go(), race.preloaded())
  for _, work in ipairs { "count", "table" } do race.read_and_print("read", contestants, topic, work) end
end
race.close(topics)
