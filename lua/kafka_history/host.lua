--- What waits, and how. A host is a table of functions:
--
--     inside()                  may the running code wait by yielding to the host's loop?
--     wait(consumer, seconds)   until there is something to do, at most that long (negative: no
--                               bound); may return early
--     rest(consumer, seconds)   a pause in reading, which only engine.wake must end early
--     answer(consumer, seconds) until engine.commit_state has something to look at, at most that long
--     pause(consumer)           lets whatever else is ready in the loop run once; nil: there is no loop
--     await(waitable, deadline) the results of waitable:wait; deadline as of engine.now(), or nil
--     close(consumer)           begins its end, and waits for that for at most host.CLOSE_S
--     turned(consumer, latch)   after each turn of the reader: the waitable, if there is one, may have
--                               been released; nil: it is watched by its descriptor
--     relay(leg)                calls leg(batches), which reads so many, until it returns something else
--                               than "again": the results; nil: reading need not change its place
--     refusal                   what await says where inside() is false
--
-- The last three may be missing. `blocking` is the host without a loop. For a loop that can watch file
-- descriptors, `host.adapt(loop)` makes one of three functions, see below.

local core = require "kafka_history.core"

local engine = core.consumer
local waitable = core.waitable
local now = engine.now

local host = { CLOSE_S = 5 }

--- Is this a coroutine, with nothing on its stack that cannot be left and come back to?
host.is_yieldable = coroutine.isyieldable -- luacheck: std max

--- The smaller one of two times, or numbers of seconds, where nil (or false) is no bound.
local function sooner(a, b)
  return a and b and math.min(a, b) or a or b
end
host.sooner = sooner

-- --- without a loop: the thread waits in poll(2) -------------------------------------------------------

local blocking = { wait = engine.wait, rest = engine.rest, answer = engine.wait_for_answer }
host.blocking = blocking

function blocking.inside()
  return false
end

-- A signal ends one poll, so that Ctrl-C gets its turn; then the rest is waited for.
function blocking.await(latch, deadline)
  while true do
    local left = deadline and math.max(deadline - now(), 0) or -1
    local released, err, code = waitable.poll(latch, left)
    if released then return true end
    if err then return nil, err, code end
    if released == false then return nil, "timeout", "TIMEOUT" end
  end
end

function blocking.close(consumer)
  engine.close(consumer, host.CLOSE_S)
end

-- --- in a loop -----------------------------------------------------------------------------------------

--- A host of a loop that can watch file descriptors.
-- @tparam table loop
--   inside()            is this code run by the loop, and can it yield to it?
--   refusal             the error where it is not; nil: the thread waits then
--   wait(fd, seconds, consumer)   yields until the fd is readable, at most that long (nil: no bound); may
--                       return early; any number of coroutines may wait for the same fd, which is that of
--                       the consumer, or of a waitable when there is none
--   pause(fd)           yields until everything else that is ready has run once; the fd is any open one
function host.adapt(loop)
  local own = { inside = loop.inside }

  local function is_inside()
    if loop.inside() then return true end
    if loop.refusal then error(loop.refusal, 0) end
    return false
  end

  function own.wait(consumer, seconds)
    if not is_inside() then return blocking.wait(consumer, seconds) end
    local left = sooner(seconds >= 0 and seconds or nil, engine.timeout(consumer))
    if left ~= 0 then loop.wait(engine.pollfd(consumer), left, consumer) end
  end

  function own.rest(consumer, seconds)
    if not is_inside() then return blocking.rest(consumer, seconds) end
    engine.rest(consumer, 0) -- which silences the fd
    loop.wait(engine.pollfd(consumer), seconds, consumer)
  end

  function own.answer(consumer, seconds)
    if not is_inside() then return blocking.answer(consumer, seconds) end
    loop.wait(engine.answer_fd(consumer), seconds)
  end

  function own.pause(consumer)
    if is_inside() then loop.pause(engine.pollfd(consumer)) end
  end

  function own.await(latch, deadline)
    while latch:state() == "pending" do
      local left = deadline and deadline - now()
      if left and left <= 0 then break end
      loop.wait(latch:pollfd(), left)
    end
    return blocking.await(latch, 0)
  end

  function own.close(consumer)
    if not loop.inside() then return blocking.close(consumer) end
    local deadline = now() + host.CLOSE_S
    engine.close(consumer, 0)
    while not engine.has_ended(consumer) do
      local left = deadline - now()
      if left <= 0 then return end
      loop.wait(engine.pollfd(consumer), left, consumer)
    end
  end

  return own
end

return host
