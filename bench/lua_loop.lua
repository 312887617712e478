--- The module's side of bench/read.lua: the same work as c_loop.c, the same line of figures.
--
--     lua lua_loop.lua ADDRESSES TOPIC count|table [messages|fields]

local history = require "kafka_history"

local addresses, topic, work, form = ...
local clock = require("kafka_history.core").consumer.now

local keys, used, bytes = {}, 0, 0
local handlers = {
  count = {
    messages = function(msg) bytes = bytes + #msg.value end,
    fields = function(value) bytes = bytes + #value end,
  },
  table = {
    messages = function(msg) keys[msg.key] = msg.value end,
    fields = function(key, value) keys[key] = value end,
  },
}
local fields = { count = { "value" }, table = { "key", "value" } }

local function peak_kb()
  local status = assert(io.open "/proc/self/status")
  local peak = status:read("*a"):match "VmHWM:%s*(%d+)"
  status:close()
  return tonumber(peak)
end

form = form or "messages"
local began = clock()
local consumer = assert(history.new { addresses = addresses, topics = topic })
assert(consumer:read_history(handlers[work][form], {
  stop_at = "caught_up",
  fields = form == "fields" and fields[work] or nil,
}))
local seconds, cpu = clock() - began, os.clock()
for _ in pairs(keys) do used = used + 1 end
print(("%d %.6f %.6f %d %d"):format(consumer:progress().messages, seconds, cpu, peak_kb(),
  work == "table" and used or bytes))
consumer:close()
