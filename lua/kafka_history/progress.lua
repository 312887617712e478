--- How far reading has come, for people: a bar on a terminal, plain lines elsewhere, and a verdict.
--
--     local progress = require "kafka_history.progress"
--     local bar = progress.new()
--     local consumer = assert(history.new {
--       addresses = "localhost:9092", topics = "orders", on_event = function(event) bar:note(event) end,
--     })
--     consumer:read_history(handler, { stop_at = "caught_up", on_tick = bar, tick = 0.1 })
--     bar:finish(consumer)
--
-- progress.new([options]) -> bar
--
-- * `stream`: a file to write to, by default io.stderr.
-- * `terminal`: true or false: whether it is a terminal; by default found out for io.stdout and
--   io.stderr, and false for others. TERM=dumb is none. NO_COLOR is respected.
-- * `interval`: seconds between two plain lines, by default 5.
-- * `width`: columns of the terminal; by default COLUMNS, or else asked of it, about every second, as
--   it may be resized.
--
-- bar(consumer) draws what consumer:progress() says: call it as often as you like, `on_tick` does. Also
-- for what tells a part of that only, as the stand-in of kafka_history.resty does.
-- bar:note(event) takes the events of `on_event`, all of them or the "stalled" ones: the bar then says
-- what is waited for, until that partition goes on.
-- bar:finish([consumer]) takes the bar away and writes the verdict on what the consumer has read; without
-- one it leaves the last state on a line of its own. A bar may be used again after that.
--
-- progress.verdict(p[, heading]) -> that verdict, of what progress() returned: one line, as in
-- "caught up: 3 000 000 messages of 6 partitions in 2.0 s (1 503 006/s), 600 000 handled".

local progress = {}

local methods = {}
local metatable = { __index = methods }

local clear_line, clear_below = "\r\27[K", "\r\27[J"
local green, plain = "\27[32m", "\27[0m"

-- Nothing read for so many seconds is worth saying.
local silence_s = 5

-- --- the terminal -----------------------------------------------------------------------------------

-- Does the shell's command succeed? LuaJIT's os.execute returns the status.
local function succeeds(command)
  local ok = os.execute(command)
  return ok == true or ok == 0
end

local function environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local function is_terminal(stream)
  local term = environment "TERM"
  if not term or term == "dumb" then return false end
  local descriptor = stream == io.stdout and 1 or stream == io.stderr and 2
  return descriptor and succeeds(("test -t %d"):format(descriptor)) or false
end

-- stderr may be another terminal than the one that controls the process. The shell that answers has a
-- pipe for stdout.
local function columns(stream)
  local given = tonumber(environment "COLUMNS")
  if given and given >= 1 then return math.floor(given) end
  local question = stream == io.stderr and "stty size <&2 2>/dev/null" or "stty size 2>/dev/null </dev/tty"
  local pipe = io.popen(question, "r")
  local size = pipe and pipe:read("*l")
  if pipe then pipe:close() end
  local wide = size and tonumber(size:match("%d+%s+(%d+)"))
  return wide and wide > 0 and wide or 80
end

-- The last column stays free: some terminals wrap when it is written.
local function measure(bar, now)
  if bar.given_width or bar.measured == now then return end
  local width = math.max(columns(bar.stream) - 1, 1)
  -- A line that has become too long was wrapped.
  if bar.drawn and width < bar.width then bar.stream:write(clear_below) end
  bar.width, bar.measured = width, now
end

-- --- what is said -----------------------------------------------------------------------------------

-- 1234567 as "1 234 567".
local function count(number)
  local digits = ("%.0f"):format(number)
  local grouped = digits:reverse():gsub("(%d%d%d)", "%1 "):reverse()
  return (grouped:gsub("^ ", ""))
end

local function plural(number, noun)
  return ("%s %s%s"):format(count(number), noun, number == 1 and "" or "s")
end

