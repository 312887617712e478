-- How to test a handler: with the broker that comes with the module, in this process. No Kafka, no
-- container, nothing to install but busted, and each test starts with empty topics.
--
--   busted --lua=lua5.4 examples/handler_spec.lua

local broker = require "kafka_history.broker"
local history = require "kafka_history"

describe("the balances", function()
  local bank

  before_each(function()
    bank = assert(broker.new { topics = { bookings = 2 } })
  end)

  after_each(function()
    bank:close()
  end)

  -- Runs the handler over the topic's history. What it has written when it was caught up; or nil and the
  -- error. The file is loaded anew each time, so that no test sees what another one has left.
  local function run()
    local handler = dofile "examples/handler.lua"
    local consumer = assert(history.new { addresses = bank:addresses(), topics = "bookings" })
    local ok, err = consumer:read_history(handler.handle, { stop_at = "caught_up", timeout = 10 })
    consumer:close()
    if not ok then return nil, err end
    local written = {}
    local write = stub(io, "write", function(text) table.insert(written, text) end)
    handler.caught_up()
    write:revert()
    return table.concat(written)
  end

  it("are the sums of all bookings", function()
    assert(bank:produce("bookings", {
      { key = "ann", value = "1000" },
      { key = "bob", value = "300" },
      { key = "ann", value = "-250" },
    }))
    assert.equal("ann\t750\nbob\t300\n", run())
  end)

  it("leave out an account that was closed", function()
    assert(bank:produce("bookings", {
      { key = "ann", value = "1000" },
      { key = "bob", value = "5" },
      { key = "ann" },
    }))
    assert.equal("bob\t5\n", run())
  end)

  it("begin again at nothing for an account that is opened again", function()
    assert(bank:produce("bookings", {
      { key = "ann", value = "1000" },
      { key = "ann" },
      { key = "ann", value = "7" },
    }))
    assert.equal("ann\t7\n", run())
  end)

  it("are none where nothing was booked", function()
    assert.equal("", run())
  end)

  -- A message that cannot be handled stops the reader, whose error says which one it was.
  it("cannot be told when an amount is no number", function()
    assert(bank:produce("bookings", {
      { key = "ann", value = "1000", partition = 1 },
      { key = "ann", value = "a lot", partition = 1 },
    }))
    local written, err = run()
    assert.is_nil(written)
    assert.matches('bookings%[1%].* not an amount: "a lot"', err)
  end)

  -- The broker can fail as a real one does: the handler sees none of it.
  it("are right though the broker loses its leader and closes connections meanwhile", function()
    assert(bank:produce("bookings", { { key = "ann", value = "1000" }, { key = "ann", value = "-1" } }))
    assert(bank:error("Fetch", { "NOT_LEADER_FOR_PARTITION", "_TRANSPORT" }))
    assert.equal("ann\t999\n", run())
  end)
end)
