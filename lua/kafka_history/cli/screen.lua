--- stderr, for people: the bar while history is read, the verdict, and what goes wrong.

local progress = require "kafka_history.progress"

local screen = {}

local methods = {}
local metatable = { __index = methods }

-- 1234567 as "1 234 567".
local function count(number)
  local grouped = ("%.0f"):format(number):reverse():gsub("(%d%d%d)", "%1 "):reverse()
  return (grouped:gsub("^ ", ""))
end

--- `when`: "auto": a bar on a terminal; "always": plain lines elsewhere; "never".
function screen.new(when)
  local bar = when ~= "never" and progress.new() or nil
  if bar and when == "auto" and not bar.terminal then bar = nil end
  return setmetatable({ bar = bar, drawn = false, over = false }, metatable)
end

--- Takes the bar away: something else is going to be written.
function methods.clear(self)
  if not self.drawn then return end
  io.stderr:write("\r\27[K")
  self.drawn = false
end

function methods.draw(self, consumer)
  if not self.bar or self.over then return end
  self.bar(consumer)
  self.drawn = self.bar.terminal and true or false
end

--- A line, or more, that begins with the name of the program.
function methods.tell(self, text, ...)
  self:clear()
  io.stderr:write("kafka-history: ", select("#", ...) > 0 and text:format(...) or text, "\n")
end

-- Read and handled differ when the history was compacted.
local function describe(p, heading)
  local read = math.max(p.read or 0, p.messages)
  local text = ("%s: %s message%s of %d partition%s in %.1f s"):format(heading, count(read),
    read == 1 and "" or "s", #p.partitions, #p.partitions == 1 and "" or "s", p.seconds)
  if p.seconds > 0 and read > 0 then
    text = ("%s (%s/s)"):format(text, count(read / p.seconds))
  end
  if read ~= p.messages then text = ("%s, %s handled"):format(text, count(p.messages)) end
  if p.skipped > 0 then text = ("%s, %s skipped"):format(text, count(p.skipped)) end
  if p.gaps > 0 then text = ("%s, %s gaps"):format(text, count(p.gaps)) end
  return text
end

--- What was read, once the history is over, or the reading.
function methods.verdict(self, consumer, heading, also)
  self:clear()
  self.over = true
  if self.bar then
    io.stderr:write(describe(consumer:progress(), heading), "\n")
    if also and self.bar.terminal then io.stderr:write(also, "\n") end
  end
end

--- The history is read again.
function methods.begin(self)
  self.over = false
end

return screen
