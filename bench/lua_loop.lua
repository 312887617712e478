--- The module's side of the benchmarks: the same works as c_loop.c, the same lines of figures.
--
--     lua lua_loop.lua ADDRESSES TOPIC count|table|alone|member [messages|fields]
--     lua lua_loop.lua ADDRESSES TOPIC idle SECONDS
--     lua lua_loop.lua ADDRESSES TOPIC live MESSAGES
--
-- With `lua -e 'BATCH = 100'` it takes that many messages at once.

local history = require "kafka_history"

local addresses, topic, work, argument = ...
local now = require("kafka_history.core").consumer.now

local began = now()

local function read_file(command)
  local file = assert(command:find "^/" and io.open(command) or io.popen(command))
  local text = file:read "*a"
  file:close()
  return text
end

local function peak_kb()
  return tonumber(read_file "/proc/self/status":match "VmHWM:%s*(%d+)")
end

local function caught_up(handler, fields, group)
  local consumer = assert(history.new { addresses = addresses, topics = topic, consumer_group = group,
    from_beginning = true })
  assert(consumer:read_history(handler, {
    stop_at = "caught_up", fields = fields, batch = rawget(_G, "BATCH"),
  }))
  return consumer
end

local function tell_history(consumer, seconds, cpu, result)
  print(("messages=%d seconds=%.6f cpu=%.6f kb=%d result=%d"):format(consumer:progress().messages,
    seconds, cpu, peak_kb(), result))
end

local works = {}

function works.count(form)
  local bytes = 0
  local consumer
  if form == "fields" then
    consumer = caught_up(function(value) bytes = bytes + #value end, { "value" })
  else
    consumer = caught_up(function(msg) bytes = bytes + #msg.value end)
  end
  tell_history(consumer, now() - began, os.clock(), bytes)
  return consumer
end

-- The same as count, without a group and as its only member. Time begins with the first message: how long
-- joining takes is the broker's.
local function count_from_first(form, group)
  local bytes, first = 0, nil
  local function add(value)
    first = first or now()
    bytes = bytes + #value
  end
  local consumer
  if form == "fields" then
    consumer = caught_up(add, { "value" }, group)
  else
    consumer = caught_up(function(msg) add(msg.value) end, nil, group)
  end
  tell_history(consumer, now() - first, os.clock(), bytes)
  return consumer
end

function works.alone(form) return count_from_first(form) end

function works.member(form) return count_from_first(form, topic) end

works["table"] = function(form)
  local keys, used = {}, 0
  local consumer
  if form == "fields" then
    consumer = caught_up(function(key, value) keys[key] = value end, { "key", "value" })
  else
    consumer = caught_up(function(msg) keys[msg.key] = msg.value end)
  end
  local seconds, cpu = now() - began, os.clock()
  for _ in pairs(keys) do used = used + 1 end
  tell_history(consumer, seconds, cpu, used)
  return consumer
end

-- Of the thread that calls, which is the first of the process.
local function switches()
  return tonumber(read_file "/proc/self/status":match "\nvoluntary_ctxt_switches:%s*(%d+)")
end

local function switches_of_others()
  local sum = -switches()
  for number in read_file "cat /proc/$PPID/task/*/status":gmatch "\nvoluntary_ctxt_switches:%s*(%d+)" do
    sum = sum + tonumber(number)
  end
  return sum
end

function works.idle(seconds)
  local consumer = caught_up(function() end)
  local others = switches_of_others()
  local own, cpu = switches(), os.clock()
  consumer:read_history(function() end, { timeout = tonumber(seconds) })
  own, cpu = switches() - own, os.clock() - cpu
  print(("switches=%d others=%d cpu_ms=%.3f kb=%d"):format(own, switches_of_others() - others,
    cpu * 1e3, peak_kb()))
  return consumer
end

function works.live(messages)
  messages = tonumber(messages)
  local consumer = caught_up(function() end)
  local latencies = {}
  local cpu = os.clock()
  print "ready"
  io.stdout:flush()
  consumer:read_history(function(msg)
    latencies[#latencies + 1] = now() - tonumber(msg.value:match "^%S+")
    if #latencies == messages then consumer:cancel() end
  end)
  cpu = os.clock() - cpu
  table.sort(latencies)
  local function percentile(percent)
    return latencies[math.floor((#latencies - 1) * percent / 100) + 1] * 1e6
  end
  print(("p50_us=%.1f p99_us=%.1f max_us=%.1f cpu_ms=%.3f"):format(percentile(50), percentile(99),
    percentile(100), cpu * 1e3))
  return consumer
end

works[work](argument):close()
