-- A topic as they are: many partitions, some of them empty, all kinds of messages, all codecs. What the
-- module reads is compared with what kcat shows and with what was sent.

local kafka = require "support.kafka"
local mixed = require "support.mixed"
local oracle = require "support.oracle"
local producer = require "kafka_history.producer"
local watched = require "support.watched"

local sent -- by partition

local function same_headers(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    if a[i].name ~= b[i].name or a[i].value ~= b[i].value then return false end
  end
  return true
end

-- What the broker was sent, in the order of sending: the third opinion, which alone knows header values
-- with NUL bytes, and that "" and null differ.
local function check_sent(read)
  for partition = 0, mixed.partitions - 1 do
    local expected, given = sent[partition] or {}, read[partition] or {}
    assert.equal(#expected, #given)
    for i, message in ipairs(expected) do
      local msg = given[i]
      local where = ("partition %d, message %d"):format(partition, i)
      assert(msg.key == message.key, where .. ": key")
      assert(msg.value == message.value and msg:data() == message.value, where .. ": value")
      assert(same_headers(message.headers or {}, msg.headers), where .. ": headers")
      assert(msg.timestamp_type == "create_time", where .. ": type of timestamp")
      assert(not message.timestamp or msg.timestamp == message.timestamp, where .. ": timestamp")
      assert(msg:is_tombstone() == (message.value == nil), where .. ": tombstone")
    end
  end
end

describe("a topic of 12 partitions, 3 of them empty, with messages of all kinds and codecs", function()
  local topic
  local total = mixed.total

  lazy_setup(function() topic, sent = mixed.create() end)

  local function sending()
    return assert(producer.new { addresses = kafka.addresses() })
  end

  it("is handed out once each, in order, as kcat shows it, and then comes the signal", function()
    local read = {}
    local reader = watched.new({ topic }, "read_committed"):expect(total)
    local ok, err = reader.consumer:read_history(reader:handler(function(msg)
      read[msg.partition] = read[msg.partition] or {}
      table.insert(read[msg.partition], msg)
    end), { stop_at = "caught_up", timeout = 20 })
    assert(ok, err)
    assert.is_true(reader.latch:is_ready())
    reader:check_verdict()
    reader:check_events()
    assert.equal(total, reader:check_messages(true))
    reader:close()
    -- Kept for after the close.
    check_sent(read)
  end)

  it("goes on with the messages that arrive after the signal, in each partition", function()
    local reader = watched.new({ topic }, "read_committed"):expect(total)
    local to = sending()
    local tail, live = {}, 0
    reader:read_until(function()
      if reader.signal and live == 0 then
        for partition = 0, mixed.partitions - 1 do
          for i = 1, 3 do
            assert(to:send(topic, { partition = partition, key = "live", value = "live " .. i }))
            live = live + 1
          end
        end
        assert(to:flush(10))
      end
      return live > 0 and #tail == live
    end, 20, { handle = function(msg, self)
      if self.signal then tail[#tail + 1] = msg end
    end })
    assert.equal(mixed.partitions * 3, #tail)
    for _, msg in ipairs(tail) do assert.equal("live", msg.key) end
    assert.equal(total + live, reader:check_messages(true))
    assert.equal(1, #reader:events_named("caught_up"))
    reader:close()
    to:close()
  end)

  it("is the same with fields instead of messages, one at a time, and with the iterator", function()
    local expected = 0
    for _, messages in pairs(oracle.read(topic, "read_committed")) do expected = expected + #messages end
    for _, batch in ipairs { 1, 7 } do
      local consumer = assert(require("kafka_history").new { addresses = kafka.addresses(), topics = topic })
      local count, last = 0, {}
      assert(consumer:read_history(function(partition, offset)
        assert(not consumer:caught_up():is_ready())
        assert(offset > (last[partition] or -1))
        last[partition] = offset
        count = count + 1
      end, { fields = { "partition", "offset" }, batch = batch, stop_at = "caught_up", timeout = 20 }))
      assert.equal(expected, count)
      assert.is_true(consumer:caught_up():is_ready())
      assert(consumer:close())
    end
    local reader = watched.new({ topic }, "read_committed")
    for msg in reader.consumer:messages { stop_at = "caught_up", timeout = 20 } do reader:see_message(msg) end
    reader:check_verdict()
    reader:check_events()
    assert.equal(expected, reader:check_messages(true))
    reader:close()
  end)
end)
