-- The latest price of each instrument, as a topic of { key = instrument, value = price } tells it.

local history = require "kafka_history.resty"
local ngx = ngx -- luacheck: read globals ngx

local prices = {}

local view, caught_up

-- Reads for as long as the worker lives; after a failure again, as whoever looks at /ready sees.
local function read(premature)
  if premature then return end
  local _, err, code = view:read()
  if code == "CLOSED" then return end -- the worker is to leave
  ngx.log(ngx.ERR, "reading has failed, and is tried again in 5 s: ", err)
  ngx.timer.at(5, read)
end

-- In each worker, before it takes requests.
function prices.start()
  view = assert(history.view.new {
    addresses = os.getenv "KAFKA_ADDRESSES" or "localhost:9092",
    topics = os.getenv "KAFKA_TOPIC" or "prices",
  })
  caught_up = view:caught_up()
  assert(ngx.timer.at(0, read))
end

local function say(status, text)
  ngx.status = status
  ngx.header.content_type = "text/plain"
  ngx.say(text)
end

-- GET /ready: for whoever sends requests here only when the answers are complete.
function prices.ready()
  local progress = view:progress()
  local text = ("%s, %d prices of %d messages, %.1f %%"):format(progress.state, progress.keys,
    progress.messages, progress.fraction * 100)
  say(caught_up:is_ready() and 200 or 503, text)
end

-- GET /price/KEY: waits a little for the history rather than answer without it.
function prices.answer(key)
  local ready, err = caught_up:wait(1)
  if not ready then return say(503, "not ready: " .. err) end
  local price = view:get(key)
  if not price then return say(404, "no price for " .. key) end
  say(200, price)
end

return prices
