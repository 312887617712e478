--- What waiting costs, and how late a live message comes: an idle consumer's wake-ups and CPU, and the
-- time from sending to the handler, beside the C loop's with the same sender.

local race = require "race"

local idle_s, interval_us = 2, 2000
local live = math.max(100, math.min(1000, math.floor(race.settings.messages / 1000)))
local topic = { name = "8 partitions", partitions = 8, messages = 1000 }

local function is(name)
  return function(run) return run[name] end
end

local works = {
  {
    name = "idle", argument = idle_s,
    title = ("Idle for %d s"):format(idle_s),
    columns = {
      { title = "wake-ups, calling thread", format = "%.0f", value = is "switches" },
      { title = "other threads", format = "%.0f", value = is "others" },
      { title = "CPU ms", format = "%.1f", value = is "cpu_ms", ratio = true },
    },
    figures = { "switches", "others", "cpu_ms" },
  },
  {
    name = "live", argument = live,
    title = ("Live, %d messages, one each %.0f ms, from sending to the handler"):format(live,
      interval_us / 1000),
    columns = {
      { title = "p50 us", format = "%.0f", value = is "p50_us", ratio = true },
      { title = "p99 us", format = "%.0f", value = is "p99_us", ratio = true },
      { title = "most us", format = "%.0f", value = is "max_us" },
      { title = "CPU ms", format = "%.1f", value = is "cpu_ms", ratio = true },
    },
    figures = { "p50_us", "p99_us", "max_us", "cpu_ms" },
    when_ready = function()
      assert(os.execute(("build/bench/ticker '%s' %s %d %d"):format(race.addresses, topic.id, live,
        interval_us)))
    end,
  },
}

local topics = { topic }
race.open(topics)
local readers = race.named("C loop", "Lua 5.4 objects", "LuaJIT objects")

-- A view tells of live messages, too.
local function views()
  return {
    race.with_work(race.lua("", "lua5.4", "build", ""), "Lua 5.4 on_change", "change"),
    race.with_work(race.lua("", "luajit", "build/luajit", ""), "LuaJIT on_change", "change"),
  }
end

for _, work in ipairs(works) do
  local contestants = race.choose(readers, work.name == "live" and views() or {})
  local runs = race.run(contestants, race.settings.rounds, function(contestant)
    return race.measure(contestant, topic, work.name, work.argument, work.when_ready)
  end)
  local rows = {}
  for i, contestant in ipairs(contestants) do
    rows[i] = { name = contestant.name, runs = runs[i] }
    race.save("wait-" .. work.name, work.figures, topic.name, work.name, contestant.name, runs[i])
  end
  race.print(("%s: medians of %d rounds"):format(work.title, race.settings.rounds), work.columns, rows)
end
race.close(topics)
