--- kafka_history for OpenResty, and nginx with its Lua module: the same module, but waiting yields to
-- nginx, so that a worker answers requests beside the reader. Handlers may use cosockets and ngx.sleep.
--
--     init_worker_by_lua_block {
--       local history = require "kafka_history.resty"
--       consumer = assert(history.new { addresses = "localhost:9092", topics = "orders" })
--       ngx.timer.at(0, function() consumer:read_history(handler) end)
--     }
--     location /ready { content_by_lua_block { ngx.exit(consumer:caught_up():wait(5) and 200 or 503) } }
--
-- Each worker reads, or with `worker = 0` in the configuration that one alone: see resty_worker.lua. A
-- worker that is asked to leave closes its consumers: read_history returns nil, "closed", "CLOSED".

local ngx = ngx -- luacheck: read globals ngx
local semaphore = require "ngx.semaphore"
local core = require "kafka_history.core"
local history = require "kafka_history"
local host = require "kafka_history.host"
local worker = require "kafka_history.resty_worker"

local engine = core.consumer

local FOREVER_S = 86400
local GLANCE_S = 60 -- how often a request that waits looks whether the consumer was collected
local LEG = 2000 -- batches that one timer reads: what a timer has allocated is freed when it ends

local loop = { inside = worker.can_yield, refusal = worker.refusal }

-- --- what wakes a reader -------------------------------------------------------------------------------

-- Of each consumer that was waited for: { semaphore =, of = { consumer = }, ended =, failure = }.
local bells = setmetatable({}, { __mode = "k" })

local function ring(bell)
  if bell.semaphore:count() < 1 then bell.semaphore:post() end
end

local function connect(bell)
  local consumer = bell.of.consumer
  if not consumer then return nil, "collected" end
  local doorbell, err = core.doorbell()
  if not doorbell then return nil, err end
  local socket = ngx.socket.tcp()
  socket:settimeouts(1000, 1000, FOREVER_S * 1000)
  local ok
  ok, err = socket:connect("unix:" .. doorbell:path())
  if not ok then return nil, err end
  ok, err = engine.redirect(consumer, doorbell)
  if not ok then return nil, err end
  return socket
end

-- In a timer of its own, since a cosocket is its maker's alone: passes on what librdkafka's threads write
-- to the other end, which closes with the consumer when that is collected.
local function listen(_, bell)
  local socket
  socket, bell.failure = connect(bell)
  ring(bell) -- in case that it was notified before
  while socket and not bell.ended and not bell.failure do
    local bytes, err = socket:receiveany(4096)
    if not bytes and err ~= "timeout" then bell.failure = err end
    ring(bell)
  end
  if socket then socket:close() end
end

local function bell_of(consumer)
  local bell = bells[consumer]
  if not bell then
    bell = { semaphore = semaphore.new(), of = setmetatable({ consumer = consumer }, { __mode = "v" }) }
    assert(ngx.timer.at(0, listen, bell))
    bells[consumer] = bell
  end
  return bell
end

function loop.wait(_, seconds, consumer)
  local bell = bell_of(consumer)
  bell.semaphore:wait(math.max(seconds or FOREVER_S, 0.001))
  if not bell.failure then return end
  bells[consumer] = nil -- the next one may do better
  error("cannot be woken: " .. bell.failure, 0)
end

-- ngx.sleep(0) may come back before nginx has looked at its sockets.
function loop.pause()
  ngx.sleep(0.001)
end

-- --- the host ----------------------------------------------------------------------------------------------

local own = host.adapt(loop)
own.refusal = loop.refusal
local close = own.close

-- The bell is the reader's, so that a commit's answer is looked for.
function own.answer(consumer, seconds)
  if loop.inside() then return ngx.sleep(math.max(math.min(seconds, 0.01), 0.001)) end
  host.blocking.answer(consumer, seconds)
end

-- Where it cannot wait, the end has begun nevertheless.
function own.close(consumer)
  if not (loop.inside() and pcall(close, consumer)) then engine.close(consumer, 0) end
  if bells[consumer] then bells[consumer].ended = true end
end

-- Of each waitable that is waited for: a semaphore for each waiter.
local waiting = setmetatable({}, { __mode = "k" })

function own.await(latch, deadline)
  local waiter = semaphore.new()
  local waiters = waiting[latch] or setmetatable({}, { __mode = "k" })
  waiting[latch], waiters[waiter] = waiters, true
  while latch:state() == "pending" do
    local left = deadline and deadline - engine.now() or GLANCE_S
    if left <= 0 then break end
    waiter:wait(math.max(math.min(left, GLANCE_S), 0.001))
  end
  waiters[waiter] = nil
  return host.blocking.await(latch, 0)
end

function own.turned(consumer, latch)
  worker.tell(consumer)
  local waiters = latch and waiting[latch]
  if not waiters or latch:state() == "pending" then return end
  waiting[latch] = nil
  for waiter in pairs(waiters) do waiter:post() end
end

-- Reading in a timer goes on in another one after each leg, and the caller waits for the last.
function own.relay(leg)
  if ngx.get_phase() ~= "timer" then return leg(math.huge) end
  local over, results = semaphore.new(), nil
  local function run()
    local done
    repeat
      done = { pcall(leg, LEG) }
      if done[2] == "again" and ngx.timer.at(0, run) then return end
    until done[2] ~= "again"
    results = done
    over:post()
  end
  assert(ngx.timer.at(0, run))
  while not results do over:wait(FOREVER_S) end
  if not results[1] then error(results[2], 0) end
  return unpack(results, 2, 5) -- luacheck: std max
end

-- --- the worker's end ------------------------------------------------------------------------------------

local open = setmetatable({}, { __mode = "k" })

-- nginx runs timers early, with `premature`, when the worker is to leave: and that waits for all others.
local function guard(premature)
  if not premature then return assert(ngx.timer.at(FOREVER_S, guard)) end
  local consumers = {}
  for consumer in pairs(open) do table.insert(consumers, consumer) end
  -- One that was just collected is a key still, and ended: its close raises.
  for _, consumer in ipairs(consumers) do pcall(consumer.close, consumer) end
end

local guarded = false

local function keep(consumer, post)
  open[consumer] = true
  worker.post(consumer, post)
  if not guarded then guarded = assert(ngx.timer.at(FOREVER_S, guard)) end
end

-- --- the module ------------------------------------------------------------------------------------------

local module = history.with_host(own)
local make = module.new

--- The same as history.new, and in the configuration also
--   worker   the number of the only worker that reads, from 0; nil: each reads
--   shared   with `worker`: the lua_shared_dict through which it tells the others ("kafka_history")
function module.new(config)
  if ngx.get_phase() == "init" then
    error("new: init_by_lua runs in nginx's master, and the workers that it forks could not use the "
      .. "consumer; make it in init_worker_by_lua", 2)
  end
  -- Called by pcall, an error has no place in this file before its text.
  local ok, rest, post = pcall(worker.take, config)
  if not ok then error(rest, 2) end
  if post and not post.reads then return worker.stand_in(post) end
  local consumer, err, code
  ok, consumer, err, code = pcall(make, rest)
  if not ok then error(consumer, 2) end
  if consumer then keep(consumer, post) end
  return consumer, err, code
end

return module
