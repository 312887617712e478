-- Mistakes: each is named at once, with what was given and what is allowed; secrets never are.
local history = require "kafka_history"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local raised = reading.raised

local nan = 0 / 0
local huge = math.huge

local function nothing() end

-- A configuration that is right but for what is given.
local function config(more)
  local all = { addresses = "127.0.0.1:1", topics = "t" }
  for key, value in pairs(more) do
    all[key] = value
  end
  return all
end

-- The error that new() raises; nothing else may come of it.
local function refused(given)
  local ok, err = pcall(history.new, given)
  if ok then error("new() took it", 2) end
  assert.equal("string", type(err))
  assert.matches("^[^\n]+$", err)
  return err
end

local function accepted(given)
  local consumer, err = history.new(given)
  if not consumer then error(err, 2) end
  assert.is_true(consumer:close())
end

local function with_options(options) return config { options = options } end

-- Of every type, none of them a string or an array of strings.
local no_strings = {
  true, false, 1, 0, -1, 1.5, nan, huge, print, coroutine.create(print), io.stdout, {},
  { 1 }, { true }, { {} }, { "a", 2 }, { "a", nil, "c" }, { [2] = "b" }, { [0] = "a" }, { a = "b" },
  { "a", a = "b" }, { "a", [1.5] = "b" }, { [1] = "a", [1e15] = "b" }, { "a\0b" }, { { "a" } }, "a\0b", "\0",
}

