--- The command beside kcat: a topic's history printed to /dev/null, as values, as JSON, and by a format. kcat
-- has its own settings, with which it waits for a second whenever its queue is full, and a queue that is
-- never full.

local race = require "race"

local topic = { name = "8 x 100 B", partitions = 8, messages = race.settings.messages }
topic.messages = math.min(topic.messages, race.room(topic))
local topics = { topic }
race.open(topics)

local from_beginning = ("-b '%s' -t %s -o beginning -e -q"):format(race.addresses, topic.id)
local large_queue = "-X queued.min.messages=10000000 -X queued.max.messages.kbytes=2097151"
local until_caught_up = ("-b '%s' -t %s --until caught-up --progress never"):format(race.addresses, topic.id)

local lengths = [['%p %o %K %k %S %s\n']]

local works = {
  { name = "values", kcat = "", format = "--format value" },
  { name = "JSON", kcat = "-J", format = "--format json" },
  { name = "lengths and bytes", kcat = "-f " .. lengths, format = "--format " .. lengths },
}

local function commands(format)
  local found = {}
  for i, build in ipairs(race.builds()) do
    found[i] = race.program("kafka-history " .. build.name, ([[env LUA_CPATH="$PWD/%s/?.so;;" %s ]]
      .. "bin/kafka-history %s %s"):format(build.directory, build.interpreter, until_caught_up, format))
  end
  return found
end

for _, work in ipairs(works) do
  local contestants = race.choose({
    race.program("kcat", ("kcat -C %s %s"):format(from_beginning, work.kcat)),
    race.program("kcat large queue", ("kcat -C %s %s %s"):format(from_beginning, large_queue, work.kcat)),
  }, commands(work.format))
  local runs = race.run(contestants, race.settings.rounds, function(contestant)
    local figures = race.measure(contestant, topic, work.name)
    figures.messages = topic.messages
    return figures
  end)
  local rows = {}
  for i, contestant in ipairs(contestants) do
    rows[i] = { name = contestant.name, runs = runs[i] }
    race.save("command", { "messages", "seconds", "cpu", "kb" }, topic.name, work.name, contestant.name,
      runs[i])
  end
  race.print(("%s, printed as %s: %d messages, medians of %d rounds"):format(topic.name, work.name,
    topic.messages, race.settings.rounds), race.reading, rows)
end
race.close(topics)
