-- Members of a group, each in a process of its own, with a log of its own of what it has handled, what
-- it was told and what became of its calls. A line is written when it happens, so that the log is whole
-- whatever ends the process. `verdict` (support.verdict) reads the logs of all members.
--
--     local one = member.start { topics = topic, group = group }
--     one:wait(function() return one.count > 100 end, 10, "a hundred messages")
--     one:stop()
--
-- In its process a member runs `life`, Lua code that sees `self` (below: own) and `system`; the default
-- reads until it is asked to stop, and closes.

local child = require "support.child"
local kafka = require "support.kafka"
local system = require "system"

local member = {}

-- --- in the process of the member -----------------------------------------------------------------------

local own = {}
own.__index = own

local function write(self, kind, ...)
  local words = { kind, ("%.6f"):format(system.monotime()), ... }
  for i = 3, #words do words[i] = tostring(words[i]):gsub("[\t\n]", " ") end
  assert(self.file:write(table.concat(words, "\t"), "\n"))
  self.file:flush()
end

--- The process of a member begins: its consumer is made.
function member.begin(base, config)
  local self = setmetatable({ base = base, file = assert(io.open(base .. ".log", "w")) }, own)
  local stat = assert(io.open "/proc/self/stat")
  write(self, "pid", stat:read "*n")
  stat:close()
  config.on_event = function(event)
    local places = {}
    for i, place in ipairs(event.partitions or {}) do
      places[i] = ("%s:%d"):format(place.topic, place.partition)
    end
    write(self, "event", event.name, event.lost and "lost" or "-", table.concat(places, " "),
      event.code or "-", event.text)
  end
  self.consumer = assert(require("kafka_history").new(config))
  return self
end

--- Tells the specs something: a word, and more.
function own:note(word, ...)
  write(self, "note", word, ...)
end

-- Each request counts once.
local function is_asked_to_stop(self)
  return os.remove(self.base .. ".stop") == true
end

--- Waits, without reading, until the member is asked to stop.
function own:sleep()
  while not is_asked_to_stop(self) do system.sleep(0.02) end
end

--- The handler: `handle`, and then a line of the log.
function own:handler()
  local file, clock = self.file, system.monotime
  return function(msg, consumer)
    if self.handle then
      local ok, err = self.handle(msg, consumer)
      if ok == false or err ~= nil then return ok, err end
    end
    self.handled = (self.handled or 0) + 1
    file:write(("m\t%.6f\t%s\t%d\t%d\n"):format(clock(), msg.topic, msg.partition, msg.offset))
    file:flush()
  end
end

--- read_history until the member is asked to stop, or until it ends by itself; its results.
function own:read(opts)
  local all = { tick = 0.02, on_tick = function(consumer)
    if is_asked_to_stop(self) then consumer:cancel() end
  end }
  for key, value in pairs(opts or {}) do all[key] = value end
  local ok, err, code = self.consumer:read_history(self:handler(), all)
  write(self, "result", ok or "nil", code or "-", err or "-")
  return ok, err, code
end

--- Closes, and tells how long that took.
function own:close()
  local began = system.monotime()
  assert(self.consumer:close())
  self:note("closed", ("%.3f"):format(system.monotime() - began))
end

-- --- in the specs ---------------------------------------------------------------------------------------

local script = [[
local member = require "support.member"
local system = require "system"
local self = member.begin(%s, %s)
self.handle = function(msg, consumer) %s end
%s
]]

