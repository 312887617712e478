-- The ways in which a group shares its partitions, as far as the librdkafka that is loaded has them and
-- they are safe with it.

local kafka = require "support.kafka"
local library = require "support.library"

local protocol = {}
protocol.__index = protocol

local protocols = {
  setmetatable({ name = "eager", strategy = "range" }, protocol),
}

if library.is_at_least(2, 6, 1) then
  table.insert(protocols, setmetatable({ name = "cooperative", strategy = "cooperative-sticky" }, protocol))
end

if library.is_at_least(2, 12, 0) then
  table.insert(protocols, setmetatable({ name = "consumer" }, protocol))
end

--- Options of a member, and more of them. `session_ms` (45000) is how long a dead one is waited for.
function protocol:options(more, session_ms)
  local options = { ["fetch.wait.max.ms"] = 50 }
  if self.strategy then
    options["partition.assignment.strategy"] = self.strategy
    options["session.timeout.ms"] = session_ms or 45000
    options["heartbeat.interval.ms"] = 500 -- after which a member hears that another one has come
  else
    options["group.protocol"] = "consumer"
  end
  for property, value in pairs(more or {}) do options[property] = value end
  return options
end

--- Makes a group's name. Where the broker sets the session's time it is told.
function protocol:group(session_ms)
  local group = kafka.topic_name "group"
  if not self.strategy and session_ms then
    kafka.configure_group(group, { ["consumer.session.timeout.ms"] = session_ms })
  end
  return group
end

return protocols
