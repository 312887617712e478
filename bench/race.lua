--- What all benchmarks have in common: topics to read, contestants that take turns, medians, ratios,
-- tables in Markdown, and the raw figures in a file.
--
-- bench/run sets the environment that `settings` is read from, and says what it means.

local race = {}

local function number(name, default)
  return tonumber(os.getenv(name) or "") or default
end

local function text(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

race.settings = {
  addresses = text "BENCH_ADDRESSES", -- nil: an embedded broker
  rounds = number("ROUNDS", 5),
  messages = number("MESSAGES", 2000000),
  only = text "ONLY",
  library_path = text "BENCH_LIBRARY_PATH", -- of another librdkafka
  results = text "RESULTS" or "build/bench/results",
}
local settings = race.settings

local function read_command(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read "*a"
  pipe:close()
  return output
end

local function execute(format, ...)
  local command = format:format(...)
  local ok = os.execute(command)
  assert(ok == true or ok == 0, "failed: " .. command)
end

-- --- topics ---------------------------------------------------------------------------------------------

race.is_embedded = not settings.addresses

local embedded_room = 4500000 -- bytes of a partition; it keeps 5 MB of batches
local overhead = 30 -- of a message, its key included

--- How many messages of a topic the broker can hold.
function race.room(topic)
  if not race.is_embedded then return math.huge end
  return math.floor(embedded_room / ((topic.bytes or 100) + overhead)) * topic.partitions
end

local prefix = "bench-" .. read_command "echo $PPID":match "%d+" .. "-"
local embedded

local function delete(topics)
  if embedded then
    embedded:close()
  else
    for _, topic in ipairs(topics) do
      if topic.id then os.execute(("build/kafka-admin '%s' delete %s"):format(race.addresses, topic.id)) end
    end
  end
end

--- Creates topics and fills them. Each: name, partitions, messages, bytes (100), keys (10000), codec, run;
-- `fill`, a function (addresses, name), does it in another way.
function race.open(topics)
  setmetatable(topics, { __gc = delete }) -- when something fails
  if race.is_embedded then
    local partitions = {}
    for i, topic in ipairs(topics) do partitions[prefix .. i] = topic.partitions end
    embedded = assert(require "kafka_history.broker".new { topics = partitions })
    race.addresses = embedded:addresses()
  else
    race.addresses = settings.addresses
  end
  for i, topic in ipairs(topics) do
    topic.id = prefix .. i
    if not race.is_embedded then
      execute("build/kafka-admin '%s' create %s %d", race.addresses, topic.id, topic.partitions)
    end
    if topic.fill then
      topic.fill(race.addresses, topic.id)
    elseif topic.messages > 0 then
      execute("lua5.4 bench/fill.lua '%s' %s %d %d %d %d %s %d", race.addresses, topic.id,
        topic.partitions, topic.messages, topic.bytes or 100, topic.keys or 10000, topic.codec or "none",
        topic.run or 1)
    end
  end
end

--- Deletes them.
function race.close(topics)
  setmetatable(topics, nil)
  delete(topics)
end

-- --- contestants ----------------------------------------------------------------------------------------

-- What Debian calls libmimalloc2.0 and libjemalloc2; nil where it is not installed.
local function find_library(name)
  local known = read_command "PATH=$PATH:/sbin:/usr/sbin ldconfig -p"
  return known:match("lib" .. name .. "%.so[%d.]* .-=> (%S+)")
end

local function environment(preload)
  local words = {}
  if settings.library_path then words[1] = ("LD_LIBRARY_PATH='%s'"):format(settings.library_path) end
  if preload then words[#words + 1] = ("LD_PRELOAD='%s'"):format(preload) end
  return #words > 0 and "env " .. table.concat(words, " ") .. " " or ""
end

-- As they are built, and with the allocator within.
local builds = {
  { name = "Lua 5.4", interpreter = "lua5.4", directory = "build" },
  { name = "LuaJIT", interpreter = "luajit", directory = "build/luajit" },
  { name = "Lua 5.4 fast", interpreter = "lua5.4", directory = "build/mimalloc", is_fast = true },
  { name = "LuaJIT fast", interpreter = "luajit", directory = "build/mimalloc/luajit", is_fast = true },
}

local function is_there(name)
  local file = io.open(name)
  if file then file:close() end
  return file ~= nil
end

--- The module's builds that there are: name, interpreter, directory.
function race.builds()
  local found = {}
  for _, build in ipairs(builds) do
    -- librdkafka is in a fast build, which no other one can take the place of.
    local is_wanted = not (build.is_fast and settings.library_path)
    if is_wanted and is_there(build.directory .. "/kafka_history/core.so") then found[#found + 1] = build end
  end
  return found
end

--- The module in an interpreter, whose handler gets messages or fields.
function race.lua(name, interpreter, cpath, form, preload)
  return {
    name = name,
    command = function(topic, work, argument)
      return ("LUA_CPATH='%s/?.so;;' %s%s bench/lua_loop.lua '%s' %s %s %s"):format(cpath,
        environment(preload), interpreter, race.addresses, topic, work, argument or form)
    end,
  }
end

function race.c_loop(name, preload)
  return {
    name = name,
    command = function(topic, work, argument)
      return ("%sbuild/bench/c_loop '%s' %s %s %s"):format(environment(preload), race.addresses, topic,
        work, argument or "")
    end,
  }
end

--- A program that tells no figures of itself, in the words of its command.
function race.program(name, command)
  return {
    name = name,
    command = function() return "build/bench/meter " .. command end,
  }
end

--- The same contestant under another name, with this work whatever it is asked for; compared with the one
-- whose name is `base`.
function race.with_work(contestant, name, work, base)
  return {
    name = name, base = base,
    command = function(topic, _, argument) return contestant.command(topic, work, argument) end,
  }
end

--- franz-go, as it comes and tuned, where it was built; the embedded broker is none for it.
function race.franz_go()
  if race.is_embedded or not is_there "build/bench/go_loop" then return {} end
  local function with(name, tuning)
    return {
      name = name,
      command = function(topic, work)
        return ("build/bench/go_loop '%s' %s %s%s"):format(race.addresses, topic, work, tuning)
      end,
    }
  end
  return { with("franz-go", ""), with("franz-go tuned", " tuned") }
end

--- The C loop, and the module in both Luas.
function race.module_and_c()
  return {
    race.c_loop "C loop",
    race.lua("Lua 5.4 objects", "lua5.4", "build", "messages"),
    race.lua("Lua 5.4 fields", "lua5.4", "build", "fields"),
    race.lua("LuaJIT objects", "luajit", "build/luajit", "messages"),
    race.lua("LuaJIT fields", "luajit", "build/luajit", "fields"),
  }
end

--- The fast build in both Luas, where it was built.
function race.fast()
  local found = {}
  for _, build in ipairs(race.builds()) do
    for _, form in ipairs(build.is_fast and { "objects", "fields" } or {}) do
      found[#found + 1] = race.lua(build.name .. " " .. form, build.interpreter, build.directory,
        form == "fields" and form or "messages")
    end
  end
  return found
end

--- Those of the module and C with these names.
function race.named(...)
  local found = {}
  for i, name in ipairs { ... } do
    for _, contestant in ipairs(race.module_and_c()) do
      if contestant.name == name then found[i] = contestant end
    end
  end
  return found
end

--- The form that a message does not have.
function race.table_form()
  return {
    race.lua("Lua 5.4 tables", "lua5.4", "build/bench/table", "messages"),
    race.lua("LuaJIT tables", "luajit", "build/luajit/bench/table", "messages"),
  }
end

--- Other clients, where they are installed; their librdkafka is the one they came with.
function race.others()
  local found = {}
  if settings.library_path then return found end
  if read_command "command -v kcat" ~= "" then
    found[1] = {
      name = "kcat", only = "count",
      command = function(topic)
        return ("build/bench/meter kcat -b '%s' -C -t %s -o beginning -e -q"):format(race.addresses, topic)
      end,
    }
  end
  if is_there "build/bench/python/bin/python" then
    found[#found + 1] = {
      name = "Python confluent-kafka",
      command = function(topic, work)
        return ("build/bench/python/bin/python bench/py_loop.py '%s' %s %s"):format(race.addresses, topic,
          work)
      end,
    }
  end
  return found
end

--- The C loop and Lua with another allocator, where it is installed.
function race.preloaded()
  local found = {}
  for _, allocator in ipairs { "mimalloc", "jemalloc" } do
    local library = find_library(allocator)
    if library then
      found[#found + 1] = race.c_loop("C loop + " .. allocator, library)
      found[#found + 1] = race.lua("Lua 5.4 objects + " .. allocator, "lua5.4", "build", "messages", library)
      found[#found + 1] = race.lua("Lua 5.4 fields + " .. allocator, "lua5.4", "build", "fields", library)
    end
  end
  return found
end

--- Those that a run is asked for: the first and those that are a base, which the others are compared with,
-- and what ONLY fits.
function race.choose(...)
  local chosen = {}
  for _, list in ipairs { ... } do
    for _, contestant in ipairs(list) do
      local is_base = #chosen == 0 or contestant.is_base
      if is_base or not settings.only or contestant.name:find(settings.only) then
        chosen[#chosen + 1] = contestant
      end
    end
  end
  return chosen
end

-- --- taking turns ---------------------------------------------------------------------------------------

local function parse(line, command)
  local figures = {}
  for name, value in (line or ""):gmatch "([%w_]+)=(%S+)" do figures[name] = tonumber(value) end
  assert(next(figures), "no figures from: " .. command)
  return figures
end

--- Runs a contestant once. `when_ready` is called when it has said "ready".
function race.measure(contestant, topic, work, argument, when_ready)
  local command = contestant.command(topic.id, work, argument)
  local pipe = assert(io.popen(command))
  if when_ready then
    assert(pipe:read "*l" == "ready", "not ready: " .. command)
    when_ready()
  end
  local figures = parse(pipe:read "*l", command)
  pipe:close()
  return figures
end

--- Rounds in which each contestant has its turn. Calls measure(contestant), keeps its figures.
function race.run(contestants, rounds, measure)
  local runs = {}
  for i in ipairs(contestants) do runs[i] = {} end
  for round = 1, rounds do
    for i, contestant in ipairs(contestants) do runs[i][round] = measure(contestant) end
  end
  return runs
end

--- The same for reading a topic's history; all must have read the same.
function race.read(contestants, rounds, topic, work)
  local able = {}
  for _, contestant in ipairs(contestants) do
    if not contestant.only or contestant.only == work then able[#able + 1] = contestant end
  end
  local first
  local runs = race.run(able, rounds, function(contestant)
    local figures = race.measure(contestant, topic, work)
    first = first or figures
    figures.messages = figures.messages or first.messages -- kcat does not say
    assert(figures.messages == first.messages and (figures.result or first.result) == first.result,
      contestant.name .. " read something else than " .. able[1].name)
    return figures
  end)
  return runs, able
end

-- --- figures --------------------------------------------------------------------------------------------

function race.median(values)
  local sorted = { table.unpack(values) }
  table.sort(sorted)
  local middle = math.floor(#sorted / 2)
  if #sorted % 2 == 1 then return sorted[middle + 1] end
  return (sorted[middle] + sorted[middle + 1]) / 2
end

-- Each round's value, or its ratio to the first contestant's in the same round.
local function collect(runs, value, base)
  local values = {}
  for round, figures in ipairs(runs) do
    values[round] = value(figures) / (base and value(base[round]) or 1)
  end
  return values
end

-- A row of a table: for each column the median, and the median of the ratios where it has one. A column:
-- title, format, value (of a run's figures), ratio; `of` another function of the values than the median.
local function cells(columns, runs, base)
  local row = {}
  for _, column in ipairs(columns) do
    row[#row + 1] = column.format:format((column.of or race.median)(collect(runs, column.value)))
    if column.ratio then
      row[#row + 1] = ("%.2f"):format(race.median(collect(runs, column.value, base)))
    end
  end
  return row
end

local function print_rows(rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, #cell) end
  end
  for at, row in ipairs(rows) do
    local padded = {}
    for i, cell in ipairs(row) do
      padded[i] = ("%" .. (i == 1 and "-" or "") .. widths[i] .. "s"):format(cell)
    end
    print("| " .. table.concat(padded, " | ") .. " |")
    if at == 1 then
      for i, width in ipairs(widths) do
        padded[i] = i == 1 and ("-"):rep(width) or ("-"):rep(width - 1) .. ":"
      end
      print("| " .. table.concat(padded, " | ") .. " |")
    end
  end
end

--- Prints a table: rows of name and runs, which compare with the runs of their base, or else with those of
-- the first row.
function race.print(title, columns, rows)
  local head = { "" }
  for _, column in ipairs(columns) do
    head[#head + 1] = column.title
    if column.ratio then head[#head + 1] = "ratio" end
  end
  local lines = { head }
  for _, row in ipairs(rows) do
    local line = cells(columns, row.runs, row.base or rows[1].runs)
    table.insert(line, 1, row.name)
    lines[#lines + 1] = line
  end
  print("\n" .. title .. "\n")
  print_rows(lines)
  io.stdout:flush()
end

-- --- the raw figures ------------------------------------------------------------------------------------

local files = {}

--- Appends runs to RESULTS/<name>.csv, which a run begins anew; no name has a comma in it. `names` of the
-- figures are its columns.
function race.save(name, names, topic, work, contestant, runs)
  local file = files[name]
  if not file then
    file = assert(io.open(("%s/%s.csv"):format(settings.results, name), "w"))
    file:write("topic,work,contestant,round," .. table.concat(names, ",") .. "\n")
    files[name] = file
  end
  for round, figures in ipairs(runs) do
    local row = { topic, work, contestant, round }
    for i, figure in ipairs(names) do row[4 + i] = ("%.14g"):format(figures[figure] or 0) end
    file:write(table.concat(row, ",") .. "\n")
  end
  file:flush()
end

-- --- a table about reading -----------------------------------------------------------------------------

race.reading = {
  { title = "k msg/s", format = "%.0f", ratio = true,
    value = function(run) return run.messages / run.seconds / 1000 end },
  { title = "CPU ns/msg", format = "%.0f", ratio = true,
    value = function(run) return run.cpu / run.messages * 1e9 end },
  { title = "RSS MB", format = "%.1f", ratio = true,
    value = function(run) return run.kb / 1024 end },
}

--- Races, saves and prints. bases: with whose runs each compares, by number; nil: all with the first.
function race.read_and_print(name, contestants, topic, work, bases)
  local runs, able = race.read(contestants, settings.rounds, topic, work)
  local rows = {}
  for i, contestant in ipairs(able) do
    rows[i] = { name = contestant.name, runs = runs[i], base = bases and runs[bases[i]] }
    race.save(name, { "messages", "seconds", "cpu", "kb" }, topic.name, work, contestant.name, runs[i])
  end
  race.print(("%s, %s: %d messages, medians of %d rounds"):format(topic.name, work, topic.messages,
    settings.rounds), race.reading, rows)
end

return race
