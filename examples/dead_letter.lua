-- Messages that cannot be handled go to a dead-letter topic, and reading goes on behind them.
--
--   lua5.4 examples/dead_letter.lua ADDRESSES TOPIC DEAD_LETTER_TOPIC [GROUP]
--
-- The topic's values are orders, JSON such as {"total": 12.5}; the program adds the totals up. One order
-- that somebody has written by hand must not keep all others waiting, nor may it be lost: it is written to
-- the other topic, with headers that say where it was and what was wrong with it.
--
-- It reads as the member of a group, whose offsets are committed: without one, each start would read all
-- history again, and write all dead letters again. Needs lua-cjson (Debian: lua-cjson).

local history = require "kafka_history"
local json = require "cjson"
local producer = require "kafka_history.producer"

local addresses, topic, dead_letter_topic, group = ...
if not dead_letter_topic then
  error("usage: lua5.4 examples/dead_letter.lua ADDRESSES TOPIC DEAD_LETTER_TOPIC [GROUP]", 0)
end

io.stdout:setvbuf "line"
local dead_letters = assert(producer.new { addresses = addresses })
local consumer = assert(history.new {
  addresses = addresses,
  topics = topic,
  consumer_group = group or "orders-total",
})

-- 1. What the program is for. It may fail by raising an error, as here and as json.decode does, or by
-- returning nil and one.
local sum, count = 0, 0

local function handle(message)
  local order = json.decode(message:data() or "null")
  if type(order) ~= "table" or type(order.total) ~= "number" then error("an order without a total", 0) end
  sum, count = sum + order.total, count + 1
end

-- 2. What becomes of a message that has failed: it is copied as it is, headers included.
local function dead_letter(message, reason)
  local headers = {}
  for i, header in ipairs(message.headers) do headers[i] = header end
  local function add(name, value)
    table.insert(headers, { name = "dead-letter." .. name, value = tostring(value) })
  end
  add("topic", message.topic)
  add("partition", message.partition)
  add("offset", ("%d"):format(message.offset))
  add("reason", reason)
  return { key = message.key, value = message:data(), headers = headers }
end

-- on_error as a function decides: "retry", "skip" or "stop". A failure that may pass, of a database for
-- example, would be worth a "retry" for the first attempts. "skip" lets the message count as consumed, so
-- it may be said only when the dead letter has arrived: if it has not, reading stops, and the next start
-- begins with this very message. A dead letter may be there twice after a crash, but never not at all.
local function on_error(reason, message, _)
  local sent, err = dead_letters:send(dead_letter_topic, dead_letter(message, reason))
  if sent then sent, err = dead_letters:flush(10) end
  if not sent then
    io.stderr:write(("no dead letter could be written: %s\n"):format(err))
    return "stop"
  end
  print(("dead letter: %s[%d] offset %d: %s")
    :format(message.topic, message.partition, message.offset, tostring(reason)))
  return "skip"
end

-- 3. The history, a report, and what comes live.
assert(consumer:read_history(handle, { on_error = on_error, stop_at = "caught_up" }))
print(("caught up: %d orders, %.2f in total; %d dead letters")
  :format(count, sum, consumer:progress().skipped))
assert(consumer:read_history(handle, { on_error = on_error }))
