-- Where history ends, on a real broker: each kind of tail that a log can have, under both isolation
-- levels. support.watched asserts inside the handler that the signal is never out while a history
-- message is unhandled, against ends that were asked for before; what is read is compared with kcat.

local cleaned = require "support.cleaned"
local kafka = require "support.kafka"
local staging = require "support.staging"
local watched = require "support.watched"

local levels = { "read_committed", "read_uncommitted" }

-- Each case: a sentence, the topics that it needs (partitions), how they are filled, and how many
-- messages of them are readable under read_committed and read_uncommitted. `ready` waits for what the
-- broker does by itself.
local cases = {
  {
    name = "a topic of which nothing was ever written",
    needs = { 3 },
    fill = function() end,
    readable = { 0, 0 },
  },
  {
    name = "a topic that was emptied by DeleteRecords",
    needs = { 2 },
    fill = function(name)
      staging.send_to_all(name, 2, 100)
      kafka.delete_records(name, { [0] = -1, [1] = -1 })
    end,
    readable = { 0, 0 },
  },
  {
    name = "a topic whose beginning was deleted",
    needs = { 2 },
    fill = function(name)
      staging.send_to_all(name, 2, 100)
      kafka.delete_records(name, { [0] = 37 })
    end,
    readable = { 163, 163 },
  },
  {
    name = "a topic that ends in plain messages, in one partition of many",
    needs = { 8 },
    fill = function(name) staging.send(name, 500, { partition = 5 }) end,
    readable = { 500, 500 },
  },
  {
    name = "a topic that ends in a committed transaction",
    needs = { 1 },
    fill = function(name)
      staging.send(name, 20)
      staging.commit(name, 20)
    end,
    readable = { 40, 40 },
  },
  {
    name = "a topic that ends in an aborted transaction",
    needs = { 1 },
    fill = function(name)
      staging.send(name, 20)
      staging.abort(name, 20)
    end,
    readable = { 20, 40 },
  },
  {
    name = "a topic that ends in many aborted transactions of one record",
    needs = { 1 },
    fill = function(name)
      staging.send(name, 5)
      for _ = 1, 10 do staging.abort(name, 1) end
    end,
    readable = { 5, 15 },
  },
  {
    name = "a topic that holds nothing but aborted transactions",
    needs = { 1 },
    fill = function(name)
      for _ = 1, 4 do staging.abort(name, 11) end
    end,
    readable = { 0, 44 },
  },
  {
    name = "a topic that holds nothing but a marker, as what was before it is deleted",
    needs = { 1 },
    fill = function(name)
      staging.commit(name, 10)
      kafka.delete_records(name, { [0] = 10 })
    end,
    readable = { 0, 0 },
  },
  {
    name = "a topic of interleaved transactions, of which the last one was aborted",
    needs = { 1 },
    fill = function(name)
      local one = staging.open(name, 10, { number = 1 })
      local two = staging.open(name, 10, { number = 2 })
      staging.send_more(one, name, 10)
      staging.send(name, 3)
      staging.send_more(two, name, 10)
      assert(one:commit())
      staging.send_more(two, name, 5)
      assert(two:abort())
    end,
    readable = { 23, 48 },
  },
  {
    name = "a topic of interleaved transactions, of which the last one was committed",
    needs = { 1 },
    fill = function(name)
      local one = staging.open(name, 10, { number = 1 })
      local two = staging.open(name, 10, { number = 2 })
      staging.send_more(one, name, 10)
      staging.send(name, 3)
      staging.send_more(two, name, 10)
      assert(one:abort())
      staging.send_more(two, name, 5)
      assert(two:commit())
    end,
    readable = { 28, 48 },
  },
  {
    name = "two topics at once, with tails of different kinds",
    needs = { 3, 2 },
    fill = function(orders, prices)
      staging.send_to_all(orders, 2, 50)
      staging.abort(orders, 7, { partition = 1 })
      staging.send(prices, 30)
      staging.commit(prices, 5, { partition = 1 })
    end,
    readable = { 135, 142 },
  },
  {
    name = "a topic of 300 partitions, every third of them empty",
    needs = { 300 },
    fill = function(name)
      for partition = 0, 299 do
        if partition % 3 ~= 0 then staging.queue(name, 5, { partition = partition }) end
      end
      staging.flush()
    end,
    readable = { 1000, 1000 },
  },
  {
    name = "a topic that the cleaner has compacted, with holes, before a committed transaction",
    needs = { 1 },
    config = cleaned.config,
    fill = function(name) cleaned.fill(name, "commit") end,
    ready = cleaned.await,
  },
  {
    name = "a topic that the cleaner has compacted, with holes, before an aborted transaction",
    needs = { 1 },
    config = cleaned.config,
    fill = function(name) cleaned.fill(name, "abort") end,
    ready = cleaned.await,
  },
  {
    name = "a topic that the cleaner has compacted, with holes, before plain messages",
    needs = { 1 },
    config = cleaned.config,
    fill = function(name) cleaned.fill(name, "send") end,
    ready = cleaned.await,
  },
}

