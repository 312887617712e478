--- kafka_history for luv (libuv): the same module, but waiting yields to the loop, so that timers,
-- sockets and other coroutines run beside the reader. Whatever waits must be called in a coroutine.
--
--     local uv = require "luv"
--     local history = require "kafka_history.luv"
--
--     local consumer = assert(history.new { addresses = "localhost:9092", topics = "orders" })
--     coroutine.wrap(function() assert(consumer:read_history(handler)) end)()
--     coroutine.wrap(function()
--       assert(consumer:caught_up():wait())
--       print "caught up"
--     end)()
--     uv.run()
--
-- In Neovim that is all but the last line, as its loop runs anyway. An error in such a coroutine is luv's
-- to report, as that of a callback.

local uv = require "luv"
local history = require "kafka_history"

local host = require "kafka_history.host"

local loop = {
  inside = host.is_yieldable,
  refusal = "this would stop the loop: call it in a coroutine, as in coroutine.wrap(function() ... end)()",
}

-- Resumes each of the waiters; an error that ends one does not keep the others from being resumed.
local function resume(waiters)
  local failures = {}
  for _, waiter in ipairs(waiters) do
    if coroutine.status(waiter.thread) == "suspended" then
      local ok, err = coroutine.resume(waiter.thread)
      if not ok then failures[#failures + 1] = debug.traceback(waiter.thread, tostring(err)) end
    end
  end
  if failures[1] then error(table.concat(failures, "\n"), 0) end
end

-- libuv allows one handle for each fd that is watched: this one wakes all that wait for it.
local watches = {}

local function leave(watch, waiter)
  if waiter.timer then waiter.timer:close() end
  waiter.timer = nil
  for i, other in ipairs(watch.waiters) do
    if other == waiter then table.remove(watch.waiters, i) end
  end
  if watch.poll and not watch.waiters[1] then
    watch.poll:close()
    watch.poll, watches[watch.fd] = nil, nil
  end
end

local function wake(watch, waiters)
  for _, waiter in ipairs(waiters) do leave(watch, waiter) end
  resume(waiters)
end

local function watch_for(fd)
  if watches[fd] then return watches[fd] end
  local watch = { fd = fd, waiters = {}, poll = assert(uv.new_poll(fd)) }
  assert(watch.poll:start("r", function()
    local waiters = watch.waiters
    watch.waiters = {}
    wake(watch, waiters)
  end))
  watches[fd] = watch
  return watch
end

function loop.wait(fd, seconds)
  local watch = watch_for(fd)
  local waiter = { thread = coroutine.running() }
  table.insert(watch.waiters, waiter)
  if seconds then
    waiter.timer = assert(uv.new_timer())
    -- A timer of 0 ms comes back in the same pass of the loop in libuv 1.44.
    waiter.timer:start(math.max(math.ceil(seconds * 1000), 1), 0, function() wake(watch, { waiter }) end)
  end
  coroutine.yield()
  leave(watch, waiter) -- in case that somebody else has resumed it
end

-- A pass of the loop: an active idle handle keeps it from waiting for descriptors, and the check handle
-- comes after they were looked at; timers follow before the next one.
local paused, idle, check = {}, nil, nil

local function go_on()
  local waiters = paused
  paused = {}
  idle:stop()
  check:stop()
  resume(waiters)
end

function loop.pause()
  if not check then idle, check = assert(uv.new_idle()), assert(uv.new_check()) end
  table.insert(paused, { thread = coroutine.running() })
  idle:start(function() end)
  check:start(go_on)
  coroutine.yield()
end

return history.with_host(host.adapt(loop))
