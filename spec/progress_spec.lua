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
        eta = done and 0 or 61.2, fraction = fraction, lag = 0, seconds = 27.1, skipped = 0, gaps = 0,
        truncated = 0,
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
      assert.matches("\r\27%[Kcaught up: 1 234 567 messages of 3 partitions in 27%.1 s %(45 556/s%)\n$",
        stream.text)
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

  -- A consumer whose state is what the test makes it.
  local function consumer_with(p)
    return { progress = function() return p end }
  end

  local function reading_state(more)
    local p = { state = "reading", messages = 5, rate = 0, fraction = 0.5, lag = 0, partitions = {
      { topic = "a", partition = 0, position = 5, target = 9 },
      { topic = "a", partition = 1, position = 7, target = 9 },
    } }
    for key, value in pairs(more or {}) do p[key] = value end
    return p
  end

  local function stalled(number, cause)
    return { name = "stalled", topic = "a", partition = number, cause = cause, offset = 5, target = 9 }
  end

  describe("that was told of a stall", function()
    local it_is, p

    before_each(function()
      it_is, p = bar { interval = 0 }, reading_state()
      it_is:note(stalled(0, "no leader"))
    end)

    local function line()
      stream.text = ""
      it_is(consumer_with(p))
      return stream.text
    end

    it("says what is waited for until that partition goes on", function()
      for _ = 1, 3 do assert.matches("5 messages, stalled: no leader, a[0], 2 of 2", line(), 1, true) end
      p.partitions[2].position = 8
      assert.matches("stalled: no leader, a[0]", line(), 1, true)
      p.partitions[1].position = 6
      assert.is_nil(line():find "stalled")
    end)

    it("says so until it has caught up", function()
      assert.matches("stalled", line())
      p.partitions[1].caught_up = true
      assert.is_nil(line():find "stalled")
    end)

    it("says so until it is another's", function()
      assert.matches("stalled", line())
      table.remove(p.partitions, 1)
      assert.is_nil(line():find "stalled")
    end)

    it("counts the others, and knows of each the last cause", function()
      it_is:note(stalled(1, "open transaction"))
      assert.matches("stalled: no leader, a[0] and 1 more", line(), 1, true)
      it_is:note(stalled(0, "unknown"))
      assert.matches("stalled: open transaction, a[1] and 1 more", line(), 1, true)
      p.partitions[2].position = 8
      assert.matches("stalled: unknown, a[0], ", line(), 1, true)
    end)

    it("takes no notice of other events", function()
      it_is:finish()
      for _, name in ipairs { "snapshot", "caught_up", "gap", "error" } do it_is:note { name = name } end
      assert.is_nil(line():find "stalled")
    end)

    it("forgets it when reading has failed, and when it is finished", function()
      p.state = "failed"
      assert.is_nil(line():find "stalled")
      p.state = "reading"
      assert.matches("stalled", line())
      it_is:finish()
      assert.is_nil(line():find "stalled")
    end)
  end)

  describe("without events", function()
    local time = os.time
    local now

    before_each(function()
      now = time()
      os.time = function() return now end -- luacheck: ignore 122
    end)

    after_each(function()
      os.time = time -- luacheck: ignore 122
    end)

    it("says for how long nothing has come", function()
      local it_is, p = bar { interval = 0 }, reading_state()
      local function line()
        stream.text = ""
        it_is(consumer_with(p))
        return stream.text
      end
      assert.is_nil(line():find "nothing")
      now = now + 4
      assert.is_nil(line():find "nothing")
      now = now + 3
      assert.matches("5 messages, nothing for 7s, ", line())
      p.messages = 6
      assert.is_nil(line():find "nothing")
    end)
  end)

  it("counts what was read where that is not handled yet", function()
    bar { interval = 0 } (consumer_with(reading_state { messages = 0, read = 3000 }))
    assert.matches("3 000 messages", stream.text)
  end)

  -- As the stand-in of kafka_history.resty.
  it("does with a part of what progress() tells", function()
    local p = { state = "reading", messages = 1, offsets_done = 1, offsets_total = 4, fraction = 0.25 }
    for _, terminal in ipairs { true, false } do
      local it_is = bar { interval = 0, terminal = terminal, width = 100 }
      stream.text = ""
      it_is:note(stalled(0, "unknown"))
      it_is(consumer_with(p))
      assert.matches("25%%,? 1 message, stalled: unknown, a%[0%]", stream.text)
      it_is:finish(consumer_with(p))
      assert.matches("ended at 25%%: 1 message\n$", stream.text)
      it_is(consumer_with {})
    end
  end)

  describe("gives a verdict", function()
    local function verdict(more, heading)
      local p = consumer_at(1).progress()
      p.messages, p.seconds = 3000, 2
      for key, value in pairs(more) do p[key] = value end
      return progress.verdict(p, heading)
    end

    it("of what was read, and how fast", function()
      assert.equal("caught up: 3 000 messages of 3 partitions in 2.0 s (1 500/s)", verdict {})
      assert.equal("caught up: 1 message of 1 partition in 0.0 s",
        verdict { messages = 1, seconds = 0, partitions = { partition(true) } })
      assert.equal("caught up: 0 messages of 3 partitions in 2.0 s", verdict { messages = 0 })
    end)

    it("of what was handled of it, skipped and lost", function()
      assert.equal("caught up: 5 000 messages of 3 partitions in 2.0 s (2 500/s), 3 000 handled",
        verdict { read = 5000 })
      assert.matches(" s %(1 500/s%), 2 skipped, 1 gap, 2 truncations$",
        verdict { read = 3000, skipped = 2, gaps = 1, truncated = 2 })
    end)

    it("of how far it came where that is not the end", function()
      assert.matches("^ended at 99%%: 3 000", verdict { fraction = 0.9999, state = "closed" })
      assert.matches("^failed at 40%%: 3 000", verdict { fraction = 0.4, state = "failed" })
      assert.matches("^interrupted: 3 000", verdict({ fraction = 0.4 }, "interrupted"))
    end)
  end)

  describe("elsewhere", function()
    it("writes a plain line now and then, and the last state", function()
      local it = bar { interval = 0 }
      it(consumer_at(0.5))
      assert.equal(" 50%, 1 234 567 messages, 45 679/s, 1m02s left, 2 of 3 partitions to go\n", stream.text)
      stream.text = ""
      it:finish(consumer_at(1))
      assert.equal("caught up: 1 234 567 messages of 3 partitions in 27.1 s (45 556/s)\n", stream.text)
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
