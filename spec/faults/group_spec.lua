-- The end of a group's member when its broker is gone, on a real broker of this spec's own.

local cluster = require "support.cluster"
local history = require "kafka_history"
local producer = require "kafka_history.producer"
local protocols = require "support.protocols"
local reading = require "support.reading"

for _, protocol in ipairs(protocols) do
  describe("a member of a group (" .. protocol.name .. ") whose broker is gone", function()
    local broker, topic, topic_of_its_own

    setup(function()
      broker = cluster.start(1)
      topic, topic_of_its_own = broker:create("ending", 3), broker:create("returns", 1)
      local out = assert(producer.new { addresses = broker.address })
      for i = 0, 2999 do assert(out:send(topic, { partition = i % 3, value = tostring(i) })) end
      for i = 0, 1999 do assert(out:send(topic_of_its_own, { value = tostring(i) })) end
      assert(out:flush(30))
      out:close()
    end)

    teardown(function() broker:stop() end)

    -- Reads some, of which nothing is committed.
    local function member()
      local consumer = assert(history.new { addresses = broker.address, topics = topic,
        consumer_group = protocol:group(), commit_interval = 3600, options = protocol:options() })
      local count = 0
      local _, err, code = consumer:read_history(function(_, reader)
        count = count + 1
        if count == 1000 then reader:cancel() end
      end, { timeout = 20, batch = 100 })
      assert.equal("CANCELLED", code, err)
      return consumer
    end

    local function assert_closes_in_time(consumer)
      local began = reading.now()
      assert.is_true(consumer:close())
      assert(reading.now() - began < 5.5, ("close() took %.1f s"):format(reading.now() - began))
    end

    local faults = {
      { name = "dead", strike = "kill 1", heal = "restart 1" },
      { name = "stopped", strike = "pause 1", heal = "cont 1" },
    }

    for _, fault in ipairs(faults) do
      describe("while it is " .. fault.name, function()
        local members

        setup(function()
          members = { closed = member(), collected = member(), commits = member(), notices = member() }
          broker:tool(fault.strike)
        end)

        teardown(function()
          for _, left in pairs(members) do left:close() end
          broker:tool(fault.heal)
          -- One that was stopped needs a while until it is in order again.
          assert(reading.becomes(function()
            local known, leaders = pcall(broker.leaders, broker, topic)
            return known and leaders[0] and leaders[0] >= 0
          end, 60), "the broker does not come back")
        end)

        it("is closed within 5 s", function() assert_closes_in_time(members.closed) end)

        it("is collected at once", function()
          local began = reading.now()
          members.collected = nil
          collectgarbage()
          collectgarbage()
          assert(reading.now() - began < 1)
        end)

        it("waits for a commit as long as it is told to", function()
          local began = reading.now()
          local ok, _, code = members.commits:commit(1)
          assert.is_nil(ok)
          assert.is_string(code)
          if fault.name == "stopped" then assert.equal("TIMEOUT", code) end
          assert(reading.now() - began < 3)
          assert_closes_in_time(members.commits)
        end)

        it("is closed within 5 s when it has noticed", function()
          assert.equal("TIMEOUT", (select(3, members.notices:read_history(function() end, { timeout = 3 }))))
          assert_closes_in_time(members.notices)
        end)
      end)
    end

    it("handles again what was not committed, and nothing is lost, when it comes back", function()
      local group = protocol:group()
      local reader = assert(history.new { addresses = broker.address, topics = topic_of_its_own,
        consumer_group = group, commit_interval = 0.5,
        options = protocol:options { ["reconnect.backoff.max.ms"] = 500 } })
      local count, struck, expected = 0, false, 0
      local ok, err = reader:read_history(function(msg)
        assert(msg.offset <= expected, "a message is lost before " .. tostring(msg))
        expected = msg.offset + 1
        count = count + 1
        if count == 500 and not struck then
          struck = true
          broker:tool "kill 1"
          broker:tool "restart 1"
        end
      end, { stop_at = "caught_up", timeout = 90, batch = 50 })
      reader:close()
      assert.is_true(ok, err)
      assert.equal(2000, expected)
      assert(count <= 2550, count .. " messages were handled, of 2000")
      local again = assert(history.new { addresses = broker.address, topics = topic_of_its_own,
        consumer_group = group, options = protocol:options() })
      assert.is_true(again:read_history(function() error "nothing is left" end, { stop_at = "caught_up",
        timeout = 30 }))
      again:close()
    end)
  end)
end