local busy = {} -- the topics with a writer that never stops

local function create_all()
  local created = {}
  for _, level in ipairs(levels) do
    for _, case in ipairs(cases) do
      local names = {}
      for i, partitions in ipairs(case.needs) do
        names[i] = kafka.create("tail", { partitions = partitions, config = case.config })
        created[#created + 1] = names[i]
      end
      case.topics = case.topics or {}
      case.topics[level] = names
    end
    busy[level] = kafka.create("busy")
  end
  return created
end

-- What the cleaner works at is written first and read last.
local function stage_all()
  staging.prime(create_all())
  for i = #cases, 1, -1 do
    for _, level in ipairs(levels) do
      cases[i].fill((table.unpack or unpack)(cases[i].topics[level])) -- luacheck: ignore 113 143
    end
  end
end

-- The signal, a verdict and events; and exactly the history, whether it stops there or is watched.
local function check_quiet(reader)
  reader:check_verdict()
  reader:check_events()
  local count = reader:check_messages()
  assert.equal(reader.expected or count, count)
  assert.equal(count, reader.history)
  assert.equal(count, reader.signal.history)
  assert.equal(count, reader:count())
  reader:close()
end

-- Reads while two messages more for each partition arrive at the very beginning, and stops at T;
-- another call hands them out.
local function check_with_live(topics, level, expected)
  local live
  local reader = watched.new(topics, level, {
    on_event = function(event, reader)
      if event.name == "snapshot" then live = staging.send_live(reader.ends) end
    end,
  }):expect(expected)
  reader:read_history()
  reader:check_verdict()
  reader:check_events()
  local count = reader:check_messages()
  assert.equal(count, reader:count(), "handed out beyond T")
  reader:read_until(function() return reader:count() >= count + live end)
  assert.equal(count + live, reader:check_messages(true))
  reader:check_events()
  reader:close()
end

-- The writer goes on between the question for the ends and the module's own: T lies between that end
-- and the one after reading.
local function check_busy(name, level, call)
  local place = name .. "[0]"
  local reader = watched.new({ name }, level, {
    on_event = function(event, reader)
      if event.name ~= "snapshot" then return end
      local target = reader.consumer:progress().partitions[1].target
      assert.is_true(reader.ends[place].high <= target)
      reader.ends[place].high = target
    end,
  })
  reader[call](reader)
  local target = reader.ends[place].high
  assert.is_true(target <= kafka.ends(name)[0].high)
  assert.equal(target, reader.signal.history)
  assert.is_true(reader.signal.at - reader.events[1].at < 5)
  assert.equal("caught_up", reader.consumer:progress().state)
  assert.equal(1, reader.consumer:progress().fraction)
  reader:check_events()
  if call == "read_history" then
    assert.equal(target, reader:count(), "handed out beyond T")
    reader:check_verdict()
  end
  -- It is what the case is about, and it is still so.
  kafka.wait_until(function() return kafka.ends(name)[0].high > target + 100 end, 5, "the writer")
  local count = target + 100
  reader:read_until(function() return reader:count() >= count end)
  reader:close()
end

describe("on a real broker", function()
  lazy_setup(stage_all)
  lazy_teardown(staging.close)

  for number, level in ipairs(levels) do
    describe("under " .. level .. ", caught up exactly when all below T is handled:", function()
      for _, case in ipairs(cases) do
        it(case.name, function()
          local topics = case.topics[level]
          local expected = case.readable and case.readable[number]
          if case.ready then case.ready(topics, level) end

          local reader = watched.new(topics, level):expect(expected)
          reader:read_until_signal()
          check_quiet(reader)

          reader = watched.new(topics, level):expect(expected)
          reader:read_history()
          check_quiet(reader)

          check_with_live(topics, level, expected)
        end)
      end

      it("a topic with a writer that never stops", function()
        local name = busy[level]
        local stop = staging.write_for_ever(name, 0)
        local ok, err = pcall(function()
          kafka.wait_until(function() return kafka.ends(name)[0].high >= 2000 end, 10, "the writer")
          for _, call in ipairs { "read_history", "read_until_signal" } do
            check_busy(name, level, call)
          end
        end)
        stop()
        assert(ok, err)
      end)
    end)
  end
end)
