-- A transaction that is open when reading begins was there at the start: under read_committed nothing is
-- caught up before it ends, however it ends, and then at once.

local kafka = require "support.kafka"
local staging = require "support.staging"
local watched = require "support.watched"

local open_s = 3
local release_s = 1 -- from the end of the transaction to the signal, at the most

-- Three plain messages, then the open transaction.
local cases = {}
for _, size in ipairs { { count = 1, name = "one record" }, { count = 40, name = "40 records" } } do
  for _, ending in ipairs { "commit", "abort" } do
    cases[#cases + 1] = {
      name = ("a transaction of %s that is open at the start and %s later"):format(size.name,
        ending == "commit" and "committed" or "aborted"),
      count = size.count,
      ending = ending,
      readable = {
        read_committed = 3 + (ending == "commit" and size.count or 0),
        read_uncommitted = 3 + size.count,
      },
    }
  end
end

-- Ends the transaction when it has been open for open_s; notes when, and that there was no signal until
-- then if there must be none.
local function ender(transaction, case, level)
  local began = watched.clock()
  local times = {}
  function times.tick(reader)
    if times.ended or watched.clock() - began < open_s then return end
    if level == "read_committed" and (reader.signal or reader.latch:is_ready()) then
      error("released before the transaction has ended", 0)
    end
    times.ending = watched.clock()
    assert(transaction[case.ending](transaction))
    times.ended = watched.clock()
  end
  return times
end

describe("on a real broker", function()
  local topics = {}

  local function place(case, level, call)
    return case.name .. level .. call
  end

  lazy_setup(function()
    local created = {}
    for _, case in ipairs(cases) do
      for _, level in ipairs { "read_committed", "read_uncommitted" } do
        for _, call in ipairs { "read on", "stop" } do
          local name = kafka.create("open")
          created[#created + 1] = name
          topics[place(case, level, call)] = name
        end
      end
    end
    staging.prime(created)
  end)

  lazy_teardown(staging.close)

  -- What a failed test has left open would fail all that follow. Mostly there is none, and abort raises.
  after_each(function() pcall(function() return staging.transactional():abort() end) end)

  local function stage(case, level, call)
    local name = topics[place(case, level, call)]
    staging.send(name, 3)
    local transaction = staging.open(name, case.count)
    assert.equal(3 + case.count, kafka.ends(name)[0].high)
    return name, transaction
  end

  local function check_release(reader, times)
    assert.is_true(reader.signal.at >= times.ending)
    local late = reader.signal.at - times.ended
    assert(late < release_s, ("released %.3f s after the end of the transaction"):format(late))
  end

  for _, case in ipairs(cases) do
    describe("with " .. case.name, function()
      it("read_committed waits for its end, and is released within a second of it", function()
        local name, transaction = stage(case, "read_committed", "read on")
        local reader = watched.new({ name }, "read_committed"):expect(case.readable.read_committed)
        local times = ender(transaction, case, "read_committed")
        reader:read_until(function() return reader.signal end, 10, { on_tick = times.tick })
        check_release(reader, times)
        reader:check_verdict()
        reader:check_events()
        assert.equal(case.readable.read_committed, reader:check_messages(true))
        reader:close()
      end)

      it("read_committed stops exactly below T, with messages behind the open transaction", function()
        local name, transaction = stage(case, "read_committed", "stop")
        local live = 0
        local reader = watched.new({ name }, "read_committed", {
          on_event = function(event, reader)
            if event.name == "snapshot" then live = live + staging.send_live(reader.ends) end
          end,
        }):expect(case.readable.read_committed)
        local times = ender(transaction, case, "read_committed")
        reader:read_history(10, { tick = 0.02, on_tick = function() times.tick(reader) end })
        check_release(reader, times)
        reader:check_verdict()
        reader:check_events()
        local count = reader:check_messages()
        assert.equal(case.readable.read_committed, count)
        assert.equal(count, reader:count(), "handed out beyond T")
        reader:read_until(function() return reader:count() >= count + live end)
        assert.equal(count + live, reader:check_messages(true))
        reader:close()
      end)

      it("read_uncommitted hands it out and does not wait", function()
        for _, call in ipairs { "read on", "stop" } do
          local name, transaction = stage(case, "read_uncommitted", call)
          local reader = watched.new({ name }, "read_uncommitted"):expect(case.readable.read_uncommitted)
          if call == "stop" then
            reader:read_history(2)
          else
            reader:read_until_signal(2)
          end
          reader:check_verdict()
          reader:check_events()
          assert(transaction[case.ending](transaction))
          assert.equal(case.readable.read_uncommitted, reader:check_messages(true))
          reader:close()
        end
      end)
    end)
  end
end)
