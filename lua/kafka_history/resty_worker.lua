--- One worker of nginx that reads for all: with `worker = 0` the others get a stand-in for the consumer,
-- which looks at what the reading one has written into a lua_shared_dict.
--
--     lua_shared_dict kafka_history 1m;
--     init_by_lua_block { require "kafka_history.resty" }
--     init_worker_by_lua_block { consumer = history.new { worker = 0, ... } }
--
-- A stand-in answers caught_up(), with wait, state and is_ready, and progress(), with a part of what it
-- is elsewhere. Its read_history, messages and step return nil, err, "ELSEWHERE".

local ngx = ngx -- luacheck: read globals ngx
local core = require "kafka_history.core"
local options = require "kafka_history.options"

local engine = core.consumer
local now = engine.now

local worker = {}

local LOOK_S = 0.1 -- how often a request that waits looks, and how often the reader writes

-- --- where nginx can wait ----------------------------------------------------------------------------------

local yielding = {
  rewrite = true, server_rewrite = true, access = true, content = true, timer = true,
  ssl_cert = true, ssl_session_fetch = true, ssl_client_hello = true,
}

function worker.can_yield()
  return yielding[ngx.get_phase()] == true
end

worker.refusal = "nginx cannot wait here; it can in a timer, and in a request's rewrite, access or "
  .. "content phase"

-- --- what is written -----------------------------------------------------------------------------------

-- Made in the master for all workers that it forks; what was written before a reload has another.
local generation = ngx.get_phase() == "init" and ("%d-%.3f"):format(ngx.worker.pid(), ngx.now())

local made = 0
local posts = setmetatable({}, { __mode = "k" }) -- of each consumer that others wait for

local function misuse(text)
  error("new: " .. text, 0)
end

--- The configuration without what is nginx's; and, with `worker`, { dict =, key =, reads = }. Raises.
function worker.take(config)
  if type(config) ~= "table" or config.worker == nil and config.shared == nil then return config end
  local rest = {}
  for name, value in pairs(config) do rest[name] = value end
  local number, name = rest.worker, rest.shared or "kafka_history"
  rest.worker, rest.shared = nil, nil
  if ngx.get_phase() ~= "init_worker" then
    misuse "worker: such a consumer is made in init_worker_by_lua, in every worker"
  end
  if type(number) ~= "number" or number < 0 or number >= ngx.worker.count() or number % 1 ~= 0 then
    misuse(("worker: expected the number of a worker, 0 to %d, got %s"):format(ngx.worker.count() - 1,
      options.describe(number)))
  end
  if not generation then
    misuse 'worker: put require "kafka_history.resty" into init_by_lua, which runs for all workers at once'
  end
  if not ngx.shared[name] then
    misuse(('shared: there is no lua_shared_dict of the name "%s"'):format(tostring(name)))
  end
  made = made + 1
  return rest, { dict = ngx.shared[name], key = ("%s-%d"):format(generation, made),
    reads = ngx.worker.id() == number, worker = number }
end

local numbers = { "messages", "offsets_done", "offsets_total", "fraction" }

-- A line each: the waitable's state, the consumer's, numbers, the error's code and its text.
local function write(post, consumer)
  local progress = engine.progress(consumer)
  local state = post.latch:state()
  local lines = { state, progress.state }
  for _, name in ipairs(numbers) do table.insert(lines, ("%.17g"):format(progress[name])) end
  local _, err, code = core.waitable.poll(post.latch, 0)
  table.insert(lines, code or "")
  table.insert(lines, err or "")
  assert(post.dict:set(post.key, table.concat(lines, "\n")))
  post.state, post.next_at = state, now() + LOOK_S
end

--- The consumer that reads for the others; without a post it reads for this worker alone.
function worker.post(consumer, post)
  if not post then return end
  post.latch = consumer:caught_up()
  posts[consumer] = post
  write(post, consumer)
end

--- After each turn of the reader.
function worker.tell(consumer)
  local post = posts[consumer]
  if post and (now() >= post.next_at or post.latch:state() ~= post.state) then write(post, consumer) end
end

-- --- what is read --------------------------------------------------------------------------------------

local function look(post)
  local text = post.dict:get(post.key) or "pending\nstarting\n0\n0\n0\n0\n\n"
  local state, of_consumer, messages, done, total, fraction, code, err =
    text:match("^" .. ("(.-)\n"):rep(7) .. "(.*)$")
  local progress = { state = of_consumer, messages = tonumber(messages), offsets_done = tonumber(done),
    offsets_total = tonumber(total), fraction = tonumber(fraction) }
  return state, progress, err, code
end

local waitable = {}
waitable.__index = waitable

function waitable:state()
  return (look(self.post))
end

function waitable:is_ready()
  return self:state() == "caught_up"
end

function waitable:wait(seconds)
  if seconds ~= 0 and not worker.can_yield() then error("wait: " .. worker.refusal, 2) end
  local deadline = seconds and now() + seconds or math.huge
  while true do
    local state, _, err, code = look(self.post)
    if state == "caught_up" then return true end
    if state ~= "pending" then return nil, err, code end
    local left = deadline - now()
    if left <= 0 then return nil, "timeout", "TIMEOUT" end
    ngx.sleep(math.max(math.min(left, LOOK_S), 0.001))
  end
end

local stand_in = {}
stand_in.__index = stand_in

--- What the workers have that do not read.
function worker.stand_in(post)
  return setmetatable({ post = post, latch = setmetatable({ post = post }, waitable) }, stand_in)
end

function stand_in:caught_up()
  return self.latch
end

function stand_in:progress()
  return (select(2, look(self.post)))
end

local function reads_elsewhere(consumer)
  return nil, ("ELSEWHERE: worker %d reads"):format(consumer.post.worker), "ELSEWHERE"
end

stand_in.read_history, stand_in.messages, stand_in.step = reads_elsewhere, reads_elsewhere, reads_elsewhere

function stand_in.cancel() return true end

function stand_in.close() return true end

return worker
