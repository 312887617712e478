--- What a group costs: its only member beside a consumer without one, of the same topic, in turns. Each
-- ratio is that of two runs of the same round.

local race = require "race"

local topic = { name = "8 x 100 B", partitions = 8, messages = race.settings.messages }
topic.messages = math.min(topic.messages, race.room(topic))

local contestants, bases = {}, {}

-- One that does this work, whatever it is asked for.
local function add(name, of, work)
  contestants[#contestants + 1] = {
    name = name .. ", " .. work,
    command = function(id) return of.command(id, work) end,
  }
end

for i, one in ipairs(race.named("Lua 5.4 objects", "Lua 5.4 fields", "LuaJIT objects", "LuaJIT fields")) do
  add(one.name, one, "alone")
  add(one.name, one, "member")
  bases[2 * i - 1], bases[2 * i] = 2 * i - 1, 2 * i - 1
end

local topics = { topic }
race.open(topics)
race.read_and_print("group", contestants, topic, "count", bases)
race.close(topics)
