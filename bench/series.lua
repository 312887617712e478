--- Whether the cost grows linearly: time per message over the number of messages and of partitions, per
-- byte over the size of values. Every point of a series has its turn in every round.

local race = require "race"

local messages = race.settings.messages
local bytes_most = messages * 500 -- of a topic with large values

local function by_messages()
  local points = {}
  for _, factor in ipairs { 0.5, 1, 2.5, 5, 10 } do
    points[#points + 1] = { at = messages * factor, partitions = 8, messages = messages * factor }
  end
  return points
end

-- Full batches, whatever the number of partitions.
local function by_partitions()
  local points = {}
  for _, partitions in ipairs { 1, 10, 100, 1000 } do
    points[#points + 1] = { at = partitions, partitions = partitions, messages = messages * 2, run = 1000 }
  end
  return points
end

local function by_bytes()
  local points = {}
  for _, bytes in ipairs { 10, 100, 1024, 10240, 102400 } do
    points[#points + 1] = { at = bytes, partitions = 8, bytes = bytes,
      messages = math.ceil(math.min(messages, bytes_most / bytes)) }
  end
  return points
end

local function ns_per_message(run) return run.seconds / run.messages * 1e9 end
local function ns_per_byte(run) return run.seconds / run.messages / run.at * 1e9 end

-- Only of large values the bytes are what costs: no ratio to the first row there.
local series = {
  { name = "messages", points = by_messages(), title = "Messages, 8 partitions of 100 B",
    unit = "ns/msg", format = "%.0f", value = ns_per_message, ratio = true },
  { name = "partitions", points = by_partitions(), title = "Partitions, 100 B", unit = "ns/msg",
    format = "%.0f", value = ns_per_message, ratio = true },
  { name = "bytes", points = by_bytes(), title = "Bytes of a value, 8 partitions", unit = "ns/B",
    format = "%.2f", value = ns_per_byte },
}

-- Those that the broker has room for.
local function fitting(points)
  local found = {}
  for _, point in ipairs(points) do
    if point.messages <= race.room(point) then found[#found + 1] = point end
  end
  return found
end

-- runs[point][contestant][round]
local function read(points, contestants)
  local runs = {}
  for i in ipairs(points) do
    runs[i] = {}
    for j in ipairs(contestants) do runs[i][j] = {} end
  end
  for _ = 1, race.settings.rounds do
    for i, point in ipairs(points) do
      local once = race.read(contestants, 1, point, "count")
      for j in ipairs(contestants) do
        once[j][1].at = point.at
        table.insert(runs[i][j], once[j][1])
      end
    end
  end
  return runs
end

-- A row for each point, a column for each contestant: what a row has of a round is all contestants' runs.
local function print_table(one, points, contestants, runs)
  local columns, rows = {}, {}
  for j, contestant in ipairs(contestants) do
    columns[j] = { title = contestant.name .. ", " .. one.unit, format = one.format, ratio = one.ratio,
      value = function(turns) return one.value(turns[j]) end }
  end
  for i, point in ipairs(points) do
    local rounds = {}
    for round = 1, race.settings.rounds do
      rounds[round] = {}
      for j in ipairs(contestants) do rounds[round][j] = runs[i][j][round] end
    end
    rows[i] = { name = ("%d"):format(point.at), runs = rounds }
  end
  race.print(("%s, count: medians of %d rounds"):format(one.title, race.settings.rounds), columns, rows)
end

local function run(one)
  local contestants = race.choose(race.named("C loop", "Lua 5.4 objects", "Lua 5.4 fields"))
  local points = fitting(one.points)
  race.open(points)
  local runs = read(points, contestants)
  race.close(points)
  for j, contestant in ipairs(contestants) do
    for i, point in ipairs(points) do
      race.save("series-" .. one.name, { "at", "messages", "seconds", "cpu", "kb" }, point.at, "count",
        contestant.name, runs[i][j])
    end
  end
  print_table(one, points, contestants, runs)
end

for _, one in ipairs(series) do run(one) end
