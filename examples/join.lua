-- Joins two topics: orders, and the customers who have placed them.
--
--   lua5.4 examples/join.lua ADDRESSES ORDERS CUSTOMERS
--
-- ORDERS has an order's number as the key and JSON such as {"customer": "c7", "total": 12.5} as the value;
-- CUSTOMERS a customer's number as the key and JSON such as {"name": "Ada"}. Kafka keeps the order within
-- a partition and nowhere else: while history is read, an order may come long before its customer. So the
-- two are only collected until the signal says that both are complete, and joined then, once.
--
-- Needs lua-cjson (Debian: lua-cjson).

local history = require "kafka_history"
local json = require "cjson"

local addresses, orders_topic, customers_topic = ...
if not customers_topic then error("usage: lua5.4 examples/join.lua ADDRESSES ORDERS CUSTOMERS", 0) end

io.stdout:setvbuf "line"
local orders, customers = {}, {} -- by their numbers

-- One consumer reads both topics: there is one signal, for all of them.
local consumer = assert(history.new { addresses = addresses, topics = { orders_topic, customers_topic } })

-- The latest state of each order and customer; a tombstone deletes it.
local function collect(message)
  if not message.key then return end
  local text = message:data()
  local of = message.topic == orders_topic and orders or customers
  of[message.key] = text and json.decode(text)
end

local function show(number, order)
  print(("%s\t%s\t%.2f"):format(number, customers[order.customer].name, order.total))
end

-- Of the orders without a customer: { [customer's number] = { [order's number] = order } }.
local waiting = {}

local function join(number, order)
  if customers[order.customer] then return show(number, order) end
  waiting[order.customer] = waiting[order.customer] or {}
  waiting[order.customer][number] = order
end

local function sorted_pairs(of)
  local keys, at = {}, 0
  for key in pairs(of) do table.insert(keys, key) end
  table.sort(keys)
  return function()
    at = at + 1
    return keys[at], of[keys[at]]
  end
end

-- 1. Both histories.
assert(consumer:read_history(collect, { stop_at = "caught_up" }))

-- 2. The join of what there is. Now an order without a customer is known to have none.
for number, order in sorted_pairs(orders) do join(number, order) end
local missing = 0
for _, theirs in pairs(waiting) do
  for _ in pairs(theirs) do missing = missing + 1 end
end
print(("caught up after %d messages; %d orders without a customer")
  :format(consumer:progress().messages, missing))

-- 3. Live, an order is joined when it comes, or when its customer does.
assert(consumer:read_history(function(message)
  local number = message.key
  if not number then return end
  if message.topic == orders_topic then
    local before = orders[number]
    if before and waiting[before.customer] then waiting[before.customer][number] = nil end
    collect(message)
    if orders[number] then join(number, orders[number]) end
  else
    collect(message)
    if customers[number] and waiting[number] then
      local theirs = waiting[number]
      waiting[number] = nil
      for its_number, order in sorted_pairs(theirs) do show(its_number, order) end
    end
  end
end))
