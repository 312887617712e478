-- Where reading starts, and what counts as history, on a real broker.

local history = require "kafka_history"
local kafka = require "support.kafka"
local producer = require "kafka_history.producer"

local day_ms = 24 * 60 * 60 * 1000
local first_ms = 1700000000000

describe("where reading starts", function()
  local topic
  local open = {}

  -- Two partitions; 100 messages a day apart from each other, value = number of the day.
  setup(function()
    topic = kafka.create("start", { partitions = 2, config = {
      ["retention.ms"] = -1, ["message.timestamp.before.max.ms"] = "9223372036854775807",
    } })
    -- In order: a batch that is sent again, as to a new topic, may come behind the next one otherwise.
    local out = assert(producer.new {
      addresses = kafka.addresses(), options = { ["enable.idempotence"] = true },
    })
    for day = 0, 99 do
      assert(out:send(topic, {
        value = tostring(day), partition = day % 2, timestamp = first_ms + day * day_ms,
      }))
    end
    assert(out:flush(30))
    out:close()
  end)

  after_each(function()
    for _, consumer in ipairs(open) do consumer:close() end
    open = {}
  end)

  local function consumer_of(config)
    config.addresses, config.topics = kafka.addresses(), config.topics or topic
    local consumer = assert(history.new(config))
    table.insert(open, consumer)
    return consumer
  end

  -- The offsets read until caught up, by partition, as "first-last", or "" for none.
  local function read(consumer)
    local first, last = {}, {}
    assert(consumer:read_history(function(msg)
      first[msg.partition] = first[msg.partition] or msg.offset
      last[msg.partition] = msg.offset
    end, { stop_at = "caught_up", timeout = 20 }))
    local ranges = {}
    for partition = 0, 1 do
      ranges[partition + 1] = first[partition] and first[partition] .. "-" .. last[partition] or ""
    end
    return ranges
  end

  it("is the beginning when nothing is said", function()
    assert.same({ "0-49", "0-49" }, read(consumer_of {}))
  end)

  it("is the end as of now with from_beginning = false: caught up at once, then live", function()
    local consumer = consumer_of { from_beginning = false }
    assert.same({ "", "" }, read(consumer))
    assert.equal(1, consumer:progress().fraction)
    local live = kafka.create "start-live"
    local second = consumer_of { topics = live, from_beginning = false }
    assert(second:read_history(function() error "there is no history" end,
      { stop_at = "caught_up", timeout = 20 }))
    kafka.kcat({ "-P", "-t", live }, "now\n")
    local got
    second:read_history(function(msg, reader)
      got = msg.value
      reader:cancel()
    end, { timeout = 20 })
    assert.equal("now", got)
  end)

  it("is the first message at or after a time, in each partition", function()
    assert.same({ "5-49", "5-49" }, read(consumer_of { start = { timestamp = first_ms + 10 * day_ms } }))
    assert.same({ "6-49", "5-49" },
      read(consumer_of { start = { timestamp = first_ms + 10 * day_ms + 1 } }))
    assert.same({ "0-49", "0-49" }, read(consumer_of { start = { timestamp = 0 } }))
  end)

  it("is the end for a time after the last message: caught up at once", function()
    assert.same({ "", "" }, read(consumer_of { start = { timestamp = first_ms + 1000 * day_ms } }))
  end)

  it("is n offsets before the end with { last = n }, but not before the beginning", function()
    assert.same({ "47-49", "47-49" }, read(consumer_of { start = { last = 3 } }))
    assert.same({ "0-49", "0-49" }, read(consumer_of { start = { last = 1000 } }))
    assert.same({ "", "" }, read(consumer_of { start = { last = 0 } }))
  end)

  it("is the offset given for a partition, and the beginning for the others", function()
    assert.same({ "42-49", "0-49" }, read(consumer_of { start = { [topic] = { [0] = 42 } } }))
    assert.same({ "", "49-49" }, read(consumer_of { start = { [topic] = { [0] = 50, [1] = 49 } } }))
  end)

  it("is refused outside the log, and names the log", function()
    local beyond = consumer_of { start = { [topic] = { [0] = 51 } } }
    local ok, err, code = beyond:read_history(function() end, { timeout = 20 })
    assert.is_nil(ok)
    assert.equal("_OFFSET_OUT_OF_RANGE", code)
    assert.matches(topic .. "[0]: start at offset 51 lies outside the log, which goes from 0 to 50",
      err, 1, true)
    local short = kafka.create("start-deleted")
    kafka.kcat({ "-P", "-t", short }, ("x\n"):rep(10))
    kafka.delete_records(short, { [0] = 5 })
    local before = consumer_of { topics = short, start = { [short] = { [0] = 4 } } }
    assert.equal("_OFFSET_OUT_OF_RANGE", select(3, before:read_history(function() end, { timeout = 20 })))
  end)

  it("is refused for a partition that does not exist", function()
    local consumer = consumer_of { start = { [topic] = { [7] = 0 } } }
    local ok, err, code = consumer:read_history(function() end, { timeout = 20 })
    assert.is_nil(ok)
    assert.equal("_UNKNOWN_PARTITION", code)
    assert.matches("there is no partition 7", err, 1, true)
  end)

  it("can be a checkpoint: progress's positions fed back go on where reading was left", function()
    local consumer = consumer_of {}
    local seen, count = {}, 0
    local function note(msg, reader)
      local place = msg.partition .. "@" .. msg.offset
      assert(not seen[place], "handled twice: " .. place)
      seen[place] = true
      count = count + 1
      if count == 33 then reader:cancel() end
    end
    assert.equal("CANCELLED", select(3, consumer:read_history(note, { timeout = 20 })))
    local checkpoint = { [topic] = {} }
    for _, place in ipairs(consumer:progress().partitions) do
      checkpoint[topic][place.partition] = place.position
    end
    consumer:close()
    local second = consumer_of { start = checkpoint }
    assert(second:read_history(note, { stop_at = "caught_up", timeout = 20 }))
    assert.equal(100, count)
    assert.equal(67, second:progress().offsets_total)
  end)
end)

describe("what counts as history", function()
  local topic, out

  -- Ten messages that everybody may read, and a transaction that is still open behind them.
  before_each(function()
    topic = kafka.create "target"
    kafka.kcat({ "-P", "-t", topic }, ("x\n"):rep(10))
    out = assert(producer.new { addresses = kafka.addresses(), transactional_id = topic })
    assert(out:begin(20))
    for _ = 1, 5 do assert(out:send(topic, { value = "open" })) end
    assert(out:flush(20))
  end)

  after_each(function() out:close() end)

  local function read(target, seconds)
    local consumer = assert(history.new {
      addresses = kafka.addresses(), topics = topic, target = target,
    })
    local count = 0
    local ok, _, code = consumer:read_history(function() count = count + 1 end,
      { stop_at = "caught_up", timeout = seconds })
    local progress = consumer:progress()
    consumer:close()
    return ok or code, count, progress.partitions[1].target
  end

  it("ends at the high watermark by default: an open transaction is waited for", function()
    local result, count, target = read("end", 2)
    assert.equal("TIMEOUT", result)
    assert.equal(10, count)
    assert.equal(15, target)
  end)

  it("ends at the last stable offset with target = \"stable\"", function()
    local result, count, target = read("stable", 20)
    assert.is_true(result)
    assert.equal(10, count)
    assert.equal(10, target)
  end)
end)
