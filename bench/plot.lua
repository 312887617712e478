--- Draws what bench/run has saved, with gnuplot: RESULTS/*.csv to PLOTS/*.svg. The same figures make the
-- same plots.

local race = require "race"

local plots = os.getenv "PLOTS"

if not os.execute "command -v gnuplot >/dev/null" then
  io.stderr:write "bench: no plots without gnuplot (Debian: gnuplot-nox)\n"
  os.exit()
end

-- What race.save has written: a table a line, by the names of the columns; nil: there is no such file.
local function load(name)
  local file = io.open(("%s/%s.csv"):format(race.settings.results, name))
  if not file then return nil end
  local names, rows = {}, {}
  for field in file:read "*l":gmatch "[^,]+" do names[#names + 1] = field end
  for line in file:lines() do
    local row, at = {}, 0
    for field in line:gmatch "[^,]+" do
      at = at + 1
      row[names[at]] = tonumber(field) or field
    end
    rows[#rows + 1] = row
  end
  file:close()
  return rows
end

-- The median of value(row) for each pair of `across` and contestant, and both in the order of the file.
local function medians(rows, across, value)
  local values, columns, contestants, seen = {}, {}, {}, {}
  for _, row in ipairs(rows) do
    local x, name = row[across], row.contestant
    if not seen[x] then columns[#columns + 1] = x end
    if not seen[name] then contestants[#contestants + 1] = name end
    seen[x], seen[name] = true, true
    values[name] = values[name] or {}
    values[name][x] = values[name][x] or {}
    table.insert(values[name][x], value(row))
  end
  for _, of_name in pairs(values) do
    for x, list in pairs(of_name) do of_name[x] = race.median(list) end
  end
  return values, columns, contestants
end

-- --- gnuplot --------------------------------------------------------------------------------------------

local colours = { "#222222", "#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#cc79a7", "#999999",
  "#b8a000" }

local function draw(name, title, settings, data, curves)
  local pipe = assert(io.popen("gnuplot", "w"))
  pipe:write(("set terminal svg size 820,440 font 'sans-serif,13' background 'white' name '%s'\n"):format(
    name:gsub("-", "_")))
  pipe:write(("set output '%s/%s.svg'\nset title %q\n"):format(plots, name, title))
  for i, colour in ipairs(colours) do
    pipe:write(("set linetype %d linecolor rgb '%s' linewidth 2 pointtype 7 pointsize 0.6\n")
      :format(i, colour))
  end
  pipe:write("set grid ytics\nset key outside right top\nset yrange [0:*]\n", settings, "\n")
  pipe:write("$data << END\n", table.concat(data, "\n"), "\nEND\nplot ", table.concat(curves, ", "), "\n")
  assert(pipe:close(), "gnuplot failed")
end

-- A row of the data: what it stands for, and each contestant's value; "?" where there is none.
local function data_of(values, columns, contestants)
  local lines = {}
  for i, x in ipairs(columns) do
    local cells = { type(x) == "number" and ("%d"):format(x) or ('"%s"'):format(x) }
    for _, name in ipairs(contestants) do
      local value = values[name][x]
      cells[#cells + 1] = value and ("%.6g"):format(value) or "?"
    end
    lines[i] = table.concat(cells, " ")
  end
  return lines
end

local function curves_of(contestants, how)
  local curves = {}
  for i, name in ipairs(contestants) do
    curves[i] = ("$data using %s title \"%s\""):format(how:format(i + 1), name)
  end
  return curves
end

-- Bars in groups: a group for each topic, a bar for each contestant.
local function bars(name, title, unit, rows, value)
  local values, columns, contestants = medians(rows, "topic", value)
  local settings = ("set datafile missing '?'\nset style data histograms\n"
    .. "set style histogram clustered gap 1\nset style fill solid noborder\nset ylabel '%s'"):format(unit)
  draw(name, title, settings, data_of(values, columns, contestants), curves_of(contestants, "%d:xtic(1)"))
end

local function lines(name, title, x_label, y_label, value, more)
  local rows = load("series-" .. name)
  if not rows then return end
  local values, columns, contestants = medians(rows, "at", value)
  local settings = ("set logscale x\nset xlabel '%s'\nset ylabel '%s'\nset format x '%%.0s%%c'\n%s"):format(
    x_label, y_label, more or "")
  draw("series-" .. name, title, settings, data_of(values, columns, contestants),
    curves_of(contestants, "1:%d with linespoints"))
end

-- --- the plots ------------------------------------------------------------------------------------------

local function filter(rows, keep)
  local kept = {}
  for _, row in ipairs(rows) do
    if keep(row) then kept[#kept + 1] = row end
  end
  return kept
end

-- The runs on one topic of those that have run with other allocators: these take the place of the topic.
local function by_allocator(rows)
  local can = { ["C loop"] = true, ["Lua 5.4 objects"] = true, ["Lua 5.4 fields"] = true }
  local found = {}
  for _, row in ipairs(rows) do
    local name, allocator = row.contestant:match "^(.-) %+ (.*)$"
    name = name or row.contestant
    if can[name] and row.work == "count" and row.topic == "8 x 100 B" then
      found[#found + 1] = { topic = allocator or "glibc", contestant = name, messages = row.messages,
        seconds = row.seconds }
    end
  end
  return found
end

local function rate(row) return row.messages / row.seconds / 1e6 end
local function ns_per_message(row) return row.seconds / row.messages * 1e9 end
local function ns_per_byte(row) return row.seconds / row.messages / row.at * 1e9 end

local read = load "read"
if read then
  for _, work in ipairs { "count", "table" } do
    bars("read-" .. work, ("Reading history, handler: %s"):format(work), "million messages/s",
      filter(read, function(row)
        local name = row.contestant
        return row.work == work and not (name:find "+ " or name:find "tables" or name:find " fast ")
      end), rate)
  end
  bars("read-allocators", "Reading 8 x 100 B with another allocator preloaded, handler: count",
    "million messages/s", by_allocator(read), rate)
end

lines("messages", "Time per message over the length of the history", "messages (8 partitions, 100 B)",
  "ns per message", ns_per_message)
lines("partitions", "Time per message over the number of partitions", "partitions (values of 100 B)",
  "ns per message", ns_per_message)
lines("bytes", "Time per byte over the size of values", "bytes of a value (8 partitions)", "ns per byte",
  ns_per_byte, "set logscale y\nset yrange [*:*]")