local function duration(seconds)
  seconds = math.ceil(seconds)
  if seconds < 60 then return ("%ds"):format(seconds) end
  local minutes = math.floor(seconds / 60)
  if minutes < 60 then return ("%dm%02ds"):format(minutes, seconds % 60) end
  return ("%dh%02dm"):format(math.floor(minutes / 60), minutes % 60)
end

-- With `latest` they are read first and handled later.
local function messages_of(p)
  return math.max(p.read or 0, p.messages or 0)
end

local function fraction_of(p)
  return p.fraction or p.state == "caught_up" and 1 or 0
end

local function pending(partitions)
  local left = 0
  for _, partition in ipairs(partitions) do
    if partition.target and not partition.caught_up then left = left + 1 end
  end
  return left
end

-- What is waited for: the causes that were noted, or that nothing comes.
local function describe_wait(bar)
  local first = bar.stalls[1]
  if first then
    local more = #bar.stalls > 1 and (" and %d more"):format(#bar.stalls - 1) or ""
    return ("stalled: %s, %s[%d]%s"):format(first.cause, first.topic, first.partition, more)
  end
  local silent = bar.moved and os.difftime(bar.seen, bar.moved) or 0
  return silent >= silence_s and ("nothing for %s"):format(duration(silent)) or nil
end

