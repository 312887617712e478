--- Reads the same topic with a plain C loop on librdkafka and with the module, in turn, and compares:
-- messages a second, CPU a message, peak memory, and the ratio of each round to the C loop of the same
-- round. Medians; the machine's speed drifts, so only the ratios are to be quoted.
--
--     lua bench/read.lua ADDRESSES TOPIC ROUNDS
--
-- `make bench` builds what it runs and fills the topic.

local addresses, topic, rounds = ...
rounds = tonumber(rounds) or 5

local function module_loop(lua, cpath, form)
  return function(work)
    return ("LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH='%s/?.so;;' %s bench/lua_loop.lua %s %s %s %s")
      :format(cpath, lua, addresses, topic, work, form)
  end
end

local contestants = {
  { name = "C loop", command = function(work)
    return ("build/bench/c_loop %s %s %s"):format(addresses, topic, work)
  end },
  { name = "Lua 5.4, userdata", command = module_loop("lua5.4", "build", "messages") },
  { name = "Lua 5.4, table", command = module_loop("lua5.4", "build/bench/table", "messages") },
  { name = "Lua 5.4, fields", command = module_loop("lua5.4", "build", "fields") },
  { name = "LuaJIT, userdata", command = module_loop("luajit", "build/luajit", "messages") },
  { name = "LuaJIT, table", command = module_loop("luajit", "build/luajit/bench/table", "messages") },
  { name = "LuaJIT, fields", command = module_loop("luajit", "build/luajit", "fields") },
}

local function run(command)
  local pipe = assert(io.popen(command))
  local line = pipe:read "*l"
  pipe:close()
  local messages, seconds, cpu, kb, result = (line or ""):match "^(%d+) (%S+) (%S+) (%d+) (%d+)$"
  assert(messages, "no figures from: " .. command)
  return {
    messages = tonumber(messages), rate = messages / seconds, cpu_ns = cpu / messages * 1e9,
    mb = kb / 1024, result = result,
  }
end

local function median(list)
  table.sort(list)
  local middle = math.floor(#list / 2)
  if #list % 2 == 1 then return list[middle + 1] end
  return (list[middle] + list[middle + 1]) / 2
end

local function collect(runs, what, base)
  local values = {}
  for i, figures in ipairs(runs) do values[i] = figures[what] / (base and base[i][what] or 1) end
  return median(values)
end

for _, work in ipairs { "count", "table" } do
  local runs = {}
  for i in ipairs(contestants) do runs[i] = {} end
  for _ = 1, rounds do
    for i, contestant in ipairs(contestants) do
      local figures = run(contestant.command(work))
      local first = runs[1][1] or figures
      assert(figures.messages == first.messages and figures.result == first.result,
        contestant.name .. " read something else than the C loop")
      table.insert(runs[i], figures)
    end
  end
  print(("\n%s, %d messages, medians of %d rounds"):format(work, runs[1][1].messages, rounds))
  print(("%-20s %10s %8s %10s %8s %8s"):format("", "k msg/s", "ratio", "CPU ns/msg", "ratio", "MB"))
  for i, contestant in ipairs(contestants) do
    print(("%-20s %10.0f %8.2f %10.0f %8.2f %8.1f"):format(contestant.name,
      collect(runs[i], "rate") / 1000, collect(runs[i], "rate", runs[1]),
      collect(runs[i], "cpu_ns"), collect(runs[i], "cpu_ns", runs[1]), collect(runs[i], "mb")))
  end
end