describe("a configuration", function()
  before_each(watchdog.start)
  after_each(reading.clean)
  after_each(watchdog.stop)

  it("is a table", function()
    for _, given in ipairs { false, true, 1, "x", print, io.stdout } do
      assert.matches("expected a table", refused(given))
    end
    assert.matches("expected a table.*got nil", raised(history.new))
  end)

  it("has addresses and topics at least", function()
    assert.matches("addresses: missing", refused {})
    assert.matches("addresses: missing", refused { topics = "t" })
    assert.matches("topics: missing", refused { addresses = "a" })
    accepted { addresses = "127.0.0.1:1", topics = "t" }
  end)

  it("is left as it was, and may be used again", function()
    local options = { ["fetch.min.bytes"] = 1 }
    local topics, addresses = { "a", "b" }, { "127.0.0.1:1" }
    local given = { addresses = addresses, topics = topics, options = options, on_event = nothing,
      on_log = nothing, client_id = "c" }
    for _ = 1, 3 do accepted(given) end
    assert.same({ addresses = { "127.0.0.1:1" }, topics = { "a", "b" }, options = { ["fetch.min.bytes"] = 1 },
      on_event = nothing, on_log = nothing, client_id = "c" }, given)
    assert.is_true(rawequal(options, given.options) and rawequal(topics, given.topics))
  end)

  it("raises at the line that calls new", function()
    for _, given in ipairs { {}, config { on_log = 1 }, 7 } do
      assert.matches("configuration_spec.lua:%d+: new: ", raised(function() history.new(given) end))
    end
  end)

  it("has no other keys than those that there are", function()
    for _, key in ipairs { "adresses", "topic", "", "Topics", "group.id", "bootstrap.servers", "value\0" } do
      local err = refused(config { [key] = "x" })
      assert.is_truthy(err:find((key:gsub("%z.*", "")), 1, true), err)
    end
    assert.matches("no such key", refused(config { topic = "x" }))
  end)

  it("with a key that there is not says which one is near", function()
    for given, meant in pairs {
      cliend_id = "client_id", adresses = "addresses", topic = "topics", ["client.id"] = "client_id",
      on_even = "on_event", option = "options", stall_timout = "stall_timeout",
    } do
      assert.matches(('%s: there is no such key; did you mean "%s"?'):format(given, meant),
        refused(config { [given] = "x" }), 1, true)
    end
    assert.is_nil(refused(config { colour = "x" }):find("did you mean", 1, true))
  end)

  it("has names as keys", function()
    for _, key in ipairs { 1, 1.5, true, print, {} } do
      assert.matches("expected names as keys", refused(config { [key] = "x" }))
    end
    assert.matches("NUL", refused(config { ["topics\0x"] = "u" }))
    assert.matches("NUL", refused(config { ["\0"] = "u" }))
  end)

  describe("for addresses", function()
    it("takes a string, or an array of strings", function()
      accepted(config { addresses = "127.0.0.1:1" })
      accepted(config { addresses = "127.0.0.1:1,127.0.0.1:2" })
      accepted(config { addresses = { "127.0.0.1:1" } })
      accepted(config { addresses = { "127.0.0.1:1", "127.0.0.1:2" } })
    end)

    it("takes nothing else", function()
      for i = 1, #no_strings do
        assert.matches("addresses: expected an array", refused(config { addresses = no_strings[i] }))
      end
      for _, empty in ipairs { "", " ", ",", " , ", { "" }, { "127.0.0.1:1", "" }, { " " } } do
        assert.matches("addresses: .*empty", refused(config { addresses = empty }))
      end
    end)
  end)

  describe("for topics", function()
    it("takes a name, or an array of names", function()
      accepted(config { topics = "t" })
      accepted(config { topics = { "a", "b.c", "D_-9", ("x"):rep(249) } })
    end)

    it("takes nothing else", function()
      for i = 1, #no_strings do
        assert.matches("topics: ", refused(config { topics = no_strings[i] }))
      end
      for _, name in ipairs { "", " ", "a b", "a/b", "a,b", "ä", ("x"):rep(250), "a\t" } do
        for _, given in ipairs { name, { name }, { "t", name } } do
          assert.is_truthy(refused(config { topics = given }):find("topics: ", 1, true))
        end
      end
    end)

    it("takes no regular expression, and says so", function()
      assert.matches("topics: .*regular expression", refused(config { topics = "^t.*" }))
      assert.matches("topics: .*regular expression", refused(config { topics = { "t", "^" } }))
    end)

    it("takes none twice", function()
      assert.matches('topics: "a" is named twice', refused(config { topics = { "a", "b", "a" } }))
    end)
  end)

  for _, key in ipairs { "client_id", "version" } do
    it("for " .. key .. " takes a string that is not empty, and nothing else", function()
      accepted(config { [key] = "2.8.0" })
      for i = 1, #no_strings do
        assert.matches(key .. ": expected", refused(config { [key] = no_strings[i] }))
      end
      assert.matches(key .. ": expected", refused(config { [key] = "" }))
      assert.matches(key .. ": expected.*got an array", refused(config { [key] = { "2.8.0" } }))
    end)
  end

  it("for version takes a number of a version only", function()
    for _, version in ipairs { "2.8.0", "0.10.0", "3.7", "4" } do accepted(config { version = version }) end
    for _, version in ipairs { "banana", "v2.8", "2.8-x", ".1", " 2.8" } do
      local err = refused(config { version = version })
      assert.matches('version: .*as in "2.8.0"', err)
      assert.is_truthy(err:find(version, 1, true))
    end
  end)

  for _, key in ipairs { "start_timeout", "stall_timeout" } do
    it("for " .. key .. " takes seconds above 0, without end too, and nothing else", function()
      for _, seconds in ipairs { 1, 0.5, 1e-9, 1e12, huge } do accepted(config { [key] = seconds }) end
      for _, given in ipairs { 0, -1, -0.001, -huge, nan, "1", "", true, false, print, {}, { 1 } } do
        assert.matches(key .. ": expected a number of seconds", refused(config { [key] = given }))
      end
    end)
  end

  it("for on_truncation takes error or continue, and nothing else", function()
    accepted(config { on_truncation = "error" })
    accepted(config { on_truncation = "continue" })
    for _, given in ipairs { "", "stop", "Error", "error\0", true, 1, print, {}, { "error" } } do
      local err = refused(config { on_truncation = given })
      assert.matches('on_truncation: expected "error" or "continue"', err)
    end
  end)

  for _, key in ipairs { "on_event", "on_log", "on_stats" } do
    it("for " .. key .. " takes what can be called, and nothing else", function()
      accepted(config { [key] = nothing })
      accepted(config { [key] = print })
      accepted(config { [key] = setmetatable({}, { __call = nothing }) })
      local uncallable = { true, false, 1, nan, "print", {}, coroutine.create(nothing), io.stdout,
        setmetatable({}, { __call = 1 }), setmetatable({}, { __metatable = "closed" }) }
      for _, given in ipairs(uncallable) do
        assert.matches(key .. ": expected a function", refused(config { [key] = given }))
      end
    end)
  end

  describe("for options", function()
    it("takes a table", function()
      accepted(with_options {})
      for _, given in ipairs { true, false, 1, "x", print, io.stdout } do
        assert.matches("options: expected a table", refused(with_options(given)))
      end
    end)

    it("takes names as keys", function()
      for _, key in ipairs { 1, 1.5, true, print, {} } do
        assert.matches("options: expected names as keys", refused(with_options { [key] = "x" }))
      end
      assert.matches("options: .*NUL", refused(with_options { ["fetch.min.bytes\0"] = 1 }))
    end)

    it("takes strings, numbers and booleans as values, whichever way librdkafka writes them", function()
      accepted(with_options { ["fetch.min.bytes"] = 2, ["socket.keepalive.enable"] = true,
        ["client.rack"] = "r" })
      accepted(with_options { ["fetch.min.bytes"] = "2", ["socket.keepalive.enable"] = "true" })
      accepted(with_options { ["fetch.min.bytes"] = 2.0, ["socket.keepalive.enable"] = false })
    end)

    it("takes no value of another type", function()
      for _, given in ipairs { {}, { 1 }, { "x" }, print, io.stdout, "a\0b" } do
        assert.matches('options%["client.rack"%]: expected a string, a number or a boolean',
          refused(with_options { ["client.rack"] = given }))
      end
    end)

    it("takes no property or value that librdkafka refuses, and says with its words why", function()
      local mistakes = {
        ["no.such.property"] = "x", [""] = "x", ["fetch.min.bytes"] = "many", ["fetch.wait.max.ms"] = -1,
        ["socket.timeout.ms"] = 1e15, ["heartbeat.interval.ms"] = nan, ["fetch.max.bytes"] = huge,
        ["isolation.level"] = "none", ["socket.keepalive.enable"] = "maybe", ["security.protocol"] = "",
        ["check.crcs"] = 7, ["log_level"] = "loud",
      }
      for property, value in pairs(mistakes) do
        local err = refused(with_options { [property] = value })
        assert.is_truthy(err:find(('options["%s"]: librdkafka says: '):format(property), 1, true), err)
      end
    end)

    it("says which property is near one that there is not, also of those without a default", function()
      for given, meant in pairs {
        ["security.protcol"] = "security.protocol", ["fetch.min.byte"] = "fetch.min.bytes",
        group_id = "group.id", ["sasl.passwordd"] = "sasl.password",
        ["auto.offest.reset"] = "auto.offset.reset",
      } do
        local err = refused(with_options { [given] = "hunter2" })
        assert.matches(('No such configuration property: "%s"; did you mean "%s"?'):format(given, meant),
          err, 1, true)
        assert.is_nil(err:find("hunter2", 1, true))
      end
      assert.is_nil(refused(with_options { ["no.such.property"] = "x" }):find("did you mean", 1, true))
    end)

    local owned = {
      "bootstrap.servers", "metadata.broker.list", "client.id", "broker.version.fallback",
      "enable.partition.eof", "enable.auto.offset.store", "auto.offset.reset", "enable.auto.commit",
      "auto.commit.enable", "auto.commit.interval.ms", "log.queue", "allow.auto.create.topics",
      "enabled_events",
    }
    for _, property in ipairs(owned) do
      it("does not take " .. property .. ", which is the engine's, and says what to do instead", function()
        for _, value in ipairs { "x", "true", "latest", 1, true } do
          local err = refused(with_options { [property] = value })
          assert.is_truthy(err:find(('options["%s"]: '):format(property), 1, true), err)
          assert.matches("engine's own; .+", err)
        end
      end)
    end

    it("takes a group.id of the caller's, which standalone reading does not use", function()
      local of = reading.broker { t = 1 }
      assert(of:produce("t", "1"))
      local options = { ["group.id"] = "mine", ["fetch.wait.max.ms"] = 10 }
      assert.same({ "1" }, reading.history(reading.consumer(of, "t", { options = options })))
    end)
  end)

  it("that only the making of a client finds wrong is nil, err, code", function()
    local mistakes = {
      { ["security.protocol"] = "ssl", ["ssl.ca.location"] = "/nonexistent/ca.pem" },
      { ["security.protocol"] = "ssl", ["ssl.key.location"] = "/nonexistent/key.pem" },
      { ["security.protocol"] = "ssl", ["ssl.certificate.location"] = "/nonexistent/certificate.pem" },
      { ["security.protocol"] = "sasl_plaintext", ["sasl.mechanism"] = "PLAIN" },
    }
    for _, options in ipairs(mistakes) do
      local consumer, err, code = history.new(with_options(options))
      assert.is_nil(consumer)
      assert.equal("string", type(code))
      assert.is_truthy(err:find(code .. ": ", 1, true) == 1, err)
      assert.is_true(#err > #code + 10)
    end
    assert.matches("ssl.ca.location", (select(2, history.new(with_options(mistakes[1])))))
  end)

  describe("shows no secret", function()
    local secret = "hunter2-and-more"
    local secrets = { "sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem",
      "ssl.certificate.pem", "ssl.ca.pem", "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret",
      "sasl.username" }

    local function hides(...)
      for i = 1, select("#", ...) do
        assert.is_nil(tostring((select(i, ...))):find("hunter2", 1, true), tostring((select(i, ...))))
      end
    end

    for _, property in ipairs(secrets) do
      it("in whatever becomes of " .. property, function()
        for _, protocol in ipairs { "plaintext", "ssl", "sasl_plaintext", "sasl_ssl", "nonsense" } do
          for _, name in ipairs { property, property .. "x", property:upper(), " " .. property } do
            for _, value in ipairs { secret, { secret }, { [secret] = secret }, secret .. "\0" } do
              local results = { pcall(history.new, with_options { [name] = value,
                ["security.protocol"] = protocol, ["sasl.mechanism"] = "PLAIN" }) }
              hides(results[2], results[3], results[4])
              if results[1] and results[2] then results[2]:close() end
            end
          end
        end
      end)
    end

    it("in errors, events and logs of a consumer that has some and cannot connect", function()
      local of = reading.broker { t = 1 } -- it speaks no SASL
      local told = {}
      local consumer = reading.consumer(of, "t", { start_timeout = 1,
        options = { ["security.protocol"] = "sasl_plaintext", ["sasl.mechanism"] = "PLAIN",
          ["sasl.username"] = "me", ["sasl.password"] = secret, debug = "all" },
        on_event = function(event) for _, value in pairs(event) do told[#told + 1] = tostring(value) end end,
        on_log = function(log) told[#told + 1] = log.text end })
      local ok, err, code = consumer:read_history(nothing, { timeout = 20 })
      assert.is_nil(ok)
      hides(err, code, consumer, consumer:caught_up())
      assert.is_true(#told > 0)
      for _, text in ipairs(told) do hides(text) end
    end)
  end)

  it("that fails leaves nothing behind, 300 times", function()
    local mistakes = {
      config { topics = { "a", "a" } }, config { on_event = 1 }, config { version = "x" },
      with_options { ["no.such.property"] = 1 }, with_options { ["fetch.min.bytes"] = "x" },
      with_options { ["security.protocol"] = "ssl", ["ssl.ca.location"] = "/nonexistent" },
    }
    for _, mistake in ipairs(mistakes) do pcall(history.new, mistake) end
    local fds, threads = reading.settled_resources()
    for i = 1, 300 do
      local ok, consumer = pcall(history.new, mistakes[1 + i % #mistakes])
      assert.is_true(not ok or consumer == nil)
    end
    assert.is_true(reading.is_as_before(fds, threads))
  end)
end)

describe("what a method is given", function()
  local consumer

  before_each(watchdog.start)
  before_each(function() consumer = assert(history.new(config {})) end)
  after_each(function() consumer:close() end)
  after_each(reading.clean)
  after_each(watchdog.stop)

  local uncallable = { true, false, 1, "print", {}, io.stdout, setmetatable({}, { __call = 1 }) }

  it("as the handler can be called", function()
    for _, name in ipairs { "read_history", "step" } do
      for _, handler in ipairs(uncallable) do
        assert.matches(name .. ": expected a handler", raised(consumer[name], consumer, handler))
      end
      assert.matches(name .. ": expected a handler", raised(consumer[name], consumer))
    end
  end)

  local function calls()
    return {
      read_history = function(opts) return consumer:read_history(nothing, opts) end,
      step = function(opts) return consumer:step(nothing, opts) end,
      messages = function(opts) return consumer:messages(opts) end,
    }
  end

  it("as options is a table", function()
    for name, call in pairs(calls()) do
      for _, given in ipairs { true, false, 1, "caught_up", print } do
        assert.matches(name .. ": expected a table of options", raised(call, given))
      end
    end
  end)

  it("as options has no unknown keys, nor those of other methods", function()
    for name, call in pairs(calls()) do
      for _, key in ipairs { "stopat", "", "retry", 1, true } do
        assert.matches(name .. ": there is no option", raised(call, { [key] = 1 }))
      end
    end
    assert.matches('there is no option string "stopat"; did you mean "stop_at"?',
      raised(calls().read_history, { stopat = "caught_up" }), 1, true)
    assert.matches('a message has no field string "ofset"; did you mean "offset"?',
      raised(calls().read_history, { fields = { "key", "ofset" } }), 1, true)
    for _, key in ipairs { "stop_at", "timeout", "on_tick", "tick" } do
      assert.matches("step: there is no option", raised(calls().step, { [key] = 1 }))
    end
    for _, key in ipairs { "fields", "on_error" } do
      assert.matches("messages: there is no option", raised(calls().messages, { [key] = 1 }))
    end
  end)

  local mistakes = {
    stop_at = { true, 1, "", "end", {}, print },
    timeout = { true, "1", -1, nan, -huge, {}, print },
    batch = { true, "1", 0, -1, 1.5, 10001, nan, huge, {}, print },
    tick = { true, "1", 0, -1, nan, huge, {}, print },
    on_tick = uncallable,
    fields = { true, 1, "key", {}, { 1 }, { "" }, { "kez" }, { "key", "x" }, { "key", false }, { a = "key" },
      { nil, "key" }, { [2] = "key" }, { "key", a = "value" }, { "data" }, print,
      { "key", "key", "key", "key", "key", "key", "key", "key", "key" } },
    on_error = { true, 1, "", "ignore", {}, { backoff = 1 }, { retry = -1 }, { retry = 1.5 }, { retry = "1" },
      { retry = nan }, { retry = huge }, { retry = 1, backoff = -1 }, { retry = 1, backoff = nan },
      { retry = 1, backoff = huge }, { retry = 1, backoff = "1" }, { retry = 1, then_what = "skip" },
      { "retry" } },
  }
  local takes = {
    read_history = { "stop_at", "timeout", "batch", "tick", "on_tick", "fields", "on_error" },
    messages = { "stop_at", "timeout", "batch", "tick", "on_tick" },
    step = { "batch", "fields", "on_error" },
  }
  for name, keys in pairs(takes) do
    it("as an option of " .. name .. " is of the right type and size", function()
      for _, key in ipairs(keys) do
        for i, value in ipairs(mistakes[key]) do
          local err = raised(calls()[name], { [key] = value })
          assert.is_truthy(err:find(name .. ": " .. key, 1, true), ("%s %d: %s"):format(key, i, err))
        end
      end
    end)
  end

  it("wrongly raises at the line of the call, and leaves the consumer usable", function()
    assert.matches("configuration_spec.lua:%d+: read_history: ",
      raised(function() consumer:read_history(1) end))
    assert.matches("configuration_spec.lua:%d+: read_history: ",
      raised(function() consumer:read_history(nothing, { batch = 0 }) end))
    assert.matches("configuration_spec.lua:%d+: step: ", raised(function() consumer:step(nothing, 1) end))
    assert.matches("configuration_spec.lua:%d+: messages: ", raised(function() consumer:messages(1) end))
    assert.equal("TIMEOUT", (select(3, consumer:read_history(nothing, { timeout = 0.01 }))))
  end)

  it("as self is a consumer", function()
    for _, name in ipairs { "read_history", "step", "messages", "caught_up", "progress", "cancel", "close",
      "pollfd", "events", "timeout" } do
      for _, stranger in ipairs { {}, "x", 1, io.stdout, consumer:caught_up() } do
        raised(consumer[name], stranger, nothing)
      end
      raised(consumer[name], nil, nothing)
    end
  end)
end)
