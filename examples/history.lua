local history = require "kafka_history"

io.stdout:setvbuf "line"
local consumer = assert(history.new {
  addresses = arg[1] or "localhost:9092",
  topics = arg[2] or "orders",
})
local function handle(message)
  print(message.key, message:data()) -- no data: a tombstone
end
assert(consumer:read_history(handle, { stop_at = "caught_up" }))
print(("caught up after %d messages"):format(consumer:progress().messages))
assert(consumer:read_history(handle)) -- and go on live
