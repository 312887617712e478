-- `make demo`: a broker within this process, a topic with a history, and rebuild.lua reading it.

local broker = require "kafka_history.broker"

local partitions, messages = 12, 400000
local round_trip_time = 0.15 -- seconds
local cities = { "Berlin", "Lagos", "Lima", "Osaka", "Porto", "Quito" }

local function order(id, state)
  return {
    key = ("order-%d"):format(id),
    value = ('{"state":"%s","city":"%s","items":%d,"total":"%d.%02d"}'):format(state,
      cities[id % #cities + 1], id % 7 + 1, id * 37 % 400 + 5, id * 13 % 100),
  }
end

-- Every order is placed, paid and shipped; then it is deleted, but for the latest ones and some
-- that were lost. Orders overlap: the steps of one come 1000 steps apart.
local function make_history()
  local steps = {}
  local apart = 1000
  for i = 1, messages do
    local step = math.floor(i / apart) % 4
    local id = math.floor(i / (4 * apart)) * apart + i % apart + 100000
    if step == 0 then steps[i] = order(id, "placed")
    elseif step == 1 then steps[i] = order(id, "paid")
    elseif step == 2 or id % 97 == 0 then steps[i] = order(id, "shipped")
    else steps[i] = { key = ("order-%d"):format(id) }
    end
  end
  return steps
end

-- Called about twice a second while rebuild.lua reads live messages.
local function make_customers(shop)
  local id, turn = 900001, 0
  return function()
    turn = turn + 1
    local message = order(id, turn % 3 == 1 and "placed" or "paid")
    if turn % 3 == 0 then
      message = { key = message.key }
      id = id + 1
    end
    assert(shop:produce("orders", message))
  end
end

io.stdout:setvbuf "line"
local shop = assert(broker.new { topics = { orders = partitions } })
print(("a broker at %s, as far away as another continent; writing %d messages to its topic orders")
  :format(shop:addresses(), messages))
assert(shop:produce("orders", make_history(), { timeout = 60 }))
assert(shop:round_trip_time(1, round_trip_time))

print("examples/rebuild.lua reads them:")
assert(loadfile("examples/rebuild.lua"))(shop:addresses(), "orders",
  { on_tick = make_customers(shop), tick = 0.5, timeout = 5 })
shop:close()
print("That was all. Your own topic: see README.md.")