local function serialize(value)
  if type(value) == "table" then
    local words = {}
    for key, inner in pairs(value) do
      words[#words + 1] = ("[%s] = %s"):format(serialize(key), serialize(inner))
    end
    return "{ " .. table.concat(words, ", ") .. " }"
  end
  if value == math.huge then return "math.huge" end
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

local started = {}

--- Starts one. given:
--   topics, group, addresses (the shared broker's), config: further keys for kafka_history.new;
--   handle: code, the handler's body, which sees `msg` and `consumer`
--   life: code, "self:read() self:close()"
--   name: in what the verdict says; seconds (60): it is ended then.
function member.start(given)
  local base = os.tmpname()
  local config = { addresses = given.addresses or kafka.addresses(), topics = given.topics,
    consumer_group = given.group }
  for key, value in pairs(given.config or {}) do config[key] = value end
  local self = setmetatable({
    base = base, name = given.name or ("member %d"):format(#started + 1), entries = {}, count = 0,
    events = {}, results = {}, notes = {}, began = system.monotime(), read_up_to = 0,
  }, { __index = member })
  self.process = child.start(script:format(serialize(base), serialize(config), given.handle or "",
    given.life or "self:read() self:close()"), {}, given.seconds or 60)
  started[#started + 1] = self
  return self
end

-- What a line of the log says.
local parse = {}

function parse.pid(self, entry, words)
  entry.pid = tonumber(words[3])
  self.pid = entry.pid
end

function parse.event(self, entry, words)
  entry.name, entry.lost, entry.code, entry.text = words[3], words[4] == "lost", words[6], words[7]
  entry.places = {}
  for topic, partition in words[5]:gmatch "(%S+):(%d+)" do
    entry.places[#entry.places + 1] = { topic = topic, partition = tonumber(partition) }
  end
  table.insert(self.events, entry)
  if entry.name == "caught_up" then self.signal = self.signal or entry end
end

function parse.result(self, entry, words)
  entry.ok, entry.code, entry.text = words[3] == "true", words[4], words[5]
  table.insert(self.results, entry)
end

function parse.note(self, entry, words)
  entry.word, entry.text = words[3], words[4]
  table.insert(self.notes, entry)
end

local function parse_line(self, line)
  local at, topic, partition, offset = line:match "^m\t(%S+)\t(%S+)\t(%d+)\t(%d+)$"
  local entry
  if at then
    entry = { kind = "message", topic = topic, partition = tonumber(partition), offset = tonumber(offset) }
    self.count = self.count + 1
  else
    local words = {}
    for word in (line .. "\t"):gmatch "([^\t]*)\t" do words[#words + 1] = word end
    entry, at = { kind = words[1] }, words[2]
    parse[words[1]](self, entry, words)
  end
  entry.at = tonumber(at)
  self.entries[#self.entries + 1] = entry
end

--- Reads what is new in the log: into entries, in their order, and events, results, notes, count, signal.
function member:look()
  local file = io.open(self.base .. ".log", "rb")
  if not file then return self end
  file:seek("set", self.read_up_to)
  local text = file:read "*a"
  file:close()
  local stop = text:match "^.*\n()"
  if not stop then return self end
  self.read_up_to = self.read_up_to + stop - 1
  for line in text:sub(1, stop - 1):gmatch "([^\n]*)\n" do parse_line(self, line) end
  return self
end

--- Events of this name so far.
function member:named(name)
  local found = {}
  for _, event in ipairs(self:look().events) do
    if event.name == name then found[#found + 1] = event end
  end
  return found
end

--- The latest note with this word.
function member:noted(word)
  for i = #self:look().notes, 1, -1 do
    if self.notes[i].word == word then return self.notes[i] end
  end
end

--- The partitions that it has now, by its events: { ["topic:partition"] = true }, and how many.
function member:owned()
  local owned, count = {}, 0
  for _, event in ipairs(self:look().events) do
    local change = event.name == "assigned" or event.name == "revoked"
    for _, place in ipairs(change and event.places or {}) do
      owned[place.topic .. ":" .. place.partition] = event.name == "assigned" or nil
    end
  end
  for _ in pairs(owned) do count = count + 1 end
  return owned, count
end

-- Partitions for people: "topic[0 1 2]".
local function list(places)
  local numbers, words = {}, {}
  for _, place in ipairs(places) do
    if not numbers[place.topic] then
      numbers[place.topic] = {}
      words[#words + 1] = place.topic
    end
    table.insert(numbers[place.topic], place.partition)
  end
  for i, topic in ipairs(words) do
    table.sort(numbers[topic])
    words[i] = ("%s[%s]"):format(topic, table.concat(numbers[topic], " "))
  end
  return table.concat(words, ", ")
end

local lines = {}

function lines.event(event)
  if event.name == "partition_caught_up" then return end
  return ("%s%s %s %s"):format(event.name, event.lost and " (lost)" or "", list(event.places),
    #event.places == 0 and event.text or "")
end

function lines.result(result)
  return ("read_history: %s %s"):format(result.code, result.text)
end

function lines.note(note)
  return ("%s %s"):format(note.word, note.text or "")
end

--- For people: what it was told, and where it stands.
function member:describe()
  local words = { ("%s has handled %d messages in %.1f s%s"):format(self.name, self.count,
    system.monotime() - self.began, self.killed and ", and was killed" or "") }
  for _, entry in ipairs(self.entries) do
    local line = lines[entry.kind] and lines[entry.kind](entry)
    if line then words[#words + 1] = ("  %.3f %s"):format(entry.at - self.began, line) end
  end
  return table.concat(words, "\n")
end

-- A member that ended by itself, and not well, is an error.
local function check_end(self)
  local status = self.process:status()
  if status and status ~= 0 and not self.killed then
    error(("%s has ended with status %d: %s\n%s"):format(self.name, status, self.process:finish().stderr,
      self:look():describe()), 0)
  end
  return status
end

--- Waits until the condition holds, for so many seconds (10); an error if not, or when it has ended badly.
function member:wait(condition, seconds, what)
  local deadline = system.monotime() + (seconds or 10)
  while true do
    local result = condition(self:look())
    if result then return result end
    check_end(self)
    if system.monotime() > deadline then
      error(("waited %g s in vain for %s\n%s"):format(seconds or 10, what or "a condition",
        self:describe()), 2)
    end
    system.sleep(0.02)
  end
end

function member:wait_for_signal(seconds)
  return self:wait(function() return self.signal end, seconds, "the signal of " .. self.name)
end

--- Waits until it has so many messages.
function member:wait_for_messages(count, seconds)
  return self:wait(function() return self.count >= count end, seconds, count .. " messages")
end

--- Waits until it has just so many partitions.
function member:wait_for_partitions(count, seconds)
  return self:wait(function() return select(2, self:owned()) == count end, seconds, count .. " partitions")
end

--- Asks it to stop: what it is reading is cancelled.
function member:ask_to_stop()
  assert(io.open(self.base .. ".stop", "w")):close()
end

--- Waits until it has ended. An error unless it has ended well, or was killed.
function member:finish()
  local result = self.process:finish()
  self:look()
  check_end(self)
  os.remove(self.base .. ".stop")
  return result
end

function member:stop()
  self:ask_to_stop()
  return self:finish()
end

--- Sends it a signal: STOP, CONT.
function member:signal_process(name)
  self:wait(function() return self.pid end, 10, "the process")
  os.execute(("kill -%s %d"):format(name, self.pid))
end

function member:kill()
  self.killed = system.monotime()
  self:signal_process "KILL"
  return self:finish()
end

--- For after_each: ends all that run still, and removes their logs.
function member.clean()
  for i = #started, 1, -1 do
    local self = started[i]
    if not self.process:status() then
      self.killed = true
      if self:look().pid then
        self:signal_process "KILL" -- it may be stopped
      else
        self.process:stop()
      end
    end
    self.process:finish()
    for _, suffix in ipairs { "", ".log", ".stop" } do os.remove(self.base .. suffix) end
    started[i] = nil
  end
end

return member
