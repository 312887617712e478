--- How far reading has come, for people: a bar on a terminal, plain lines elsewhere.
--
--     local progress = require "kafka_history.progress"
--     local bar = progress.new()
--     consumer:read_history(handler, { stop_at = "caught_up", on_tick = bar, tick = 0.1 })
--     bar:finish(consumer)
--
-- progress.new([options]) -> bar
--
-- * `stream`: a file to write to, by default io.stderr.
-- * `terminal`: true or false: whether it is a terminal; by default found out for io.stdout and
--   io.stderr, and false for others. TERM=dumb is none. NO_COLOR is respected.
-- * `interval`: seconds between two plain lines, by default 5.
-- * `width`: columns of the terminal, by default asked of it.
--
-- bar(consumer) draws what consumer:progress() says: call it as often as you like, `on_tick` does.
-- bar:finish([consumer]) leaves the last state, drawn anew where the consumer is given, on a line of
-- its own. A bar may be used again after that.

local progress = {}

local methods = {}
local metatable = { __index = methods }

local clear_line = "\r\27[K"
local green, plain = "\27[32m", "\27[0m"

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

local function columns()
  local pipe = io.popen("stty size </dev/tty 2>/dev/null", "r")
  local size = pipe and pipe:read("*l")
  if pipe then pipe:close() end
  local wide = size and tonumber(size:match("%d+%s+(%d+)"))
  return wide and wide > 0 and wide or 80
end

-- --- what is said -----------------------------------------------------------------------------------

-- 1234567 as "1 234 567".
local function count(number)
  local digits = ("%.0f"):format(number)
  local grouped = digits:reverse():gsub("(%d%d%d)", "%1 "):reverse()
  return (grouped:gsub("^ ", ""))
end

local function duration(seconds)
  seconds = math.ceil(seconds)
  if seconds < 60 then return ("%ds"):format(seconds) end
  local minutes = math.floor(seconds / 60)
  if minutes < 60 then return ("%dm%02ds"):format(minutes, seconds % 60) end
  return ("%dh%02dm"):format(math.floor(minutes / 60), minutes % 60)
end

local function pending(partitions)
  local left = 0
  for _, partition in ipairs(partitions) do
    if partition.target and not partition.caught_up then left = left + 1 end
  end
  return left
end

-- The parts of a line, the most important first. `p`: what progress() returned.
local function describe(p)
  local parts = { count(p.messages) .. " messages" }
  if p.fraction < 1 then
    if p.rate > 0 then parts[#parts + 1] = count(p.rate) .. "/s" end
    if p.eta then parts[#parts + 1] = duration(p.eta) .. " left" end
    local left = pending(p.partitions)
    if left > 0 then
      parts[#parts + 1] = ("%d of %d partitions to go"):format(left, #p.partitions)
    end
  elseif p.lag > 0 then
    parts[#parts + 1] = ("%s behind"):format(count(p.lag))
  end
  return parts
end

-- Never 100 before it is over.
local function percent(p)
  return ("%3d%%"):format(math.floor(p.fraction * 100))
end

local headings = {
  starting = "asking where history ends",
  failed = "failed",
  closed = "closed",
}

local function plain_line(p)
  if p.state == "starting" then return headings.starting end
  local heading = p.fraction == 1 and "caught up" or headings[p.state]
  local parts = describe(p)
  table.insert(parts, 1, percent(p))
  if heading then table.insert(parts, 1, heading) end
  return table.concat(parts, ", ")
end

-- The bar takes a third of the line; words that do not fit beside it are left out.
local function drawn_line(p, width, coloured)
  if p.state == "starting" then return headings.starting:sub(1, width) end
  local line = headings[p.state] and headings[p.state] .. " " or ""
  local size = math.min(math.floor(width / 3), 40)
  local room = width - #line - size - #"[] 100% "
  local words = ""
  for i, part in ipairs(describe(p)) do
    local longer = words .. (i > 1 and ", " or "") .. part
    if #longer > room then break end
    words = longer
  end
  local full = math.floor(size * p.fraction)
  local bar = ("="):rep(full)
  if full < size then bar = bar .. ">" .. (" "):rep(size - full - 1) end
  if coloured then bar = green .. bar .. plain end
  return ("%s[%s] %s %s"):format(line, bar, percent(p), words)
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
    -- The last column stays free: some terminals wrap when it is written.
    width = terminal and (options.width or columns()) - 1,
    interval = options.interval or 5,
  }, metatable)
end

local function draw(bar, p)
  bar.stream:write(clear_line, drawn_line(p, bar.width, bar.coloured))
  bar.stream:flush()
  bar.drawn = true
end

local function write_line(bar, p)
  bar.stream:write(plain_line(p), "\n")
  bar.stream:flush()
end

function metatable.__call(bar, consumer)
  local p = consumer:progress()
  if bar.terminal then return draw(bar, p) end
  local now = os.time()
  -- The first line comes after an interval, too: what is over before that needs none.
  bar.due = bar.due or now + bar.interval
  if now < bar.due then return end
  bar.due = now + bar.interval
  write_line(bar, p)
end

function methods.finish(bar, consumer)
  if consumer then
    local write = bar.terminal and draw or write_line
    write(bar, consumer:progress())
  end
  if bar.drawn then
    bar.stream:write("\n")
    bar.stream:flush()
  end
  bar.drawn, bar.due = nil, nil
end

return progress
