--- The module's side of the benchmarks: the same works as c_loop.c, the same lines of figures.
--
--     lua lua_loop.lua ADDRESSES TOPIC count|table|alone|member|latest|kept [messages|fields]
--     lua lua_loop.lua ADDRESSES TOPIC view
--     lua lua_loop.lua ADDRESSES TOPIC get
--     lua lua_loop.lua ADDRESSES TOPIC idle SECONDS
--     lua lua_loop.lua ADDRESSES TOPIC live|change MESSAGES
--
-- latest counts what a compacting read hands out, view what a view holds; kept is latest, whose clock stops
-- when all is kept, before anything is handed out: what a C program has then. get measures what asking a view
-- costs. change is live with a view's on_change.
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

local function caught_up(handler, fields, group, latest)
  local consumer = assert(history.new { addresses = addresses, topics = topic, consumer_group = group,
    from_beginning = true })
  assert(consumer:read_history(handler, {
    stop_at = "caught_up", fields = fields, batch = rawget(_G, "BATCH"), latest = latest,
  }))
  return consumer
end

local function tell_history(consumer, seconds, cpu, result)
  print(("messages=%d seconds=%.6f cpu=%.6f kb=%d result=%d"):format(consumer:progress().read,
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

function works.latest(form)
  local handled = 0
  local consumer = caught_up(function() handled = handled + 1 end,
    form == "fields" and { "key", "value" } or nil, nil, true)
  tell_history(consumer, now() - began, os.clock(), handled)
  return consumer
end

function works.kept(form)
  local handled, seconds, cpu = 0, nil, nil
  local consumer = caught_up(function()
    if handled == 0 then seconds, cpu = now() - began, os.clock() end
    handled = handled + 1
  end, form == "fields" and { "key", "value" } or nil, nil, true)
  tell_history(consumer, seconds, cpu, handled)
  return consumer
end

local function caught_up_view()
  local view = assert(require "kafka_history.view".new { addresses = addresses, topics = topic })
  assert(view:read { stop_at = "caught_up" })
  return view
end

function works.view()
  local view = caught_up_view()
  tell_history(view, now() - began, os.clock(), view:len())
  return view
end

-- Nanoseconds of a call of get, of CPU, without the loop around it; at least a fifth of a second of calls.
local function time_gets(view, keys)
  local count, rounds = #keys, 0
  local function round(get)
    for i = 1, count do get(view, keys[i]) end
  end
  local function time(get, times)
    local at = os.clock()
    for _ = 1, times do round(get) end
    return os.clock() - at
  end
  round(view.get)
  local at = os.clock()
  repeat
    round(view.get)
    rounds = rounds + 1
  until os.clock() - at > 0.2
  local loop = time(function() end, rounds)
  return (time(view.get, rounds) - loop) / (rounds * count) * 1e9
end

-- Of keys in an order that nothing foresees, and of a hundred of them.
function works.get()
  local view = caught_up_view()
  local keys = {}
  for key in view:pairs() do keys[#keys + 1] = key end
  math.randomseed(1)
  for i = #keys, 2, -1 do
    local other = math.random(i)
    keys[i], keys[other] = keys[other], keys[i]
  end
  local hot = {}
  for i = 1, math.min(100, #keys) do hot[i] = keys[i] end
  collectgarbage()
  local hot_ns, random_ns = time_gets(view, hot), time_gets(view, keys)
  local at, count = os.clock(), 0
  for _ in view:pairs() do count = count + 1 end
  print(("hot_ns=%.1f random_ns=%.1f pairs_ns=%.1f keys=%d"):format(hot_ns, random_ns,
    (os.clock() - at) / count * 1e9, count))
  return view
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

-- `read(see)` reads live messages, and calls see with the value of each, which is true for the last one.
local function tell_live(messages, read)
  messages = tonumber(messages)
  local latencies = {}
  local cpu = os.clock()
  print "ready"
  io.stdout:flush()
  read(function(value)
    latencies[#latencies + 1] = now() - tonumber(value:match "^%S+")
    return #latencies == messages
  end)
  cpu = os.clock() - cpu
  table.sort(latencies)
  local function percentile(percent)
    return latencies[math.floor((#latencies - 1) * percent / 100) + 1] * 1e6
  end
  print(("p50_us=%.1f p99_us=%.1f max_us=%.1f cpu_ms=%.3f"):format(percentile(50), percentile(99),
    percentile(100), cpu * 1e3))
end

function works.live(messages)
  local consumer = caught_up(function() end)
  tell_live(messages, function(see)
    consumer:read_history(function(msg)
      if see(msg.value) then consumer:cancel() end
    end)
  end)
  return consumer
end

function works.change(messages)
  local view = caught_up_view()
  tell_live(messages, function(see)
    view:on_change(function(_, value)
      if see(value) then view:cancel() end
    end)
    view:read()
  end)
  return view
end

works[work](argument):close()
