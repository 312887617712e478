-- kafka_history.progress: what it writes, told from what a consumer's progress() would say.
local progress = require "kafka_history.progress"

local interpreter = os.getenv "KH_LUA" or (rawget(_G, "jit") and "luajit" or "lua5.4")

-- A stream that remembers what was written.
local function new_stream()
  local stream = { text = "" }
  function stream:write(...)
    self.text = self.text .. table.concat { ... }
  end
  function stream.flush() end
  return stream
end

local function partition(caught_up)
  return { topic = "t", partition = 0, target = 10, caught_up = caught_up }
end

local function consumer_at(fraction, state)
  local done = fraction == 1
  return {
    progress = function()
      return {
        state = state or (done and "caught_up" or "reading"), messages = 1234567, rate = 45678.9,
        eta = done and 0 or 61.2, fraction = fraction, lag = 0,
        partitions = { partition(true), partition(done), partition(done) },
      }
    end,
  }
end

describe("a progress bar", function()
  local stream

  before_each(function()
    stream = new_stream()
  end)

  local function bar(options)
    options = options or {}
    options.stream = stream
    return progress.new(options)
  end

  describe("on a terminal", function()
    -- What is seen on the last line: what was written after it was last cleared, without colours.
    local function seen()
      return (stream.text:match("[^\r]*$"):gsub("\27%[[%d;]*%a", ""))
    end

    it("shows the fraction, messages, rate, time left and partitions that are not done", function()
      bar { terminal = true, width = 130 } (consumer_at(0.5))
      assert.equal(("[%s>%s]  50%% 1 234 567 messages, 45 679/s, 1m02s left, 2 of 3 partitions to go")
        :format(("="):rep(20), (" "):rep(19)), seen())
    end)

    it("fits into the width, the last column left free", function()
      for width = 20, 150 do
        for _, fraction in ipairs { 0, 0.001, 0.5, 0.9999, 1 } do
          stream.text = ""
          bar { terminal = true, width = width } (consumer_at(fraction))
          assert.is_true(#seen() < width, ("%d columns: %q"):format(width, seen()))
        end
      end
    end)

    it("says 100% and fills the bar only when caught up", function()
      bar { terminal = true, width = 100 } (consumer_at(0.9999))
      assert.matches(">%]  99%%", seen())
      bar { terminal = true, width = 100 } (consumer_at(1))
      assert.matches("=%] 100%%", seen())
    end)

    it("draws over the same line until it is finished", function()
      local it = bar { terminal = true, width = 100 }
      it(consumer_at(0.1))
      it(consumer_at(0.2))
      assert.is_nil(stream.text:find("\n", 1, true))
      it:finish(consumer_at(1))
      assert.matches("100%%[^\r\n]*\n$", stream.text)
      it:finish()
      assert.equal(1, select(2, stream.text:gsub("\n", "")))
    end)

    it("says so while it asks where history ends, and when reading has failed", function()
      bar { terminal = true, width = 100 } (consumer_at(0, "starting"))
      assert.equal("asking where history ends", seen())
      bar { terminal = true, width = 100 } (consumer_at(0.4, "failed"))
      assert.matches("^failed %[", seen())
    end)
  end)

  describe("elsewhere", function()
    it("writes a plain line now and then, and the last state", function()
      local it = bar { interval = 0 }
      it(consumer_at(0.5))
      assert.equal(" 50%, 1 234 567 messages, 45 679/s, 1m02s left, 2 of 3 partitions to go\n", stream.text)
      stream.text = ""
      it:finish(consumer_at(1))
      assert.equal("caught up, 100%, 1 234 567 messages\n", stream.text)
    end)

    it("writes nothing for what takes less than the interval", function()
      local it = bar { interval = 1000 }
      for _ = 1, 100 do it(consumer_at(0.5)) end
      assert.equal("", stream.text)
    end)
  end)

  -- script(1) gives the program a terminal for its stdout and stderr.
  describe("finds out by itself", function()
    local program = [[
      local bar = require "kafka_history.progress".new()
      bar { progress = function()
        return { state = "reading", messages = 5, rate = 0, fraction = 0.5, lag = 0, partitions = {} }
      end }
      bar:finish()
    ]]

    local function run(environment, on_terminal)
      local name = os.tmpname()
      local file = assert(io.open(name, "w"))
      file:write(program)
      file:close()
      local command = ("LUA_PATH='%s' LUA_CPATH='%s' %s %s %s"):format(package.path, package.cpath,
        environment, interpreter, name)
      if on_terminal then
        command = ("script -qec \"%s\" /dev/null </dev/null"):format(command)
      end
      local pipe = assert(io.popen(command .. " 2>&1", "r"))
      local text = pipe:read("*a")
      pipe:close()
      os.remove(name)
      return text
    end

    it("a terminal: coloured there, without colours where NO_COLOR is set", function()
      assert.matches("\27%[32m=", run("TERM=xterm NO_COLOR=", true))
      local text = run("TERM=xterm NO_COLOR=1", true)
      assert.matches("%[=+> *%]  50%%", text)
      assert.is_nil(text:find("\27[32m", 1, true))
    end)

    it("that TERM=dumb and a pipe are none", function()
      assert.equal("", run("TERM=dumb", true))
      assert.equal("", run("TERM=xterm", false))
    end)
  end)
end)
