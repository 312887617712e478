--- How late a timer comes beside a busy reader, in each event loop: 100 000 messages with a handler of
-- 20 us, and a timer of 10 ms. Embedded broker; runs itself in every loop, a process each.

local loop_name, interpreter = ...

local messages = math.min(100000, tonumber(os.getenv "MESSAGES") or 100000)
local rounds = math.min(3, tonumber(os.getenv "ROUNDS") or 3)

local function quantile(sorted, q)
  return sorted[math.max(1, math.ceil(#sorted * q))]
end

-- One run in a loop of this process.
local function run_here(addresses)
  local loops = require "support.loops"
  local loop = loops.new(loop_name)
  local consumer = assert(loop.history.new { addresses = addresses, topics = "t" })
  local run = loops.read_beside_timer(loop, consumer, 20e-6)
  consumer:close()
  loops.clean()
  return run
end

-- One loop: a line of the table for each round.
local function measure()
  local broker = require "kafka_history.broker"
  local in_nginx = loop_name == "nginx" and require "support.nginx"
  local missing = in_nginx and in_nginx.missing or require("support.loops").missing[loop_name]
  if missing then
    io.stderr:write("bench: goes without ", loop_name, " in ", interpreter, "\n")
    return
  end
  local of = assert(broker.new { topics = { t = 4 } })
  local values = {}
  for i = 1, messages do values[i] = tostring(i) end
  assert(of:produce("t", values))
  for round = 1, rounds do
    local run = in_nginx and in_nginx.read_beside_timer(of:addresses()) or run_here(of:addresses())
    local late = run.late
    print(("| %-8s | %-7s | %5d | %8.2f | %7.1f | %5d | %6.2f | %6.2f | %6.2f | %6.2f |"):format(loop_name,
      interpreter, round, run.seconds, run.messages / run.seconds / 1000, #late, quantile(late, 0.5) * 1000,
      quantile(late, 0.9) * 1000, quantile(late, 0.99) * 1000, late[#late] * 1000))
  end
  of:close()
end

if loop_name then return measure() end

local title = "\n**A timer of 10 ms beside a reader of %d messages with a handler of 20 us: ms late**\n"
print(title:format(messages))
print "| loop     | Lua     | round | s        | k msg/s | ticks | p50    | p90    | p99    | most   |"
print "| -------- | ------- | ----: | -------: | ------: | ----: | -----: | -----: | -----: | -----: |"
io.stdout:flush()
for _, lua in ipairs { "lua5.4", "luajit" } do
  for _, name in ipairs { "cqueues", "luv", "copas", "nginx", "select", "poll" } do
    if name ~= "copas" and name ~= "nginx" or lua == "luajit" then
      local cpath = lua == "luajit" and "build/luajit/?.so;;" or "build/?.so;;"
      assert(os.execute(("LUA_PATH=\"spec/?.lua;$LUA_PATH\" LUA_CPATH='%s' %s bench/hosts.lua %s %s"):format(
        cpath, lua, name, lua)))
    end
  end
end
