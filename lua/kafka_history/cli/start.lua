--- Where to start: what --from says as the module's configuration.

local start = {}

-- Reads nothing: all partitions, with the offsets at which they end now.
local function ends(new, config)
  local asking = {}
  for key, value in pairs(config) do asking[key] = value end
  asking.from_beginning = false
  local consumer, err, code = new(asking)
  if not consumer then return nil, err, code end
  local ok
  ok, err, code = consumer:read_history(function() end, { stop_at = "caught_up" })
  local partitions = ok and consumer:progress().partitions
  consumer:close()
  return partitions, err, code
end

-- Offsets by topic and partition; a partition that is not asked for starts where it ends.
local function offsets(partitions, from)
  local by_topic = {}
  for _, place in ipairs(partitions) do
    local of = by_topic[place.topic] or {}
    local offset = from.number and math.min(from.number, place.target) or from.places and place.target
    of[place.partition] = offset
    by_topic[place.topic] = of
  end
  for _, of in pairs(by_topic) do
    for partition, offset in pairs(from.places or {}) do of[partition] = offset end
  end
  return by_topic
end

--- Completes the configuration. true; nil, err, code when the brokers had to be asked, and it failed.
-- @tparam function new history.new
function start.configure(new, config, from)
  if not from then return true end
  if from.kind == "beginning" then
    config.from_beginning = true
  elseif from.kind == "end" then
    config.from_beginning = false
  elseif from.kind == "last" then
    config.start = { last = from.number }
  elseif from.kind == "timestamp" then
    config.start = { timestamp = from.number }
  else
    local partitions, err, code = ends(new, config)
    if not partitions then return nil, err, code end
    config.start = offsets(partitions, from)
  end
  return true
end

return start