-- The parts of a line, the most important first. `p`: what progress() returned.
local function describe(bar, p)
  local parts = { plural(messages_of(p), "message") }
  if fraction_of(p) < 1 then
    local partitions = p.partitions or {}
    parts[#parts + 1] = p.state ~= "failed" and p.state ~= "closed" and describe_wait(bar) or nil
    if p.rate and p.rate > 0 then parts[#parts + 1] = count(p.rate) .. "/s" end
    if p.eta then parts[#parts + 1] = duration(p.eta) .. " left" end
    local left = pending(partitions)
    if left > 0 then
      parts[#parts + 1] = ("%d of %s to go"):format(left, plural(#partitions, "partition"))
    end
  elseif p.lag and p.lag > 0 then
    parts[#parts + 1] = ("%s behind"):format(count(p.lag))
  end
  return parts
end

-- Never 100 before it is over.
local function percent(p)
  return ("%3d%%"):format(math.floor(fraction_of(p) * 100))
end

local headings = {
  starting = "asking where history ends",
  failed = "failed",
  closed = "closed",
}

local function plain_line(bar, p)
  if p.state == "starting" then return headings.starting end
  local heading = fraction_of(p) == 1 and "caught up" or headings[p.state]
  local parts = describe(bar, p)
  table.insert(parts, 1, percent(p))
  if heading then table.insert(parts, 1, heading) end
  return table.concat(parts, ", ")
end

-- The bar takes a third of the line; words that do not fit beside it are left out.
local function drawn_line(bar, p)
  local width = bar.width
  if p.state == "starting" then return headings.starting:sub(1, width) end
  local line = headings[p.state] and headings[p.state] .. " " or ""
  local size = math.min(math.floor(width / 3), 40)
  local room = width - #line - size - #"[] 100% "
  if room < 0 then return (line .. percent(p)):sub(1, width) end
  local words = ""
  for i, part in ipairs(describe(bar, p)) do
    local longer = words .. (i > 1 and ", " or "") .. part
    if #longer > room then break end
    words = longer
  end
  local full = math.floor(size * fraction_of(p))
  local picture = ("="):rep(full)
  if full < size then picture = picture .. ">" .. (" "):rep(size - full - 1) end
  if bar.coloured then picture = green .. picture .. plain end
  return ("%s[%s] %s %s"):format(line, picture, percent(p), words)
end

local function judge(p)
  local fraction = fraction_of(p)
  if fraction == 1 then return "caught up" end
  return ("%s at %d%%"):format(p.state == "failed" and "failed" or "ended", math.floor(fraction * 100))
end

--- The verdict on what was read, in one line.
-- @param p what progress() returned
-- @tparam ?string heading instead of "caught up", "failed at 40%" or "ended at 40%"
function progress.verdict(p, heading)
  local read = messages_of(p)
  local words = { ("%s: %s"):format(heading or judge(p), plural(read, "message")) }
  if p.partitions then words[#words + 1] = " of " .. plural(#p.partitions, "partition") end
  if p.seconds then words[#words + 1] = (" in %.1f s"):format(p.seconds) end
  if p.seconds and p.seconds > 0 and read > 0 then
    words[#words + 1] = (" (%s/s)"):format(count(read / p.seconds))
  end
  if p.messages and read ~= p.messages then words[#words + 1] = (", %s handled"):format(count(p.messages)) end
  if (p.skipped or 0) > 0 then words[#words + 1] = (", %s skipped"):format(count(p.skipped)) end
  if (p.gaps or 0) > 0 then words[#words + 1] = ", " .. plural(p.gaps, "gap") end
  if (p.truncated or 0) > 0 then words[#words + 1] = ", " .. plural(p.truncated, "truncation") end
  return table.concat(words)
end

-- --- what is waited for -----------------------------------------------------------------------------

local function find_partition(partitions, topic, number)
  for _, partition in ipairs(partitions) do
    if partition.topic == topic and partition.partition == number then return partition end
  end
end

-- A partition that has gone on, that has caught up or that is another's now is not waited for.
local function is_stalled(stall, p)
  if not p.partitions then return messages_of(p) == stall.messages end
  local partition = find_partition(p.partitions, stall.topic, stall.partition)
  return partition and not partition.caught_up and partition.position == stall.position
end

-- What was noted is compared with the first state that is seen after it.
local function look(bar, p)
  local kept = {}
  for _, stall in ipairs(bar.stalls) do
    if not stall.messages then
      local partition = find_partition(p.partitions or {}, stall.topic, stall.partition)
      stall.messages, stall.position = messages_of(p), partition and partition.position
    end
    if is_stalled(stall, p) then kept[#kept + 1] = stall end
  end
  bar.stalls = kept
  bar.seen = os.time()
  local done = ("%s %.17g %.17g"):format(tostring(p.state), messages_of(p), fraction_of(p))
  if done ~= bar.done then bar.done, bar.moved = done, bar.seen end
end

--- Takes an event of `on_event`.
function methods.note(bar, event)
  if event.name ~= "stalled" then return end
  for i, stall in ipairs(bar.stalls) do
    if stall.topic == event.topic and stall.partition == event.partition then
      table.remove(bar.stalls, i)
      break
    end
  end
  table.insert(bar.stalls, { topic = event.topic, partition = event.partition, cause = event.cause })
end

-- --- the bar ------------------------------------------------------------------------------------------

function progress.new(options)
  options = options or {}
  local stream = options.stream or io.stderr
  local terminal = options.terminal
  if terminal == nil then terminal = is_terminal(stream) end
  return setmetatable({
    stream = stream,
    terminal = terminal,
    coloured = not environment "NO_COLOR",
    width = options.width and options.width - 1,
    given_width = options.width,
    interval = options.interval or 5,
    stalls = {},
  }, metatable)
end

local function draw(bar, p)
  measure(bar, bar.seen)
  bar.stream:write(clear_line, drawn_line(bar, p))
  bar.stream:flush()
  bar.drawn = true
end

function metatable.__call(bar, consumer)
  local p = consumer:progress()
  look(bar, p)
  if bar.terminal then return draw(bar, p) end
  -- The first line comes after an interval, too: what is over before that needs none.
  bar.due = bar.due or bar.seen + bar.interval
  if bar.seen < bar.due then return end
  bar.due = bar.seen + bar.interval
  bar.stream:write(plain_line(bar, p), "\n")
  bar.stream:flush()
end

function methods.finish(bar, consumer)
  if consumer then
    bar.stream:write(bar.drawn and clear_line or "", progress.verdict(consumer:progress()), "\n")
    bar.stream:flush()
  elseif bar.drawn then
    bar.stream:write("\n")
    bar.stream:flush()
  end
  bar.drawn, bar.due, bar.done, bar.moved = nil, nil, nil, nil
  bar.stalls = {}
end

return progress
