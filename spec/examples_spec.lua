-- What the README and examples/ promise, run as printed against the embedded broker.
local broker = require "kafka_history.broker"

local interpreter = os.getenv "KH_LUA" or (rawget(_G, "jit") and "luajit" or "lua5.4")
local build = os.getenv "KH_BUILD" or "build"
local limit_s = 60

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function read_file(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

-- Starts a command whose stdout and stderr can be read line by line, and that can be sent signals.
local function start(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = quote(word) end
  local line = ("echo $$; exec timeout %d %s 2>&1"):format(limit_s, table.concat(words, " "))
  local pipe = assert(io.popen(("{ sh -c %s; } 2>/dev/null; echo \"=$?\""):format(quote(line)), "r"))
  local program = { pid = pipe:read("*l"), lines = {} }

  function program.line()
    local text = pipe:read("*l")
    program.lines[#program.lines + 1] = text
    return text
  end

  function program.await(pattern)
    repeat
      local text = program.line()
      if not text then
        error(("no line with %q in\n%s"):format(pattern, table.concat(program.lines, "\n")), 2)
      end
    until text:find(pattern)
    return program.lines[#program.lines]
  end

  function program.signal(name)
    os.execute(("kill -%s %s"):format(name, program.pid))
  end

  -- Reads to the end; the exit status.
  function program.finish()
    while program.line() do end
    pipe:close()
    program.ended = true
    return tonumber(program.lines[#program.lines]:match("^=(%d+)$"))
  end

  -- Ends it if it still runs.
  function program.stop()
    if program.ended then return end
    program.signal "TERM"
    program.finish()
  end

  return program
end

local function contains(lines, wanted)
  for _, line in ipairs(lines) do
    if line == wanted then return true end
  end
  return false
end

describe("examples", function()
  local shop, program

  before_each(function()
    shop = assert(broker.new { topics = { orders = 3 } })
    assert(shop:produce("orders", {
      { key = "a", value = "new", partition = 0 },
      { key = "b", value = "new", partition = 1 },
      { key = "c", value = "", partition = 1 },
      { key = "a", value = "paid", partition = 0 },
      { key = "b", partition = 1 },
      { value = "no key", partition = 2 },
    }))
  end)

  after_each(function()
    if program then program.stop() end
    program = nil
    shop:close()
  end)

  it("has the README's program as examples/history.lua, no longer than 15 lines", function()
    local printed = read_file("README.md"):match("```lua\n(.-)```")
    assert.equal(read_file("examples/history.lua"), printed)
    assert.is_true(select(2, printed:gsub("\n", "")) <= 15)
  end)

  it("runs the README's program: history, the signal, live messages", function()
    local name = os.tmpname()
    local file = assert(io.open(name, "wb"))
    file:write((read_file("README.md"):match("```lua\n(.-)```")))
    file:close()
    program = start(interpreter, name, shop:addresses(), "orders")
    program.await "^caught up after 6 messages$"
    os.remove(name)
    assert.equal(7, #program.lines)
    assert(shop:produce("orders", { key = "d", value = "live" }))
    assert.equal("d\tlive", program.line())
  end)

  it("rebuilds orders, counts those that are open, and follows them", function()
    program = start(interpreter, "examples/rebuild.lua", shop:addresses(), "orders")
    -- a and c are open; b was deleted; a message without a key is nobody's order.
    program.await "^caught up: 6 messages of 3 partitions in .* 0 gaps, 0 truncated; 2 orders are open$"
    program.await "^live:$"
  end)

  it("shows the whole demo and ends by itself", function()
    program = start(interpreter, "examples/demo.lua")
    assert.equal(0, program.finish())
    local text = table.concat(program.lines, "\n")
    assert.matches("caught up: 400000 messages of 12 partitions", text)
    local _, live = text:gsub("\n  order%-9%d+ ", "")
    assert.is_true(live >= 5, text)
  end)

  describe("history.c", function()
    local history = build .. "/examples/history"

    it("prints what was there and ends with --until-caught-up", function()
      program = start(history, "--until-caught-up", shop:addresses(), "orders")
      assert.equal(0, program.finish())
      for _, line in ipairs { "orders 0 0 a new", "orders 0 1 a paid", "orders 1 0 b new", "orders 1 1 c ",
        "orders 1 2 b (null)", "orders 2 0 (null) no key" } do
        assert.is_true(contains(program.lines, line), line)
      end
      assert.matches("caught up: 6 messages", table.concat(program.lines, "\n"))
    end)

    it("goes on live until Ctrl-C", function()
      program = start(history, shop:addresses(), "orders")
      program.await "caught up: 6 messages"
      assert(shop:produce("orders", { key = "d", value = "live", partition = 2 }))
      program.await "^orders 2 1 d live$"
      program.signal "INT"
      assert.equal(0, program.finish())
    end)

    it("says what is wrong with its arguments", function()
      program = start(history, "--until-caught-up", shop:addresses())
      assert.equal(2, program.finish())
      program = start(history, "--until-caught-up", shop:addresses(), "^orders")
      assert.equal(1, program.finish())
      assert.matches("CONFIG: topics: ", program.lines[1])
    end)
  end)
end)
