--- stderr, for people: the bar while history is read, the verdict, and what goes wrong.

local progress = require "kafka_history.progress"

local screen = {}

local methods = {}
local metatable = { __index = methods }

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

--- An event, of which the bar may have to say something.
function methods.note(self, event)
  if self.bar then self.bar:note(event) end
end

--- A line, or more, that begins with the name of the program.
function methods.tell(self, text, ...)
  self:clear()
  io.stderr:write("kafka-history: ", select("#", ...) > 0 and text:format(...) or text, "\n")
end

--- What was read, once the history is over, or the reading.
function methods.verdict(self, consumer, heading, also)
  self:clear()
  self.over = true
  if self.bar then
    io.stderr:write(progress.verdict(consumer:progress(), heading), "\n")
    if also and self.bar.terminal then io.stderr:write(also, "\n") end
  end
end

--- The history is read again.
function methods.begin(self)
  self.over = false
end

return screen
