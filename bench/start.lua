--- How long it takes from `new` until caught up where there is little or nothing to read, and where no
-- message tells the end: behind the marker of a transaction, and behind messages that were aborted.

local race = require "race"

local partitions = 10

local function send_to_all(out, topic)
  for partition = 0, partitions - 1 do
    for i = 1, 10 do
      assert(out:send(topic, { partition = partition, key = "key-" .. i, value = "value" }))
    end
  end
end

local function transactional(last)
  return function(addresses, topic)
    local out = assert(require "kafka_history.producer".new {
      addresses = addresses, transactional_id = topic,
    })
    assert(out:begin())
    send_to_all(out, topic)
    assert(out:commit())
    if last == "abort" then
      assert(out:begin())
      send_to_all(out, topic)
      assert(out:abort())
    end
    out:close()
  end
end

local topics = {
  { name = "10 x 10 messages", partitions = partitions, messages = 100 },
  { name = "10 empty partitions", partitions = partitions, messages = 0 },
  { name = "1000 x 10 messages", partitions = 1000, messages = 10000 },
}
if not race.is_embedded then -- it keeps no markers
  topics[#topics + 1] = { name = "10 x 10 then a commit marker", partitions = partitions,
    fill = transactional "commit" }
  topics[#topics + 1] = { name = "10 x 10 then 10 x 10 aborted", partitions = partitions,
    fill = transactional "abort" }
end

local function ms(run) return run.seconds * 1000 end
local function least(values) return math.min(table.unpack(values)) end
local function most(values) return math.max(table.unpack(values)) end
local columns = {
  { title = "ms", format = "%.1f", value = ms, ratio = true },
  { title = "least", format = "%.1f", value = ms, of = least },
  { title = "most", format = "%.1f", value = ms, of = most },
  { title = "CPU ms", format = "%.1f", value = function(run) return run.cpu * 1000 end },
}

local rounds = race.settings.rounds * 4 -- they are short
local contestants = race.choose(race.named("C loop", "Lua 5.4 objects", "LuaJIT objects"))
race.open(topics)
for _, topic in ipairs(topics) do
  local runs = race.read(contestants, rounds, topic, "count")
  local rows = {}
  for i, contestant in ipairs(contestants) do
    rows[i] = { name = contestant.name, runs = runs[i] }
    race.save("start", { "messages", "seconds", "cpu", "kb" }, topic.name, "count", contestant.name, runs[i])
  end
  race.print(("Start-up, %s: medians of %d rounds"):format(topic.name, rounds), columns, rows)
end
race.close(topics)
