-- Why a reader makes no progress, found by asking the broker. In each test the reader is led to a
-- follower that lacks the last message of the history, so that it waits for that whatever else happens.
-- (An open transaction and a truncation need a real broker: spec/real/live_spec.lua. A follower of the
-- in-process broker tells nobody where it ends, as a real one that lags does: catchup_test.c.)
local reading = require "support.reading"
local watchdog = require "support.watchdog"

describe("a stall is reported with its cause:", function()
  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  -- Reads until a stall was reported; then `strike` happens, and it is read until one was for `cause`.
  local function read_to(cause, strike)
    local of = reading.broker({ t = 1 }, 2)
    assert(of:produce("t", "1"))
    assert(of:produce("t", "2"))
    assert(of:follower("t", 0, 2))
    assert(of:follower_watermarks("t", 0, 0, 0))
    local last
    local consumer = reading.consumer(of, "t", {
      stall_timeout = 0.3, on_truncation = "continue",
      on_event = function(event)
        if event.name == "stalled" then last = event end
      end,
    })
    local handler, got = reading.collector()
    local struck = false
    reading.until_true(consumer, handler, function()
      if last and not struck then
        struck = true
        strike(of)
      end
      return last and last.cause == cause
    end)
    assert.same({ "1" }, got)
    assert.same({ "t", 0, 1, 2 }, { last.topic, last.partition, last.offset, last.target })
    assert.equal("t[0]: no progress at offset 1 of 2: " .. cause, last.text)
    return consumer, of
  end

  local function assert_completed(consumer)
    assert.equal("pending", consumer:caught_up():state())
    assert.same({ "2" }, reading.history(consumer))
    assert.is_true(consumer:caught_up():is_ready())
    assert.equal(0, consumer:progress().truncated)
  end

  it("unknown where the broker has what is not coming", function()
    local consumer, of = read_to("unknown", function() end)
    assert(of:follower_watermarks("t", 0, nil, nil))
    assert_completed(consumer)
  end)

  it("unknown where no broker answers", function()
    local consumer, of = read_to("unknown", function(of)
      assert(of:down(1))
      assert(of:down(2))
    end)
    assert(of:follower_watermarks("t", 0, nil, nil))
    assert(of:up(1))
    assert(of:up(2))
    assert_completed(consumer)
  end)

  it("no leader", function()
    local consumer, of = read_to("no leader", function(of) assert(of:leader("t", 0, nil)) end)
    assert(of:follower("t", 0, nil))
    assert(of:leader("t", 0, 1))
    assert_completed(consumer)
  end)

  -- A second later the history that is no more is caught up with: that may have come by now.
  it("topic deleted", function()
    read_to("topic deleted", function(of) assert(of:topic_error("t", "UNKNOWN_TOPIC_OR_PART")) end)
  end)
end)
