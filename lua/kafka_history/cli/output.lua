--- stdout: written in large pieces, flushed when the reader has nothing to do, and at every tick. When it
-- cannot be written any more that ends the reading: `write` and `flush` raise output.failure.

local output = {}

local stdout = io.stdout

--- What is raised: `gone` when nobody reads it any more, else `text`.
output.failure = {}

local failure = output.failure

local function check(done, text)
  if done then return end
  failure.text = text
  -- EPIPE, where SIGPIPE is ignored.
  failure.gone = text and text:find("roken pipe", 1, true) ~= nil
  error(failure, 0)
end

-- Called before anything is written: a bar may have to go.
output.before = function() end

local pending

--- `drain` is called when everything has to be written.
function output.collect(drain)
  pending = drain
end

function output.write(text)
  output.before()
  check(stdout:write(text))
end

function output.flush()
  if pending then pending() end
  check(stdout:flush())
end

--- Before the first message.
function output.open()
  stdout:setvbuf("full", 65536)
end

-- LuaJIT calls a function that has failed in compiled code once more, and flushing succeeds then.
if rawget(_G, "jit") then
  local off = jit.off -- luacheck: globals jit
  off(output.flush)
  off(output.write)
end

return output
