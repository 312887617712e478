-- A reader that is watched: every call of its handler and every event is compared with the ends of
-- the topics as they were before it began, which the broker was asked for by another program. A
-- rule that is broken raises within the handler, so that read_history fails with it.

local history = require "kafka_history"
local kafka = require "support.kafka"
local library = require "support.library"
local oracle = require "support.oracle"

local watched = {}
watched.__index = watched

local clock = require("kafka_history.core").consumer.now -- only to take the time with

watched.clock = clock

local function broken(format, ...)
  error("broken rule: " .. format:format(...), 0)
end

local function name_of(topic, partition)
  return ("%s[%d]"):format(topic, partition)
end

-- topics: array of names. config: what else the consumer is told; its on_event sees every event
-- after the watcher. It has
--   consumer, latch; events: array; read: { [topic[partition]] = array of messages };
--   history: how many messages below T were handled; signal: { at =, history = } once released.
function watched.new(topics, level, config)
  local self = setmetatable({ topics = topics, level = level, events = {}, read = {}, history = 0,
    ends = {}, crossed = {}, uncrossed = 0 }, watched)
  for _, topic in ipairs(topics) do
    for partition, ends in pairs(kafka.ends(topic)) do
      local name = name_of(topic, partition)
      self.ends[name] = ends
      self.read[name] = {}
      if ends.low < ends.high then self.uncrossed = self.uncrossed + 1 end
    end
  end
  local all = { addresses = kafka.addresses(), topics = topics,
    options = { ["isolation.level"] = level } }
  for key, value in pairs(config or {}) do
    if key == "options" then
      for property, setting in pairs(value) do all.options[property] = setting end
    elseif key ~= "on_event" then
      all[key] = value
    end
  end
  local on_event = config and config.on_event
  all.on_event = function(event)
    self:see_event(event)
    if on_event then on_event(event, self) end
  end
  self.consumer = assert(history.new(all))
  self.latch = self.consumer:caught_up()
  return self
end

-- How many messages are to be handled before the signal, where that is known beforehand.
function watched:expect(count)
  self.expected = count
  return self
end

