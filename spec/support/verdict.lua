-- Reads the logs of all members of a group (support.member), and judges them by what the topics hold,
-- which another program was asked for. A rule that is broken is an error:
--
-- * nothing is lost: every message was handled by somebody;
-- * a member handles only what it has: between "assigned" and "revoked", in order and without a hole;
-- * a message is handled again only where the member that had handled it was killed, or lost its membership,
--   or could not reach the coordinator any more (the spec says so: `cut_off`), or by one that had lost it and
--   was not told yet;
-- * a member's signal comes when all of the history in the partitions that it has is handled, not before.

local verdict = {}

local function broken(format, ...)
  error("broken rule: " .. format:format(...), 0)
end

-- All offsets of a partition that hold a message, in order, and where each is.
local function make_log(offsets)
  local log = { offsets = offsets, at = {}, done = 0, handled = {} }
  for i, offset in ipairs(offsets) do log.at[offset] = i end
  return log
end

--- What is expected of a topic without holes: ends are those of kafka.ends.
function verdict.whole(topic, ends)
  local expected = {}
  for partition, of in pairs(ends) do
    local offsets = {}
    for offset = of.low, of.high - 1 do offsets[#offsets + 1] = offset end
    expected[topic .. ":" .. partition] = { offsets = offsets, target = of.high }
  end
  return expected
end

-- All entries of all members, in the order in which they were written.
local function merge(members)
  local all = {}
  for number, one in ipairs(members) do
    for i, entry in ipairs(one:look().entries) do
      entry.member, entry.number, entry.index = one, number, i
      all[#all + 1] = entry
    end
  end
  table.sort(all, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    if a.number ~= b.number then return a.number < b.number end
    return a.index < b.index
  end)
  return all
end

local function on_assigned(state, event)
  for _, place in ipairs(event.places) do
    local name = place.topic .. ":" .. place.partition
    local owned = state.owned[event.member]
    if owned[name] then broken("%s is assigned %s, which it has", event.member.name, name) end
    local stay = { member = event.member }
    if state.own_start then stay.index = state.positions[event.member][name] or 0 end
    owned[name] = stay
  end
  if #event.places > 0 then state.assignments = state.assignments + 1 end
end

local function on_revoked(state, event)
  for _, place in ipairs(event.places) do
    local name = place.topic .. ":" .. place.partition
    local owned = state.owned[event.member]
    if not owned[name] then broken("%s is revoked %s, which it has not", event.member.name, name) end
    owned[name].lost = event.lost
    owned[name] = nil
  end
  state.losses = state.losses + (event.lost and 1 or 0)
end

-- Is what was handled in this stay of a partition with a member allowed to come again?
local function may_come_again(stay)
  local member = stay.member
  return stay.lost or (member.killed or member.cut_off) and member.owned_at_end[stay]
end

local function on_message(state, entry)
  local name = entry.topic .. ":" .. entry.partition
  local log, stay = state.logs[name], state.owned[entry.member][name]
  local where = ("%s@%d handled by %s"):format(name, entry.offset, entry.member.name)
  local index = log and log.at[entry.offset]
  if not index then broken("%s is no message of the log", where) end
  if not stay then broken("%s, which has not this partition", where) end
  if stay.index and index ~= stay.index + 1 then
    broken("%s after offset %s", where, tostring(log.offsets[stay.index]))
  end
  if not stay.index and index > log.done + 1 then
    broken("%s first, while all was handled up to offset %s only", where, tostring(log.offsets[log.done]))
  end
  stay.index = index
  state.positions[entry.member][name] = index
  local before = log.handled[index]
  if before then
    state.repeats[#state.repeats + 1] = { name = name, offset = entry.offset, first = before, again = entry,
      stay = before.stay, stay_again = stay }
  end
  log.handled[index] = { at = entry.at, stay = stay }
  if index == log.done + 1 then log.done = index end
end

-- How many offsets of the history are not handled, of the partitions that the member has.
local function on_signal(state, event)
  if event.member.signal ~= event then broken("%s has told its signal twice", event.member.name) end
  for name, stay in pairs(state.owned[event.member]) do
    local log = state.logs[name]
    local done = state.own_start and stay.index or log.done
    local next_offset = log.offsets[done + 1]
    local target = (event.member.targets or state.targets)[name]
    if next_offset and next_offset < target then
      broken("early: the signal of %s at %.3f, and of %s only what is below offset %d is handled, of %d",
        event.member.name, event.at - event.member.began, name, next_offset, target)
    end
  end
end

-- Which stays of a member lasted until its end.
local function note_ends(state, members)
  for _, one in ipairs(members) do
    one.owned_at_end = {}
    for _, stay in pairs(state.owned[one]) do one.owned_at_end[stay] = true end
  end
end

local function check_repeats(state)
  for _, again in ipairs(state.repeats) do
    local late = again.stay_again
    if not (may_come_again(again.stay) or late.lost or late.member.cut_off) then
      broken("%s@%d is handled again by %s, %.3f s after %s, which was neither killed nor has lost anything",
        again.name, again.offset, again.again.member.name, again.again.at - again.first.at,
        again.stay.member.name)
    end
  end
end

local function check_loss(state)
  for name, log in pairs(state.logs) do
    if log.done < #log.offsets then
      broken("lost: of %s %d messages were handled, of %d; the first that was not is at offset %d", name,
        log.done, #log.offsets, log.offsets[log.done + 1])
    end
  end
end

local function judge(members, expected, options)
  local state = { logs = {}, owned = {}, repeats = {}, targets = {}, assignments = 0, losses = 0,
    positions = {}, own_start = options.own_start }
  for name, of in pairs(expected) do
    state.logs[name], state.targets[name] = make_log(of.offsets), of.target
  end
  for _, one in ipairs(members) do state.owned[one], state.positions[one] = {}, {} end
  for _, entry in ipairs(merge(members)) do
    if entry.kind == "message" then
      on_message(state, entry)
    elseif entry.name == "assigned" then
      on_assigned(state, entry)
    elseif entry.name == "revoked" then
      on_revoked(state, entry)
    elseif entry.name == "caught_up" then
      on_signal(state, entry)
    end
  end
  note_ends(state, members)
  if not options.own_start then check_repeats(state) end
  if not options.partial then check_loss(state) end
  return state
end

--- Judges. expected: { ["topic:partition"] = { offsets = array, target = T } }, as of `whole`; a member that
-- began later has `targets` of its own, { ["topic:partition"] = T }. options:
--   own_start: each member begins at the start of the log (from_beginning): its order and its signal only
--   partial: not everything has to have been handled
-- Returns repeats: array of { name, offset, first, again }, assignments, losses: how many.
function verdict.check(members, expected, options)
  local ok, result = pcall(judge, members, expected, options or {})
  if ok then return result end
  local words = { result }
  for _, one in ipairs(members) do words[#words + 1] = one:describe() end
  error(table.concat(words, "\n"), 0)
end

return verdict
