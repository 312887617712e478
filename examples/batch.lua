-- A batch job: it handles what has come since its last run, and ends.
--
--   lua5.4 examples/batch.lua ADDRESSES TOPIC STATE_FILE
--
-- The topic's values are orders, JSON such as {"city": "Lima", "total": 12.5}; the job keeps the turnover
-- of each city. Without the signal a job has to guess when it is done: by a pause without messages, which
-- is too early on a slow day and never on a busy one. Here "all that was there when the job began" is
-- exact, also while others go on writing: what they add is the next run's.
--
-- Needs lua-cjson (Debian: lua-cjson). Exit status: 0 when all is handled, else 1, and the file is untouched.

local history = require "kafka_history"
local json = require "cjson"

local addresses, topic, state_file = ...
if not state_file then error("usage: lua5.4 examples/batch.lua ADDRESSES TOPIC STATE_FILE", 0) end

-- 1. What the last run has left: the result, and for each partition the offset to go on at. That both are
-- one file is what makes each order count once, whenever a run is ended, killed or run again.
local state = { turnover = {}, positions = {} }
local file = io.open(state_file, "rb")
if file then
  state = json.decode(file:read "*a")
  file:close()
end

local offsets
for partition, offset in pairs(state.positions) do -- JSON's keys are strings
  offsets = offsets or {}
  offsets[tonumber(partition)] = math.floor(offset)
end

-- 2. Read up to the end as it is now. Partitions that are not in `start` are new: read from their beginning.
local consumer = assert(history.new {
  addresses = addresses,
  topics = topic,
  start = offsets and { [topic] = offsets },
})

local function handle(value)
  if not value then return end -- a tombstone
  local order = json.decode(value)
  state.turnover[order.city] = (state.turnover[order.city] or 0) + order.total
end

-- Only the value of each message is asked for, so nothing else of it is made. An hour is the most that a
-- job may take. A failure (no broker, an order that is none, a log that was cut off below the offset of
-- the last run) ends the program here with what there is to say about it.
local ok, err = consumer:read_history(handle, { stop_at = "caught_up", fields = { "value" }, timeout = 3600 })
if not ok then error(err, 0) end

-- 3. The verdict. `position` is the checkpoint that `start` takes.
local verdict = consumer:progress()
consumer:close()
state.positions = {}
for _, place in ipairs(verdict.partitions) do
  state.positions[tostring(place.partition)] = place.position
end

-- 4. The new state takes the place of the old one in one step.
file = assert(io.open(state_file .. ".new", "wb"))
assert(file:write(json.encode(state)))
assert(file:close())
assert(os.rename(state_file .. ".new", state_file))

print(("%d new orders in %.1f s"):format(verdict.messages, verdict.seconds))
local cities = {}
for city in pairs(state.turnover) do table.insert(cities, city) end
table.sort(cities)
for _, city in ipairs(cities) do print(("%s\t%.2f"):format(city, state.turnover[city])) end
