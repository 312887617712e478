--- Reads a topic's history, then tails it live while another process writes to it, and looks at its own
-- memory, file descriptors and threads as the messages go by. Prints TAP: the table in comments, then
-- three tests; the exit status is 1 when one of them failed.
--
--     lua bench/soak.lua ADDRESSES TOPIC PARTITIONS messages|fields SECONDS MESSAGES TESTS_BEFORE
--
-- bench/soak runs it on a broker of its own.

local history = require "kafka_history"

local addresses, topic, partitions, form, seconds, messages, tests_before = ...
seconds, messages, tests_before = tonumber(seconds), tonumber(messages), tonumber(tests_before)
local clock = require("kafka_history.core").consumer.now

local history_messages, value_bytes = 1500000, 100
local chunk = 10000 -- messages that the writer is granted at once
local ahead = 10 -- how many of these it may be ahead of the handler: retention never overtakes that
local look_every, show_every = 200000, 1000000 -- messages
local judge_from = 1000000 -- what the end is compared with; a fifth of the way where that is sooner
local most = 1.05
local settle_s, hang_s = 5, 60

-- --- what this process takes up ---------------------------------------------------------------------

local function status_of(name)
  local file = assert(io.open "/proc/self/status")
  local number = file:read("*a"):match(name .. ":%s*(%d+)")
  file:close()
  return tonumber(number)
end

local fds_most = 256

-- Looked for one by one: whatever lists them for this process has one of its own.
local function count_fds()
  local count = 0
  for fd = 0, fds_most do
    local file = io.open("/proc/self/fdinfo/" .. fd)
    if file then
      file:close()
      count = count + 1
    end
  end
  return count
end

local function look(count, elapsed_s)
  collectgarbage()
  collectgarbage()
  return {
    messages = count, seconds = elapsed_s, rss_kb = status_of "VmRSS", lua_kb = collectgarbage "count",
    fds = count_fds(), threads = status_of "Threads",
  }
end

-- --- the table ---------------------------------------------------------------------------------------

local function say(...)
  print("# " .. string.format(...))
end

local last = { messages = 0, seconds = 0 }

local function show(sample)
  local rate = (sample.messages - last.messages) / math.max(sample.seconds - last.seconds, 0.001)
  say("%11d %9.1f %9.0f %8.1f %8.0f %5d %8d", sample.messages, sample.seconds, rate,
    sample.rss_kb / 1024, sample.lua_kb, sample.fds, sample.threads)
  last = sample
end

-- --- the verdict -------------------------------------------------------------------------------------

local tests, failed = tests_before, 0

local function judge(holds, ...)
  tests = tests + 1
  if not holds then failed = failed + 1 end
  print(("%s %d - %s: %s"):format(holds and "ok" or "not ok", tests, form, string.format(...)))
end

local function judge_memory(first, now)
  if not first then
    return judge(false, "%d live messages are too few to judge memory by", now.messages)
  end
  judge(now.rss_kb <= most * first.rss_kb,
    "memory after %.1f million live messages, %.1f MB, is within 5 %% of the %.1f MB after %.1f million",
    now.messages / 1e6, now.rss_kb / 1024, first.rss_kb / 1024, first.messages / 1e6)
end

local function judge_resources(fds, threads, now)
  judge(now.fds <= fds and now.threads <= threads,
    "%d file descriptors and %d threads at the end, %d and %d before", now.fds, now.threads, fds, threads)
end

-- Nothing is compacted or transactional here, so that every offset is a message.
local function judge_progress(consumer, handled)
  local p = consumer:progress()
  local offsets = 0
  for _, place in ipairs(p.partitions) do offsets = offsets + place.position - place.start end
  judge(p.gaps == 0 and p.truncated == 0 and p.skipped == 0 and offsets == handled,
    "%.0f messages handled of %.0f offsets, %d gaps, %d truncated, %d skipped", handled, offsets, p.gaps,
    p.truncated, p.skipped)
end

-- --- reading -----------------------------------------------------------------------------------------

io.stdout:setvbuf "line"
local fill = ("exec %s bench/fill.lua '%s' '%s' %d %%s %d"):format(os.getenv "LUA" or "lua5.4", addresses,
  topic, partitions, value_bytes)

-- More than librdkafka fetches ahead, so that the memory for that has been taken before live messages.
assert(os.execute(fill:format(history_messages)))

local count, bytes = 0, 0
local function see(key, value)
  count, bytes = count + 1, bytes + #key + #value
end

local handlers = { messages = function(msg) see(msg.key, msg.value) end, fields = see }
local handle = handlers[form]
local fields = form == "fields" and { "key", "value" } or nil

local consumer = assert(history.new { addresses = addresses, topics = topic })
assert(consumer:read_history(handle, { stop_at = "caught_up", fields = fields }))
assert(count == history_messages)
say("%s, %s: caught up after %d messages", _VERSION .. (rawget(_G, "jit") and " (LuaJIT)" or ""), form, count)
say("%11s %9s %9s %8s %8s %5s %8s", "messages", "seconds", "msg/s", "RSS MB", "Lua KB", "fds", "threads")

local began = clock()
local writer = assert(io.popen(fill:format "granted", "w"))

-- Before a look no more is granted, so that at it all is handled and nothing fetched: the same state each
-- time.
local granted = 0
local function grant(chunks)
  granted = granted + chunks * chunk
  assert(writer:write(("\n"):rep(chunks)))
  assert(writer:flush())
end

-- Only what the end may be compared with is kept: this shall not grow either.
local early, latest = {}, nil
local fds, threads = math.huge, math.huge -- the least: the engine's helper thread comes and goes
local function take_look(number)
  latest = look(number, clock() - began)
  if number <= judge_from then early[#early + 1] = latest end
  fds, threads = math.min(fds, latest.fds), math.min(threads, latest.threads)
  local is_over = latest.seconds >= seconds or messages > 0 and number >= messages
  if number % show_every == 0 or number == look_every or is_over then show(latest) end
  return is_over
end

local function see_live(...)
  handle(...)
  local number = count - history_messages
  if number % chunk ~= 0 then return end
  if number % look_every ~= 0 then
    if granted % look_every ~= 0 then grant(1) end
  elseif take_look(number) then
    consumer:cancel()
  else
    grant(ahead)
  end
end

grant(ahead)
local _, err, code = consumer:read_history(see_live, { timeout = seconds + hang_s, fields = fields })
if code ~= "CANCELLED" then
  error(("after %d live messages: %s"):format(count - history_messages, err), 0)
end

local final = latest
local ended = clock()
while final.threads > threads and clock() - ended < settle_s do
  os.execute "sleep 0.1"
  final = look(latest.messages, latest.seconds)
end

local first = early[math.floor(math.min(judge_from, final.messages / 5) / look_every)]
judge_memory(first, final)
judge_resources(fds, threads, final)
judge_progress(consumer, count)
consumer:close()
writer:close()
os.exit(failed == 0)
