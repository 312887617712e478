-- What is left of a history when only the latest value of each key counts: said as naively as it can be.

local compacted = {}

--- Of one partition's messages, in offset order: each key's last one, unless it is a tombstone and those
-- are not asked for, and all that have no key.
function compacted.fold(messages, tombstones)
  local last, left = {}, {}
  for i, message in ipairs(messages) do
    if message.key ~= nil then last[message.key] = i end
  end
  for i, message in ipairs(messages) do
    local is_last = message.key == nil or last[message.key] == i
    local is_shown = message.key == nil or message.value ~= nil or tombstones
    if is_last and is_shown then left[#left + 1] = message end
  end
  return left
end

--- The messages in the order in which they came, as { [topic] = { [partition] = array } }; an error when a
-- partition's do not come all in a row, or not in the order of their offsets.
function compacted.by_partition(messages)
  local found, latest = {}, nil
  for _, message in ipairs(messages) do
    found[message.topic] = found[message.topic] or {}
    local list = found[message.topic][message.partition]
    if list and list ~= latest then
      error(("%s[%d] comes again after another partition, at offset %d"):format(message.topic,
        message.partition, message.offset), 2)
    end
    if list and list[#list].offset >= message.offset then
      error(("%s[%d]: offset %d after %d"):format(message.topic, message.partition, message.offset,
        list[#list].offset), 2)
    end
    latest = list or {}
    found[message.topic][message.partition] = latest
    latest[#latest + 1] = message
  end
  return found
end

return compacted
