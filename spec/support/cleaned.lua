-- Topics that the broker's cleaner has really compacted.

local kafka = require "support.kafka"
local oracle = require "support.oracle"
local staging = require "support.staging"

local cleaned = {}

--- Of such a topic, of one partition: the cleaner is quick.
cleaned.config = {
  ["cleanup.policy"] = "compact", ["segment.ms"] = 100, ["min.cleanable.dirty.ratio"] = 0.001,
  ["max.compaction.lag.ms"] = 200, ["delete.retention.ms"] = 0,
}

--- Fills it: rounds over the same keys, and between them keys that stay: they are what has holes around
-- it. Each round closes the segment of the one before, as the broker begins a new one when a record
-- comes after segment.ms. `ends_with` is the verb of `staging` that sends what it ends with.
function cleaned.fill(name, ends_with)
  for round = 1, 3 do
    for part = 1, 3 do
      staging.queue(name, 60, { keys = 30, text = "round " .. round })
      staging.queue(name, 2, { prefix = ("stays-%d-%d-"):format(round, part) })
    end
    staging.flush()
    kafka.sleep(0.15)
  end
  staging[ends_with](name, 20, { keys = 20, text = "last round" })
end

-- The cleaner was here: kcat shows fewer messages than there are offsets, and holes between them.
-- 558 were written in the rounds; it leaves 30 keys of them and the 18 that stay.
local function is_compacted(name, level)
  local ends = kafka.ends(name)[0]
  local messages = oracle.read(name, level)[0]
  local holes = 0
  for i = 2, #messages do
    if messages[i].offset > messages[i - 1].offset + 1 then holes = holes + 1 end
  end
  return holes >= 8 and #messages <= 30 + 18 + 20 and ends.high - ends.low > 558
end

--- Waits for the cleaner, and then stops it: what kcat shows later is what the reader was shown.
function cleaned.await(topics, level)
  kafka.wait_until(function() return is_compacted(topics[1], level) end, 20, "the cleaner")
  kafka.config(topics[1], { ["min.compaction.lag.ms"] = 3600000, ["max.compaction.lag.ms"] = 7200000 })
end

return cleaned
