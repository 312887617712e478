-- What a start that fails tells people: what there may be instead of a topic that there is not, and
-- what came back from each address.
local history = require "kafka_history"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local function start(config)
  config.start_timeout = config.start_timeout or 1
  local consumer = assert(history.new(config))
  local ok, err, code = consumer:read_history(function() end, { stop_at = "caught_up", timeout = 30 })
  consumer:close()
  assert.is_nil(ok)
  return err, code
end

describe("a start that fails", function()
  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  describe("for want of a topic", function()
    -- The embedded broker makes each topic that is asked for, but for those that it was told to miss.
    local function missing(topic)
      local of = reading.broker { orders = 1, payments = 2, ["order-lines"] = 1, oders = 1, nothing = 1 }
      for _, name in ipairs { "oders", "nothing" } do
        assert(of:topic_error(name, "UNKNOWN_TOPIC_OR_PART"))
      end
      return start { addresses = of:addresses(), topics = topic }
    end

    it("names the topic that is near", function()
      local err, code = missing { "payments", "oders" }
      assert.equal("UNKNOWN_TOPIC_OR_PART", code)
      assert.matches("topic oders: the brokers know no such topic", err, 1, true)
      assert.matches('create it first; did you mean "orders"?', err, 1, true)
    end)

    it("names none where none is near", function()
      local err, code = missing "nothing"
      assert.equal("UNKNOWN_TOPIC_OR_PART", code)
      assert.matches("or create it first$", err)
    end)
  end)

  describe("for want of a broker", function()
    it("tells what came back from each address that was tried so far, in this start or one before", function()
      local addresses = { "127.0.0.1:1", "127.0.0.1:2", "no-such-host.invalid" }
      local consumer = assert(history.new { addresses = addresses, topics = "t", start_timeout = 1 })
      local err, code
      local function tells(words) return err:find(words) end
      -- librdkafka tries one after another, at its leisure.
      repeat
        err, code = select(2, consumer:read_history(function() end, { timeout = 30 }))
      until tells "tried 127.0.0.1:1 %([^)]*refused%), 127.0.0.1:2 %([^)]*refused%), no%-such%-host.invalid"
        and tells "Failed to resolve"
      assert.is_true(code == "_TRANSPORT" or code == "_RESOLVE", err)
      local all = table.concat(addresses, ",")
      assert.matches(("no broker of %s answered within 1 s"):format(all), err, 1, true)
      consumer:close()
    end)
  end)
end)
