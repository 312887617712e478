-- kafka_history.view: the latest value of each key. The expectations are of a naive model: a Lua table that
-- is filled with what is sent.
local core = require "kafka_history.core"
local reading = require "support.reading"
local view = require "kafka_history.view"
local watchdog = require "support.watchdog"

local to_caught_up = { stop_at = "caught_up", timeout = 20 }

describe("a view", function()
  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  local function view_of(of, topics, more)
    return (assert(reading.keep(view.new(reading.config(of, topics, more)))))
  end

  -- A broker whose topic "t" has these messages, and a view of it, read to the end of history.
  local function of_messages(messages, more)
    local of = reading.broker { t = 1 }
    if messages[1] then assert(of:produce("t", messages)) end
    local made = view_of(of, "t", more)
    assert.is_true(made:read(to_caught_up))
    return made, of
  end

  -- What it holds of a topic, as a table.
  local function contents(made, topic)
    local found, count = {}, 0
    for key, value in made:pairs(topic) do
      assert.is_nil(found[key])
      found[key], count = value, count + 1
    end
    assert.equal(count, made:len(topic))
    return found
  end

  -- Reads live until the condition holds.
  local function read_until(made, condition)
    local _, err, code = made:read { timeout = 20, tick = 0.01, on_tick = function(same)
      assert.equal(made, same)
      if condition() then same:cancel() end
    end }
    if code ~= "CANCELLED" then error("the condition did not come to hold: " .. tostring(err), 2) end
  end

  describe("of a topic", function()
    it("has the latest value of each key, without those that have a tombstone, whatever the batch", function()
      local of = reading.broker { t = 4 }
      local messages, model = {}, {}
      for i = 1, 6000 do
        local key = "key " .. i * 7919 % 1000
        local value = i % 11 > 0 and ("v"):rep(i % 200) .. i or nil
        messages[i] = { key = key, value = value }
        model[key] = value
      end
      assert(of:produce("t", messages))
      for _, batch in ipairs { 1, 500, 10000 } do
        local made = view_of(of, "t")
        assert.is_true(made:read { stop_at = "caught_up", batch = batch, timeout = 20 })
        assert.same(model, contents(made))
        for key, value in pairs(model) do assert.equal(value, made:get(key)) end
        assert.equal(6000, made:progress().messages)
      end
    end)

    it("tells an empty value from none, and takes keys and values of any bytes, empty ones too", function()
      local made = of_messages {
        { key = "", value = "of the empty key" }, { key = "empty", value = "" },
        { key = "gone", value = "1" },
        { key = "gone" }, { key = "never" }, { key = "a\0b", value = "\0\255\0" }, { key = "a", value = "A" },
      }
      assert.equal("of the empty key", made:get "")
      assert.equal("", made:get "empty")
      assert.is_nil(made:get "gone")
      assert.is_nil(made:get "never")
      assert.equal("\0\255\0", made:get "a\0b")
      assert.equal("A", made:get "a")
      assert.equal(4, #made)
    end)

    it("has nothing at first, and of an empty topic", function()
      local of = reading.broker { t = 1 }
      local made = view_of(of, "t")
      assert.same({ 0, nil }, { #made, (made:get "a") })
      assert.is_true(made:read(to_caught_up))
      assert.same({}, contents(made))
    end)

    it("counts messages without a key, and keeps none of them", function()
      local made = of_messages { { value = "1" }, { key = "a", value = "2" }, { value = "3" }, {} }
      assert.same({ a = "2" }, contents(made))
      local progress = made:progress()
      assert.same({ 3, 1, 4, 4 }, { progress.without_key, progress.keys, progress.messages, progress.read })
    end)

    it("has a key that is in two partitions once", function()
      local of = reading.broker { t = 2 }
      assert(of:produce("t", { { key = "a", value = "1", partition = 0 } }))
      local made = view_of(of, "t")
      assert.is_true(made:read(to_caught_up))
      assert(of:produce("t", { { key = "a", value = "2", partition = 1 } }))
      read_until(made, function() return made:get "a" == "2" end)
      assert.same({ a = "2" }, contents(made))
      assert.equal(1, made:message("a").partition)
    end)

    it("hands out the whole message of a value", function()
      local headers = { { name = "h", value = "1" }, { name = "n" }, { name = "h", value = "2" } }
      local made = of_messages { { key = "a", value = "old" }, { key = "b", value = "2" },
        { key = "a", value = "new", timestamp = 1000000000123, headers = headers } }
      local msg = made:message "a"
      assert.same({ "t", 0, 2, 1000000000123, "create_time", "a", "new" }, { msg.topic, msg.partition,
        msg.offset, msg.timestamp, msg.timestamp_type, msg.key, msg.value })
      assert.same(headers, msg.headers)
      assert.equal('t[0]@2 "a" = "new"', tostring(msg))
      assert.is_nil(made:message "c")
      made:close()
      assert.equal("new", msg:data())
    end)

    it("can be looked at while it is built, and is kept live", function()
      local of = reading.broker { t = 1 }
      assert(of:produce("t", { { key = "a", value = "1" }, { key = "b", value = "1" } }))
      local made = view_of(of, "t")
      assert.equal(1, select(1, made:step { batch = 1 }) + (reading.becomes(function()
        return #made == 1 or made:step { batch = 1 } and #made == 1
      end) and 1 or 0))
      assert.equal("1", made:get "a")
      assert.is_nil(made:get "b")
      assert.is_false(made:caught_up():is_ready())
      read_until(made, function() return made:caught_up():is_ready() end)
      assert(of:produce("t", { { key = "a", value = "2" }, { key = "b" }, { key = "c", value = "3" } }))
      read_until(made, function() return made:get "c" end)
      assert.same({ a = "2", c = "3" }, contents(made))
    end)
  end)

  describe("of two topics", function()
    local made

    before_each(function()
      local of = reading.broker { t = 1, u = 2 }
      assert(of:produce("t", { { key = "a", value = "t" }, { key = "b", value = "t" } }))
      assert(of:produce("u", { { key = "a", value = "u" } }))
      made = view_of(of, { "t", "u" })
      assert.is_true(made:read(to_caught_up))
    end)

    it("has a table for each", function()
      assert.same({ "t", "u" }, { made:get("a", "t"), (made:get("a", "u")) })
      assert.same({ "t", nil }, { made:get("b", "t"), (made:get("b", "u")) })
      assert.equal("u", made:message("a", "u").topic)
      assert.same({ a = "t", b = "t" }, contents(made, "t"))
      assert.same({ a = "u" }, contents(made, "u"))
      assert.same({ 3, 2, 1 }, { #made, made:len "t", made:len "u" })
    end)

    it("must be told which", function()
      for _, method in ipairs { "get", "message" } do
        assert.matches("view_spec.lua:%d+: " .. method .. ": this view has 2 topics: say which",
          reading.raised(function() made[method](made, "a") end))
      end
      assert.matches("pairs: this view has 2 topics", reading.raised(function() made:pairs() end))
      assert.matches('get: this view has no topic "v"', reading.raised(function() made:get("a", "v") end))
      assert.matches("get: expected a topic's name, got a number",
        reading.raised(function() made:get("a", 1) end))
    end)
  end)

  describe("used wrongly", function()
    local made

    before_each(function() made = of_messages { { key = "a", value = "1" } } end)

    it("refuses keys that are no strings", function()
      for _, key in ipairs { 1, true, {} } do
        assert.matches("view_spec.lua:%d+: get: expected a key, a string, got a " .. type(key),
          reading.raised(function() made:get(key) end))
      end
      assert.matches("get: expected a key, a string, got nil",
        reading.raised(function() made:get(nil) end))
      assert.matches("message: expected a key, a string", reading.raised(function() made:message {} end))
    end)

    it("takes its one topic's name, and no other", function()
      assert.equal("1", made:get("a", "t"))
      assert.matches('pairs: this view has no topic "u"', reading.raised(function() made:pairs "u" end))
      assert.matches('len: this view has no topic "u"', reading.raised(function() made:len "u" end))
      assert.matches("len: expected a topic's name, got a number", reading.raised(function() made:len(1) end))
    end)

    it("names options that it does not know or take, at the caller's line", function()
      for given, expected in pairs {
        [{ fields = { "key" } }] = "read: there is no option string \"fields\"",
        [{ max_bytes = 0 }] = "read: max_bytes: expected a number of bytes, 1 or more, got number 0",
        [{ stop_at = "end" }] = "read: stop_at: expected \"caught_up\"",
      } do
        local err = reading.raised(function() made:read(given) end)
        assert.matches("view_spec.lua:%d+: " .. expected, err)
      end
      assert.matches("view_spec.lua:%d+: step: there is no option", reading.raised(function()
        made:step { timeout = 1 }
      end))
      assert.matches("view_spec.lua:%d+: on_change: expected a function, got number 1",
        reading.raised(function() made:on_change(1) end))
    end)

    it("refuses a configuration as history.new does, at the caller's line", function()
      for given, expected in pairs {
        [{ addresses = "x", topics = "t", colour = 1 }] = "new: colour: there is no such key",
        [{ addresses = "x" }] = "new: topics",
        [{ addresses = "x", topics = "t", worker = 0 }] = "new: worker: a view is of the worker",
        [{ addresses = "x", topics = { "t", "u" }, consumer_group = "g" }] = "new: topics: a view in a group",
      } do
        assert.matches("view_spec.lua:%d+: " .. expected, reading.raised(function() view.new(given) end))
      end
      assert.matches("new: expected a table", reading.raised(function() view.new "x" end))
      local none, err, code = view.new { addresses = "x", topics = "t",
        options = { ["security.protocol"] = "ssl", ["ssl.ca.location"] = "/nowhere" } }
      assert.is_nil(none)
      assert.matches("^" .. code .. ": ", err)
    end)

    it("refuses to be read while it is", function()
      local err
      made:read { timeout = 20, tick = 0.01, on_tick = function()
        err = reading.raised(function() made:read() end)
        made:cancel()
      end }
      assert.matches("view_spec.lua:%d+: read: this consumer is being read already", err)
    end)
  end)

  describe("has on_change", function()
    it("called after the signal only, with what was and what is, for each change in order", function()
      local of = reading.broker { t = 1 }
      assert(of:produce("t", { { key = "a", value = "1" }, { key = "a", value = "2" } }))
      local made = view_of(of, "t")
      local changes = {}
      assert.is_true(made:on_change(function(key, new, old, topic)
        assert.is_true(made:caught_up():is_ready())
        assert.equal(new, made:get(key))
        changes[#changes + 1] = { key, new or "none", old or "none", topic }
      end))
      assert.is_true(made:read(to_caught_up))
      assert(of:produce("t", { { key = "b", value = "1" }, { key = "a", value = "3" }, { value = "no key" },
        { key = "never" }, { key = "a", value = "3" }, { key = "b" }, { key = "end", value = "" } }))
      read_until(made, function() return made:get "end" end)
      assert.same({
        { "b", "1", "none", "t" }, { "a", "3", "2", "t" }, { "a", "3", "3", "t" }, { "b", "none", "1", "t" },
        { "end", "", "none", "t" },
      }, changes)
    end)

    it("whose error ends the call, the change being made and the message consumed", function()
      local made, of = of_messages { { key = "a", value = "1" } }
      local cause = {}
      made:on_change(function() error(cause) end)
      assert(of:produce("t", { { key = "a", value = "2" }, { key = "a", value = "3" } }))
      local ok, err, code, raised = made:read { timeout = 10 }
      assert.same({ nil, "CALLBACK", cause }, { ok, code, raised })
      assert.matches("^CALLBACK: on_change raised an error: ", err)
      assert.equal("2", made:get "a")
      local changes = {}
      made:on_change(function(_, new, old) changes[#changes + 1] = old .. new end)
      read_until(made, function() return made:get "a" == "3" end)
      assert.same({ "23" }, changes)
      assert.equal(3, made:progress().messages)
    end)

    it("that may be taken away, cancel, close and yield", function()
      local made, of = of_messages {}
      local count = 0
      made:on_change(function()
        count = count + 1
        made:on_change(nil)
      end)
      assert(of:produce("t", { { key = "a", value = "1" }, { key = "b", value = "1" } }))
      read_until(made, function() return made:get "b" end)
      assert.equal(1, count)
      made:on_change(function() made:cancel() end)
      assert(of:produce("t", { { key = "a", value = "2" }, { key = "b", value = "2" } }))
      assert.equal("CANCELLED", select(3, made:read { timeout = 10 }))
      assert.same({ "2", "1" }, { made:get "a", (made:get "b") })
      local reader = coroutine.wrap(function() return made:read { timeout = 10 } end)
      made:on_change(function(key) coroutine.yield(key) end)
      assert.equal("b", reader())
      assert.equal("2", made:get "b")
      made:close()
      assert.equal("2", made:get "b")
      assert.equal("CLOSED", select(3, reader()))
      assert.is_nil(made:get "b")
    end)
  end)

  describe("walked by pairs while it changes", function()
    it("shows each key that stays once, none that went, and the values that are", function()
      local messages = {}
      for i = 1, 2000 do messages[i] = { key = tostring(i), value = "old" } end
      local made, of = of_messages(messages)
      local seen, count = {}, 0
      for key, value in made:pairs() do
        assert.is_nil(seen[key])
        seen[key], count = value, count + 1
        if count == 1000 then
          -- Removed: the next ones, and some of both halves; larger: so that they move; and many new ones.
          local changes = {}
          for i = 990, 1010 do changes[#changes + 1] = { key = tostring(i) } end
          for i = 1, 2000 do
            if i < 990 or i > 1010 then
              changes[#changes + 1] = { key = tostring(i), value = ("new"):rep(100) }
            end
          end
          for i = 2001, 6000 do changes[#changes + 1] = { key = tostring(i), value = "new" } end
          changes[#changes + 1] = { key = "end", value = "" }
          assert(of:produce("t", changes))
          read_until(made, function() return made:get "end" end)
        end
      end
      for i = 1, 2000 do
        local value = seen[tostring(i)]
        if i <= 1000 then
          assert.equal("old", value)
        elseif i <= 1010 then
          assert.is_nil(value)
        else
          assert.equal(("new"):rep(100), value)
        end
      end
      assert.same({ 5980, 5980 }, { #made, (function()
        local n = 0
        for _ in made:pairs() do n = n + 1 end
        return n
      end)() })
    end)

    it("shows the same to several walks, whatever changes at random between their turns", function()
      local seed = tonumber(os.getenv "KH_SEED") or os.time()
      local function context() return "KH_SEED=" .. seed end
      math.randomseed(seed)
      local made, of = of_messages {}
      local model, rounds, walks = {}, 0, {}

      local function change()
        local messages = {}
        for i = 1, 150 do
          local key, value = tostring(math.random(200)), ("v"):rep(math.random(300)) .. i
          if math.random(3) == 1 then value = nil end
          messages[i] = { key = key, value = value }
          model[key] = value
          for _, walk in ipairs(walks) do
            if not value then walk.stays[key] = nil end
          end
        end
        rounds = rounds + 1
        messages[#messages + 1] = { key = "round", value = tostring(rounds) }
        model.round = tostring(rounds)
        assert(of:produce("t", messages))
        read_until(made, function() return made:get "round" == tostring(rounds) end)
      end

      local function turn(walk)
        for _ = 1, math.random(40) do
          local key, value = walk.next()
          if not key then
            walk.is_over = true
            return
          end
          if walk.seen[key] and walk.stays[key] then error(context() .. ": twice: " .. key) end
          if model[key] ~= value then error(context() .. ": not the value of " .. key) end
          walk.seen[key] = true
        end
      end

      change()
      for _ = 1, 25 do
        local walk = { next = made:pairs(), seen = {}, stays = {} }
        for key in pairs(model) do walk.stays[key] = true end
        walks[#walks + 1] = walk
        change()
        for _, each in ipairs(walks) do
          if not each.is_over then turn(each) end
        end
      end
      for _, walk in ipairs(walks) do
        while not walk.is_over do turn(walk) end
        for key in pairs(walk.stays) do
          if not walk.seen[key] then error(context() .. ": not met: " .. key) end
        end
      end
      assert.same(model, contents(made))
    end)

    it("ends when it is closed, and may be left, also for the collector", function()
      local made = of_messages { { key = "a", value = "1" }, { key = "b", value = "1" },
        { key = "c", value = "1" } }
      for _ = 1, 100 do
        for key in made:pairs() do -- luacheck: ignore 512
          assert.equal("a", key)
          break
        end
      end
      collectgarbage()
      local walk, left = made:pairs(), made:pairs()
      assert.same({ "a", "1" }, { walk() })
      left()
      made:close()
      assert.is_nil(walk())
      assert.is_nil(left())
      assert.is_nil(made:pairs()())
    end)
  end)

  describe("with max_bytes", function()
    it("ends with an error when the table would take more, and goes on with a larger one", function()
      local of = reading.broker { t = 1 }
      local messages = {}
      for i = 1, 1000 do messages[i] = { key = tostring(i), value = ("x"):rep(100) } end
      assert(of:produce("t", messages))
      local made = view_of(of, "t")
      local latch = made:caught_up()
      local ok, err, code = made:read { stop_at = "caught_up", timeout = 20, max_bytes = 50000 }
      assert.same({ nil, "MAX_BYTES" }, { ok, code })
      assert.matches("^MAX_BYTES: t%[0%]@%d+: .* max_bytes, 50000; raise that", err)
      assert.equal("failed", latch:state())
      local progress = made:progress()
      assert.is_true(progress.kept_bytes <= 50000 and progress.kept_bytes > 40000)
      assert.equal(progress.keys, progress.messages)
      assert.equal("MAX_BYTES", select(3, made:step { max_bytes = 50000 }))
      assert.is_true(made:read { stop_at = "caught_up", timeout = 20, max_bytes = 1e9 })
      assert.equal(1000, #made)
      assert.equal("caught_up", latch:state())
    end)

    it("bounds what comes live as well, before on_change is called", function()
      local made, of = of_messages { { key = "a", value = "1" } }
      local count = 0
      made:on_change(function() count = count + 1 end)
      assert(of:produce("t", { { key = "b", value = "2" }, { key = "c", value = ("x"):rep(5000) } }))
      assert.equal("MAX_BYTES", select(3, made:read { timeout = 20, max_bytes = 5000 }))
      assert.same({ 1, "2", nil }, { count, made:get "b", (made:get "c") })
      local handled, deadline = 0, reading.now() + 20
      while handled == 0 and reading.now() < deadline do handled = assert(made:step()) end
      assert.same({ 2, 5000 }, { count, #made:get "c" })
      assert.is_true(made:caught_up():is_ready())
    end)

    it("counts what is kept, not what was read", function()
      local of = reading.broker { t = 1 }
      local messages = {}
      for i = 1, 5000 do messages[i] = { key = tostring(i % 10), value = ("x"):rep(i % 100) } end
      for i = 0, 9 do messages[#messages + 1] = i % 2 == 0 and { key = tostring(i) } or nil end
      assert(of:produce("t", messages))
      local made = view_of(of, "t")
      assert.is_true(made:read { stop_at = "caught_up", timeout = 20, max_bytes = 10000 })
      assert.is_true(made:progress().kept_bytes < 5000)
    end)

    it("frees what it has kept with each tombstone", function()
      local made, of = of_messages { { key = "a", value = ("x"):rep(1000) }, { key = "b", value = "1" } }
      assert.is_true(made:progress().kept_bytes > 1000)
      assert(of:produce("t", { { key = "a" }, { key = "b" } }))
      read_until(made, function() return #made == 0 end)
      assert.equal(0, made:progress().kept_bytes)
    end)
  end)

  describe("driven by step", function()
    it("reads everything with nothing but step, pollfd and timeout, and never blocks", function()
      local of = reading.broker { t = 2 }
      local messages = {}
      for i = 1, 3000 do messages[i] = { key = tostring(i % 100), value = tostring(i) } end
      assert(of:produce("t", messages))
      local made = view_of(of, "t")
      assert.same({ "number", "r" }, { type(made:pollfd()), (made:events()) })
      local handled, deadline = 0, reading.now() + 20
      while not made:caught_up():is_ready() and reading.now() < deadline do
        local count, more = made:step { batch = 100 }
        assert.is_true(count <= 100)
        handled = handled + count
        if not more then core.consumer.wait(core.view.shared(made).consumer, 0.1) end
      end
      assert.same({ 3000, 100 }, { handled, #made })
      assert.is_true(made:timeout() == nil or made:timeout() >= 0)
    end)
  end)

  describe("once closed", function()
    it("says so, close is idempotent, progress still answers", function()
      local made = of_messages { { key = "a", value = "1" } }
      assert.is_true(made:close())
      assert.is_true(made:close())
      for _, method in ipairs { "get", "message", "read", "step", "caught_up", "cancel", "pollfd", "events",
        "timeout" } do
        local _, word, code = made[method](made, method:find "^[gm]" and "a" or nil)
        assert.same({ method, "closed", "CLOSED" }, { method, word, code })
      end
      local progress = made:progress()
      assert.same({ "closed", 0, 1 }, { progress.state, progress.keys, progress.messages })
      assert.equal(0, #made)
      assert.matches("^kafka_history.view: .*%(closed%)$", tostring(made))
    end)

    it("is closed from a tick too, and releases those that wait", function()
      local of = reading.broker { t = 1 }
      local made = view_of(of, "t")
      local latch = made:caught_up()
      assert(of:down(1))
      assert.equal("CLOSED", select(3, made:read { timeout = 20, tick = 0.01,
        on_tick = function(same) same:close() end }))
      assert.equal("closed", latch:state())
    end)

    it("or left to the collector leaves nothing", function()
      local of = reading.broker { t = 1 }
      assert(of:produce("t", { { key = "a", value = "1" } }))
      local config = reading.config(of, "t")
      local fds, threads = reading.resources()
      reading.apart(function()
        for i = 1, 10 do
          local made = assert(view.new(config))
          assert.is_true(made:read(to_caught_up))
          local walk = made:pairs()
          assert.equal("a", walk())
          if i % 2 == 0 then made:close() end
        end
      end)
      assert.is_true(reading.is_as_before(fds, threads))
    end)

    it("at the end of its block, where Lua has <close>", function()
      local load_text = rawget(_G, "loadstring") or load
      local chunk = load_text("local made <close> = ...; return #made")
      if not chunk then return end -- LuaJIT
      local made = of_messages { { key = "a", value = "1" } }
      assert.equal(1, chunk(made))
      assert.equal("CLOSED", select(3, made:read()))
    end)
  end)

  it("reads nothing before it is read, and from where its configuration says", function()
    local of = reading.broker { t = 1 }
    assert(of:produce("t", { { key = "a", value = "1" }, { key = "b", value = "2" },
      { key = "c", value = "3" } }))
    local made = view_of(of, "t", { start = { last = 2 } })
    assert.equal(0, #made)
    assert.is_true(made:read(to_caught_up))
    assert.same({ b = "2", c = "3" }, contents(made))
  end)

  it("has the errors of a consumer", function()
    local made = assert(reading.keep(view.new {
      addresses = "127.0.0.1:1", topics = "t", start_timeout = 0.3 }))
    local latch = made:caught_up()
    local ok, err, code = made:read { timeout = 20 }
    assert.is_nil(ok)
    assert.matches("^" .. code .. ": ", err)
    assert.equal("failed", latch:state())
    local other = view_of(reading.broker { t = 1 }, "t")
    assert.same({ nil, "timeout", "TIMEOUT" }, { other:read { timeout = 0.05 } })
  end)
end)
