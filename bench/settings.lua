--- What settings of the host's and of read_history's are worth: Lua's collector, and how many messages are
-- taken at once.

local race = require "race"

local topic = { name = "8 x 100 B", partitions = 8, messages = race.settings.messages }

local function with(form, name, code)
  return race.lua(("Lua 5.4 %s + %s"):format(form, name), ("lua5.4 -e '%s'"):format(code), "build",
    form == "fields" and form or "messages")
end

local contestants = race.named("C loop", "Lua 5.4 objects", "Lua 5.4 fields")
for _, form in ipairs { "objects", "fields" } do
  contestants[#contestants + 1] = with(form, "pause 400", 'collectgarbage("incremental", 400)')
  contestants[#contestants + 1] = with(form, "pause 1000", 'collectgarbage("incremental", 1000)')
  contestants[#contestants + 1] = with(form, "incremental", 'collectgarbage "incremental"')
  for _, batch in ipairs { 50, 2000, 10000 } do
    contestants[#contestants + 1] = with(form, "batch " .. batch, "BATCH = " .. batch)
  end
end
contestants = race.choose(contestants)

topic.messages = math.min(topic.messages, race.room(topic))
local topics = { topic }
race.open(topics)
for _, work in ipairs { "count", "table" } do race.read_and_print("settings", contestants, topic, work) end
race.close(topics)
