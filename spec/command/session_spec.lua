-- kafka-history as a process: handlers, where it starts and ends, signals, pipes, exit codes, --watch.

local broker = require "kafka_history.broker"
local child = require "support.child"
local command = require "support.command"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

describe("kafka-history", function()
  before_each(watchdog.start)
  after_each(command.clean)
  after_each(reading.clean)
  after_each(watchdog.stop)

  -- A topic "t" with these lines.
  local function topic(...)
    return "--embedded", command.file(table.concat({ ... }, "\n"), ".jsonl"), "-t", "t"
  end

  local function values(first, last)
    local lines = {}
    for i = first, last do lines[#lines + 1] = ('{"key":"%d","value":"%d"}'):format(i % 3, i) end
    return table.concat(lines, "\n")
  end

  local function run(...)
    return command.run { ... }
  end

  local function words(...)
    return { ... }
  end

  local function with(list, ...)
    local all = {}
    for _, word in ipairs(list) do all[#all + 1] = word end
    for _, word in ipairs { ... } do all[#all + 1] = word end
    return all
  end

  describe("runs a handler:", function()
    local five
    before_each(function() five = with(words(topic(values(1, 5))), "--until", "caught-up") end)

    local function handled(text, ...)
      return command.run(with(five, command.file(text, ".lua"), ...))
    end

    it("the code that was given, whose globals last", function()
      local result = command.run(with(five, "-e", 'n = (n or 0) + 1; print(n, msg.value, consumer ~= nil)'))
      assert.same({ stdout = "1\t1\ttrue\n2\t2\ttrue\n3\t3\ttrue\n4\t4\ttrue\n5\t5\ttrue\n", stderr = "",
        status = 0 }, result)
    end)

    it("code that begins with a dash", function()
      assert.equal("1\n2\n3\n4\n5\n", command.run(with(five, "-e", "--[[ x ]] print(msg.value)")).stdout)
    end)

    it("a function from a file, and modules beside it", function()
      local module = command.file("return { prefix = 'value ' }", ".lua")
      local name = module:match "([^/]*)%.lua$"
      local result = handled(("#!/usr/bin/lua\nlocal m = require '%s'\nreturn function(msg) print(m.prefix "
        .. ".. msg.value) end"):format(name))
      assert.equal("value 1\nvalue 2\nvalue 3\nvalue 4\nvalue 5\n", result.stdout)
    end)

    it("a table's handle, caught_up behind the last message of history, tick and close", function()
      local shop = reading.broker { t = 2 }
      assert(shop:produce("t", { { value = "1", partition = 0 }, { value = "2", partition = 1 } }))
      local file = command.file([[
        local n, due = 0, false
        return {
          handle = function(msg) n = n + 1; print("message " .. n) end,
          caught_up = function(consumer) due = true; print("caught up", consumer:progress().messages) end,
          tick = function() if due then print "tick" end; due = false end,
          close = function(consumer) print("close", consumer:progress().state) end,
        }]], ".lua")
      local running = command.start { "-b", shop:addresses(), "-t", "t", "--count", "3", file }
      running:await("stdout", "tick\n")
      assert(shop:produce("t", "3"))
      assert.equal(0, running:finish())
      assert.equal("message 1\nmessage 2\ncaught up\t2\ntick\nmessage 3\nclose\tcaught_up\n",
        running:stdout())
    end)

    it("a failure names file, line and message, and the command that replays just that", function()
      local jsonl = select(2, topic('{"key":"a","value":"1","partition":0}', '{"value":"x","partition":2}',
        '{"value":"y","partition":2}', '{"value":"z","partition":1}'))
      local file = command.file([[
local function total(order) return order.items + 1 end
return function(msg)
  if msg.value == "y" then total {} end
end]], ".lua")
      local result = command.run { "--embedded", jsonl, "-X", "fetch.wait.max.ms=20",
        "-X", "sasl.password=hush", file }
      assert.equal(1, result.status)
      local first, rest = result.stderr:match "^([^\n]*)\n(.*)$"
      assert.matches(("kafka-history: the handler failed at %s[2], offset 1: %s:1: attempt to perform ")
        :format(jsonl:match "([^/]*)%.jsonl", file), first, 1, true)
      assert.matches("items", first)
      assert.matches("^      " .. file:gsub("%p", "%%%0") .. ":1: in .-\n      .-:3: in ", rest)
      assert.is_nil(rest:find("reader.lua", 1, true))
      assert.is_nil(rest:find("hush", 1, true))
      -- What it says runs as it stands, but for the password.
      local replay = rest:match "replay just this message: ([^\n]*)\n$"
      assert.matches(" -X sasl.password=... ", replay, 1, true)
      local again = command.shell(replay)
      assert.equal(first, again.stderr:match "^([^\n]*)\n")
      assert.equal(1, again.status)
    end)

    it("false, and nil with an error, are failures too", function()
      for code, cause in pairs { ["return false"] = "the handler returned false",
        ["return nil, 'no'"] = "no" } do
        local result = command.run(with(five, "-e", code))
        assert.equal(1, result.status)
        assert.matches(("offset 0: %s\n"):format(cause), result.stderr)
      end
    end)

    it("--on-error skip goes on and tells; retry tries again, then stops", function()
      local code = "n = (n or 0) + 1; if msg.value == '2' then error('odd', 0) end; print(n, msg.value)"
      local result = command.run(with(five, "--on-error", "skip", "-e", code))
      assert.same({ "1\t1\n3\t3\n4\t4\n5\t5\n", "kafka-history: skipped t[0], offset 1: odd\n", 0 },
        { result.stdout, result.stderr, result.status })
      result = command.run(with(five, "--on-error", "retry=1", "-e", code))
      assert.same({ "1\t1\n", 1 }, { result.stdout, result.status })
      result = command.run(with(five, "--on-error", "retry=1", "-e",
        "n = (n or 0) + 1; if n == 2 then error('odd') end; print(n, msg.value)"))
      assert.same({ "1\t1\n3\t2\n4\t3\n5\t4\n6\t5\n", 0 }, { result.stdout, result.status })
    end)

    it("what cannot be loaded, or is no handler, is said", function()
      for text, said in pairs {
        ["return 1"] = "expected it to return function(msg, consumer) or a table with `handle`, got a number",
        [""] = "got nothing", ["return {}"] = "has no function `handle`",
        ["return { handle = print, tick = 1 }"] = "tick: expected a function, got a number",
        ["x x"] = ":1: ", ["error 'early'"] = "early",
      } do
        local result = handled(text)
        assert.equal(1, result.status)
        assert.matches(said, result.stderr, 1, true)
        assert.equal("", result.stdout)
      end
      local result = command.run(with(five, "no/such/file.lua"))
      assert.equal(2, result.status)
      assert.matches("no/such/file.lua: No such file", result.stderr, 1, true)
    end)

    it("that ends the reading, by cancel and by close", function()
      for _, way in ipairs { "cancel", "close" } do
        local result = command.run(with(five, "--progress", "always", "-e",
          ("print(msg.value); if msg.value == '2' then consumer:%s() end"):format(way)))
        assert.same({ "1\n2\n", 0 }, { result.stdout, result.status })
        assert.matches("^ended at 40%%: 2 messages ", result.stderr)
      end
    end)

    it("a failure of caught_up, tick or close ends it, too", function()
      for _, name in ipairs { "caught_up", "close" } do
        local result = handled(("return { handle = print, %s = function() error 'odd' end }"):format(name))
        assert.equal(1, result.status)
        assert.matches("the handler's " .. name .. " failed: .*odd", result.stderr)
      end
      local result = run(five[1], five[2], command.file(
        "return { handle = function() end, tick = function() error 'odd' end }", ".lua"))
      assert.equal(1, result.status)
      assert.matches("the handler's tick failed: .*odd", result.stderr)
    end)
  end)

  describe("begins", function()
    local function from(where, ...)
      local result = command.run(with(words(topic(
        '{"value":"a0","partition":0}', '{"value":"a1","partition":0}', '{"value":"a2","partition":0}',
        '{"value":"b0","partition":1}', '{"value":"b1","partition":1}')),
        "--until", "caught-up", "--from", where, ...))
      local lines = {}
      for line in result.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
      table.sort(lines)
      return table.concat(lines, " "), result
    end

    it("at the beginning, the end, the last messages, an offset, places", function()
      assert.equal("a0 a1 a2 b0 b1", (from "beginning"))
      assert.equal("", (from "end"))
      assert.equal("a2 b1", (from "-1"))
      assert.equal("a1 a2 b0 b1", (from "-2"))
      assert.equal("a1 a2 b1", (from "1"))
      assert.equal("a2", (from "2"))
      assert.equal("", (from "7"))
      assert.equal("b0 b1", (from "1:0"))
      assert.equal("a2 b1", (from "0:2,1:1"))
      assert.equal("a1", (from("0:1", "--count", "1")))
      assert.equal("b1 1 1", (from("1:1", "-f", "%s %p %o\\n")))
    end)

    it("nowhere else: an offset or a partition that is not there is an error", function()
      local _, result = from "0:4"
      assert.equal(3, result.status)
      assert.matches("lies outside the log", result.stderr)
      _, result = from "9:0"
      assert.equal(3, result.status)
      assert.matches("there is no partition 9", result.stderr)
    end)
  end)

  describe("ends", function()
    it("after --count messages", function()
      local source = words(topic(values(1, 5)))
      assert.same({ "1\n2\n", 0 }, { command.run(with(source, "-c", "2")).stdout,
        command.run(with(source, "-c", "2")).status })
      assert.equal("1\n2\n3\n4\n5\n", command.run(with(source, "--count", "5")).stdout)
      assert.equal("1\n", command.run(with(source, "--count", "1", "-e", "print(msg.value)")).stdout)
    end)

    it("after --timeout: 124 while there is history, 0 behind it", function()
      local result = run("-b", "127.0.0.1:1", "-t", "t", "--timeout", "0.5")
      assert.equal(124, result.status)
      assert.matches("not caught up after 0.5 s", result.stderr)
      local source = words(topic(values(1, 3)))
      assert.same({ stdout = "1\n2\n3\n", stderr = "", status = 0 },
        command.run(with(source, "--timeout", "4")))
    end)

    it("with 3 when Kafka fails", function()
      local shop = reading.broker { t = 1 }
      assert(shop:topic_error("t", "TOPIC_AUTHORIZATION_FAILED"))
      local result = run("-b", shop:addresses(), "-t", "t")
      assert.equal(3, result.status)
      assert.matches("kafka%-history: TOPIC_AUTHORIZATION_FAILED: ", result.stderr)
      result = run("-b", shop:addresses(), "-t", "t", "-X", "security.protocol=ssl", "-X",
        "ssl.ca.location=/no/such/file")
      assert.equal(3, result.status)
      assert.matches("ssl.ca.location", result.stderr, 1, true)
    end)

    it("with the verdict and 130 on Ctrl-C, idle and in a handler that never returns", function()
      local source = with(words(topic(values(1, 3))), "--progress", "always")
      local running = command.start(source)
      running:await("stderr", "caught up: 3 messages of 1 partition in ")
      assert.equal("1\n2\n3\n", running:stdout())
      running:signal "INT"
      assert.equal(130, running:finish())
      assert.matches("\ninterrupted: 3 messages of 1 partition in ", running:stderr())

      running = command.start(with(source, "-e",
        "print 'in'; io.stderr:write 'in\\n'; while true do os.time() end"))
      running:await("stderr", "^in\n")
      running:signal "INT"
      assert.equal(130, running:finish())
      assert.matches("\ninterrupted: 0 messages ", running:stderr())
      assert.equal("in\n", running:stdout())
    end)

    it("at once on a second Ctrl-C", function()
      local file = command.file([[return { handle = function() end, close = function()
        io.stderr:write "closing\n"
        while true do end
      end }]], ".lua")
      local running = command.start(with(words(topic(values(1, 3))), "--progress", "always", file))
      running:await("stderr", "caught up")
      running:signal "INT"
      running:await("stderr", "closing")
      running:signal "INT"
      assert.equal(130, running:finish()) -- as the shell says it of a process that SIGINT has ended
    end)
  end)

  describe("writes", function()
    local many
    before_each(function() many = command.line(words(topic(values(1, 20000)))) end)

    it("no more when nobody reads, and says nothing about that", function()
      for _, before in ipairs { "", "trap '' PIPE; " } do
        local script = command.file(before .. many .. " | head -n 1; echo ${PIPESTATUS[@]}")
        assert.equal("1\n141 0\n", child.output("bash " .. script .. " 2>&1"))
      end
    end)

    it("that its output cannot be written, and ends with 4", function()
      for _, code in ipairs { "", " -e 'print(msg.value)'", " -e 'io.write(msg.value, \"\\n\")'", " -c 3" } do
        assert.equal("kafka-history: stdout cannot be written: No space left on device\n4\n",
          child.output(many .. code .. " 2>&1 >/dev/full; echo $?"), code)
      end
    end)

    it("live messages as they come, without waiting for more", function()
      local shop = reading.broker { t = 1 }
      assert(shop:produce("t", "history"))
      local running = command.start { "-b", shop:addresses(), "-t", "t", "-X", "fetch.wait.max.ms=10" }
      running:await("stdout", "^history\n$")
      for i = 1, 3 do
        assert(shop:produce("t", "live " .. i))
        running:await("stdout", "live " .. i .. "\n$")
      end
      assert.equal("", running:stderr())
    end)
  end)

  it("--watch runs what a file has become from the start, with nothing left of what was", function()
    local file = command.file("n = (n or 0) + 1; return function(msg) print('first', n, msg.value) end",
      ".lua")
    local running = command.start(with(words(topic(values(1, 2))), "--watch", file))
    running:await("stdout", "first\t1\t1\nfirst\t1\t2\n")
    command.write(file, "n = (n or 0) + 1; return function(msg) print('second', n, msg.value) end")
    running:await("stdout", "second\t1\t1\nsecond\t1\t2\n")
    command.write(file, "return function(")
    running:await("stderr", "expected.*\nkafka%-history: waiting for .* to change\n")
    command.write(file, "return function(msg) error 'odd' end")
    running:await("stderr", "the handler failed at t%[0%], offset 0: .*odd.*waiting for ")
    command.write(file, "return function(msg) print('last', msg.value) end")
    running:await("stdout", "last\t1\nlast\t2\n")
    running:signal "INT"
    assert.equal(130, running:finish())
    assert.equal("first\t1\t1\nfirst\t1\t2\nsecond\t1\t1\nsecond\t1\t2\nlast\t1\nlast\t2\n", running:stdout())
  end)

  it("takes brokers and properties from a file, and from the command line before that", function()
    local shop = assert(reading.keep(broker.new { topics = { t = 1 } }))
    assert(shop:produce("t", { "1", "2" }))
    local config = command.file(("# a comment\n! another\n\nbootstrap.servers = %s\r\nclient.id=me\n"
      .. "fetch.wait.max.ms=10\n"):format(shop:addresses()))
    local result = run("--config", config, "-t", "t", "--until", "caught-up")
    assert.same({ stdout = "1\n2\n", stderr = "", status = 0 }, result)
    result = run("-F", config, "-t", "t", "-b", "127.0.0.1:1", "--timeout", "0.3")
    assert.equal(124, result.status)
    result = run("-X", "bootstrap.servers=" .. shop:addresses(), "-t", "t", "--until", "caught-up")
    assert.equal("1\n2\n", result.stdout)
  end)

  it("takes the fast build of a checkout, unless the plain one is newer", function()
    local lua = child.interpreter()
    local out = lua:find "luajit" and "luajit/" or ""
    local top = child.output "mktemp -d":match "%S+"
    local function sh(line) return (child.output("cd " .. top .. " && { " .. line .. "; } 2>&1")) end
    local here = child.output "pwd":match "%S+"
    sh(("ln -s %s/lua lua && mkdir -p bin build/%skafka_history build/mimalloc/%skafka_history && "
      .. "cp %s/bin/kafka-history bin/ && cp %s/build/%skafka_history/core.so build/%skafka_history/ && "
      .. "cp build/%skafka_history/core.so build/mimalloc/%skafka_history/"):format(here, out, out, here,
      here, out, out, out, out))
    command.write(top .. "/t.jsonl", "1\n")
    local line = ("env -u LUA_PATH -u LUA_CPATH KAFKA_HISTORY_LUA=%s bin/kafka-history --embedded t.jsonl "
      .. "-c 1 "
      .. "-e 'for l in io.lines \"/proc/self/maps\" do local p = l:match \"build/.*core%%.so\"; "
      .. "if p then print(p) return end end'"):format(lua)
    local fast, plain = ("build/mimalloc/%skafka_history/core.so"):format(out),
      ("build/%skafka_history/core.so"):format(out)
    sh(("touch -d 2020-01-01 %s"):format(plain))
    assert.equal(fast .. "\n", sh(line))
    sh(("touch -d 2020-01-01 %s && touch %s"):format(fast, plain))
    assert.equal(plain .. "\n", sh(line))
    sh(("rm %s"):format(fast))
    assert.equal(plain .. "\n", sh(line))
    sh(("rm %s"):format(plain))
    assert.matches("is not built for this Lua", sh(line))
    os.execute("rm -rf " .. top)
  end)
end)