function watched:see_event(event)
  event.at = clock()
  self.events[#self.events + 1] = event
  if event.name ~= "caught_up" then return end
  if not self.latch:is_ready() then broken("the event came and the latch is not released") end
  self:see_signal()
end

function watched:see_signal()
  if self.signal then return end
  self.signal = { at = clock(), history = self.history }
  if self.expected and self.expected ~= self.history then
    broken("released after %d of %d messages of the history", self.history, self.expected)
  end
end

-- Every partition has shown a message at or beyond its last offset of the history: nothing more can
-- be waited for.
local function note_crossing(self, name, offset, is_handled)
  local ends = self.ends[name]
  if self.crossed[name] or ends.low >= ends.high then return end
  if offset >= ends.high or (is_handled and offset + 1 >= ends.high) then
    self.crossed[name] = true
    self.uncrossed = self.uncrossed - 1
  end
end

-- The handler's checks for one message.
function watched:see_message(msg)
  local name = name_of(msg.topic, msg.partition)
  local read, ends, ready = self.read[name], self.ends[name], self.latch:is_ready()
  if not read then -- a partition that came later
    read = {}
    self.read[name] = read
    ends = { low = 0, high = 0 }
    self.ends[name] = ends
  end
  local last = read[#read]
  if last and msg.offset <= last.offset then
    broken("%s: offset %d after %d", name, msg.offset, last.offset)
  end
  if msg.offset < ends.low then broken("%s: offset %d is below the start", name, msg.offset) end
  if msg.offset < ends.high then
    if ready then broken("%s@%d is of the history, and the signal is out", name, msg.offset) end
    self.history = self.history + 1
  end
  read[#read + 1] = oracle.like(msg)
  note_crossing(self, name, msg.offset, false)
  if ready then
    self:see_signal()
  elseif self.uncrossed == 0 and msg.offset >= ends.high then
    broken("%s@%d is not of the history, all of which is handled, and there is no signal", name,
      msg.offset)
  end
  note_crossing(self, name, msg.offset, true)
end

-- handle(msg, self) is called after the checks; its results are the handler's.
function watched:handler(handle)
  return function(msg)
    self:see_message(msg)
    if handle then return handle(msg, self) end
  end
end

-- The options of read_history: those given, without `handle`, which is the handler, over the defaults.
local function with_defaults(given, defaults)
  for key, value in pairs(given or {}) do
    if key ~= "handle" then defaults[key] = value end
  end
  return defaults, given and given.handle
end

-- Reads until stop() says so, and raises when `seconds` have gone (10).
function watched:read_until(stop, seconds, given)
  local opts, handle = with_defaults(given, { timeout = seconds or 10, tick = 0.02 })
  local on_tick = opts.on_tick
  opts.on_tick = function()
    if on_tick then on_tick(self) end
    if stop(self) then self.consumer:cancel() end
  end
  local ok, err, code = self.consumer:read_history(self:handler(handle), opts)
  if code ~= "CANCELLED" then error("read_history: " .. tostring(ok or err), 2) end
end

function watched:read_until_signal(seconds)
  self:read_until(function() return self.signal end, seconds)
end

-- Reads with stop_at = "caught_up", and raises unless it stopped there.
function watched:read_history(seconds, given)
  local opts, handle = with_defaults(given, { timeout = seconds or 10, stop_at = "caught_up" })
  local ok, err = self.consumer:read_history(self:handler(handle), opts)
  if ok ~= true then error("read_history: " .. tostring(err), 2) end
  if not self.latch:is_ready() then broken("read_history stopped, and the latch is not released") end
  self:see_signal()
end

-- How many messages were read, history or not.
function watched:count()
  local count = 0
  for _, messages in pairs(self.read) do count = count + #messages end
  return count
end

function watched:events_named(event_name)
  local found = {}
  for _, event in ipairs(self.events) do
    if event.name == event_name then found[#found + 1] = event end
  end
  return found
end

-- Raises unless what was read is what kcat reads now: all of it, or only what lies below the ends
-- that were there at the start. Returns the number of messages.
function watched:check_messages(whole)
  local count = 0
  for _, topic in ipairs(self.topics) do
    local log = oracle.read(topic, self.level)
    for name, ends in pairs(self.ends) do
      local partition = tonumber(name:match("%[(%d+)%]$"))
      if name == name_of(topic, partition) then
        local expected = {}
        for _, message in ipairs(log[partition] or {}) do
          if whole or message.offset < ends.high then expected[#expected + 1] = message end
        end
        local difference = oracle.difference(expected, self.read[name])
        if difference then error(("%s: %s"):format(name, difference), 2) end
        count = count + #expected
      end
    end
  end
  return count
end

-- Raises unless progress() tells the truth about a history that has been read, nothing beyond it.
function watched:check_verdict()
  local verdict = self.consumer:progress()
  local function must(name, expected, given)
    if expected ~= given then
      error(("progress().%s is %s, not %s"):format(name, tostring(given), tostring(expected)), 3)
    end
  end
  local total, partitions = 0, 0
  for _, ends in pairs(self.ends) do
    total = total + ends.high - ends.low
    partitions = partitions + 1
  end
  must("state", "caught_up", verdict.state)
  must("fraction", 1, verdict.fraction)
  must("messages", self.history, verdict.messages)
  must("skipped", 0, verdict.skipped)
  must("gaps", 0, verdict.gaps)
  must("truncated", 0, verdict.truncated)
  must("offsets_total", total, verdict.offsets_total)
  must("offsets_done", total, verdict.offsets_done)
  must("eta", 0, verdict.eta)
  must("partitions", partitions, #verdict.partitions)
  for _, place in ipairs(verdict.partitions) do
    local name = name_of(place.topic, place.partition)
    local ends = self.ends[name]
    must(name .. ".start", ends.low, place.start)
    must(name .. ".target", ends.high, place.target)
    local position = place.position
    -- From 2.2.0 to 2.13.1 librdkafka's position is not to be trusted (#4844). Then it is the end of
    -- the log that tells, and it lies behind the marker of a transaction that was open at T.
    if ends.high < position and library.is_at_least(2, 2, 0) and not library.is_at_least(2, 13, 2) then
      must(name .. ".position", kafka.ends(place.topic)[place.partition].high, position)
    else
      must(name .. ".position", ends.high, position)
    end
    must(name .. ".caught_up", true, place.caught_up)
    if place.end_offset < ends.high then must(name .. ".end_offset", ends.high, place.end_offset) end
  end
  return verdict
end

-- Raises unless the events name the snapshot first, each partition once, and the signal once and last,
-- and nothing else.
function watched:check_events()
  local seen = {}
  local last = #self.events
  for i, event in ipairs(self.events) do
    if event.name == "partition_caught_up" then
      local name = name_of(event.topic, event.partition)
      if seen[name] then error(name .. " was told twice", 2) end
      if event.target ~= self.ends[name].high then
        error(("%s was told with target %s"):format(name, tostring(event.target)), 2)
      end
      seen[name] = true
    elseif not (event.name == "snapshot" and i == 1) and not (event.name == "caught_up" and i == last) then
      error(("event %d of %d is %q: %s"):format(i, last, event.name, event.text), 2)
    end
  end
  for name in pairs(self.ends) do
    if not seen[name] then error(name .. " was not told", 2) end
  end
  if #self:events_named("caught_up") ~= 1 then error("the signal was not told once", 2) end
end

function watched:close()
  assert(self.consumer:close())
end

return watched
