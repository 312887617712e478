---@meta _

--- What `consumer:caught_up()` returns: a signal that is given once, to everyone who waits and at once to who comes late.
---
--- It is *pending* until everything that was in the topics at the start has been handled ([what that means](../caught-up.md)),
--- and then *caught_up* for good. It is released with an error when reading fails (*failed*) or the consumer is closed or
--- collected (*closed*), so nobody waits for ever. A call that ended by its `timeout` or by `cancel()` leaves it pending. When
--- reading is taken up again after a failure and catches up, it becomes caught_up.
---
--- Its descriptor becomes readable when it is released, and stays so: any number of loops, threads and Lua states may wait
--- for it ([other states](../hosts/states.md)). It is valid as long as anybody has it, also after the consumer is gone.

---@class kafka_history.waitable
local waitable = {}

--- Waits until it is released, at most so long. Returns true when caught up. When the time is over it returns nil,
--- "timeout", "TIMEOUT"; when reading failed, nil and that error's message and code; when the consumer was closed, nil,
--- "closed", "CLOSED".
---
--- In a host's loop only the coroutine waits. In the Lua state that reads the consumer, outside of a loop, a wait on a
--- pending signal could never end: it raises an error that says what to do instead. `wait(0)` only looks, and is always
--- allowed.
---@param seconds? number 0 or more; nil or math.huge: without end
---@return true? released
---@return string? err
---@return string? code
function waitable:wait(seconds) end

--- Whether it is caught up. Never blocks.
---@return boolean
function waitable:is_ready() end

--- Which of its four states it is in. Never blocks.
---@return "pending"|"caught_up"|"failed"|"closed"
function waitable:state() end

--- A descriptor that becomes readable when it is released, and stays so. It is not to be read from, and not to be closed.
---@return integer descriptor
function waitable:pollfd() end

--- What to poll the descriptor for: `"r"`. With `pollfd` and `timeout` cqueues polls it as it is.
---@return "r"
function waitable:events() end

--- 0 once it is released, nil before: it has no time of its own.
---@return number? seconds
function waitable:timeout() end

--- The same as `pollfd`, under the name that LuaSocket's `select` asks for.
---@return integer descriptor
function waitable:getfd() end

--- Whether it is released: LuaSocket's `select` returns at once then.
---@return boolean
function waitable:dirty() end

return waitable
