--- The latest value of each key: a compacting read and a view, beside a plain C loop that fills the same
-- table and beside franz-go with a map; and what asking a view costs. Few keys, each replaced many times,
-- and many.

local race = require "race"

local messages = race.settings.messages
local topics = {}
for i, keys in ipairs { 10000, 1000000 } do
  topics[i] = { name = ("8 x 100 B of %d keys"):format(keys), partitions = 8, keys = keys }
  topics[i].messages = math.min(messages, race.room(topics[i]))
end

local function of_builds(make)
  local found = {}
  for i, build in ipairs(race.builds()) do found[i] = make(build) end
  return found
end

local function with_work(work, base)
  return of_builds(function(build)
    return race.with_work(race.lua(build.name, build.interpreter, build.directory, "fields"),
      build.name .. " " .. work, work, base)
  end)
end

-- Of what each reading is compared with.
local by_partition, by_topic = "C loop latest", "C loop view"

local function bases()
  local c_loop = race.c_loop "C loop"
  local found = { race.with_work(c_loop, by_partition, "latest"), race.with_work(c_loop, by_topic, "view") }
  for _, contestant in ipairs(found) do contestant.is_base = true end
  return found
end

local function others()
  local found = {}
  for i, contestant in ipairs(race.franz_go()) do
    found[i] = race.with_work(contestant, contestant.name .. " map", "latest", by_topic)
  end
  found[#found + 1] = race.with_work(race.lua("", "lua5.4", "build", "fields"), "Lua 5.4 fields table",
    "table", by_topic)
  return found
end

local contestants = race.choose(bases(), with_work("kept", by_partition), with_work("latest", by_partition),
  with_work("view", by_topic), others())
local numbers, base_numbers = {}, {}
for i, contestant in ipairs(contestants) do numbers[contestant.name] = i end
for i, contestant in ipairs(contestants) do base_numbers[i] = numbers[contestant.base or contestant.name] end

local function is(name)
  return function(run) return run[name] end
end

local columns = {
  { title = "get ns, a hundred keys", format = "%.0f", value = is "hot_ns" },
  { title = "get ns, all in random order", format = "%.0f", value = is "random_ns" },
  { title = "pairs ns/key", format = "%.0f", value = is "pairs_ns" },
}

local function ask(topic)
  local views = race.choose(of_builds(function(build)
    return race.lua(build.name .. " view", build.interpreter, build.directory, "")
  end))
  local runs = race.run(views, race.settings.rounds, function(contestant)
    return race.measure(contestant, topic, "get")
  end)
  local rows = {}
  for i, contestant in ipairs(views) do
    rows[i] = { name = contestant.name, runs = runs[i] }
    race.save("latest-get", { "hot_ns", "random_ns", "pairs_ns", "keys" }, topic.name, "get",
      contestant.name, runs[i])
  end
  race.print(("%s, asking a view: medians of %d rounds"):format(topic.name, race.settings.rounds), columns,
    rows)
end

race.open(topics)
for _, topic in ipairs(topics) do
  race.read_and_print("latest", contestants, topic, "latest", base_numbers)
  ask(topic)
end
race.close(topics)
