-- Security, on a real broker of this spec's own that asks for certificates and passwords and allows
-- nothing but what ACLs say: who may reads, who may not is told so at once, and no secret is ever shown.

local child = require "support.child"
local cluster = require "support.cluster"
local history = require "kafka_history"
local kafka = require "support.kafka"
local library = require "support.library"
local system = require "system"
local watchdog = require "support.watchdog"

local partitions, per_partition = 2, 300
local soon_s = 10
local missing_topic_s = 10

-- Before 2.6.1 librdkafka answers SCRAM with a nonce that Kafka 4 refuses (librdkafka #4895).
local function has_exact_scram()
  return library.is_at_least(2, 6, 1)
end

local function slurp(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

describe("security on a real broker", function()
  local broker, addresses, credentials
  local allowed, described, hidden -- topics: READ and DESCRIBE, DESCRIBE only, nothing
  local secrets = {}
  local heard = {} -- everything that came out
  local open = {}

  local function keep_secret(text)
    for line in text:gmatch "[^\n]+" do
      if #line > 7 and not line:find("-----", 1, true) then secrets[#secrets + 1] = line end
    end
  end

  local function hear(value, depth)
    if type(value) ~= "table" then
      heard[#heard + 1] = tostring(value)
    elseif (depth or 0) < 5 then
      for key, part in pairs(value) do
        hear(key, (depth or 0) + 1)
        hear(part, (depth or 0) + 1)
      end
    end
  end

  local function hear_all(...)
    for i = 1, select("#", ...) do hear((select(i, ...))) end
    return ...
  end

  local function credential(name)
    return assert(credentials[name], name)
  end

  local function pem(name)
    return slurp(credential(name))
  end

  lazy_setup(function()
    broker = cluster.start(1, "--secure")
    credentials, addresses = {}, {}
    for name, value in broker:tool("credentials"):gmatch "(%S-)=(%S+)\n" do credentials[name] = value end
    for _, name in ipairs { "PLAIN", "SSL", "MTLS", "SASL", "SASL_SSL", "EXPIRED" } do
      addresses[name] = broker:tool("addresses --listener " .. name):match "%S+"
    end
    addresses.OTHER_NAME = addresses.SSL:gsub("127.0.0.1", "127.1") -- the certificate does not say so
    for _, name in ipairs { "owner", "reader", "stranger", "client_key_password" } do
      keep_secret(credential(name))
    end
    for _, name in ipairs { "ca", "other_ca", "client_certificate", "client_key", "locked_client_key" } do
      keep_secret(pem(name))
    end
    allowed = broker:create("allowed", partitions)
    described = broker:create("described", 1)
    hidden = broker:create("hidden", 1)
    broker:admin(("acl-allow %s reader describe read"):format(allowed))
    broker:admin(("acl-allow %s CN=client describe read"):format(allowed))
    broker:admin(("acl-allow %s reader describe"):format(described))
    for _, topic in ipairs { allowed, described } do
      for partition = 0, topic == allowed and partitions - 1 or 0 do
        local lines = {}
        for i = 0, per_partition - 1 do lines[#lines + 1] = ("key-%d:value %d\n"):format(i, i) end
        local name = os.tmpname()
        local file = assert(io.open(name, "w"))
        file:write(table.concat(lines))
        file:close()
        local status = os.execute(("timeout 20 kcat -P -b %s -t %s -p %d -K : <%s")
          :format(addresses.PLAIN, topic, partition, name))
        os.remove(name)
        assert(status == 0 or status == true)
      end
    end
  end)

  lazy_teardown(function()
    if broker then broker:stop() end
  end)

  before_each(watchdog.start)

  after_each(function()
    for _, consumer in ipairs(open) do
      hear_all(tostring(consumer), consumer:progress(), tostring(consumer:caught_up()))
      local began = system.monotime()
      assert.is_true(consumer:close())
      assert.is_true(system.monotime() - began < 5)
    end
    open = {}
    watchdog.stop()
  end)

  -- Calls history.new with everything that can be heard being heard.
  local function new(listener, options, topics, config)
    local given = {
      ["statistics.interval.ms"] = 100, ["reconnect.backoff.max.ms"] = 500, debug = "all",
    }
    for name, value in pairs(options) do given[name] = value end
    local whole = {
      addresses = addresses[listener], topics = topics or allowed, options = given,
      on_log = hear, on_stats = hear,
    }
    for key, value in pairs(config or {}) do whole[key] = value end
    local events = {}
    whole.on_event = function(event)
      hear(event)
      events[#events + 1] = event
    end
    local results = { pcall(history.new, whole) }
    hear_all(results[2], results[3], results[4])
    if results[1] and results[2] then open[#open + 1] = results[2] end
    return results[1], results[2], results[3], results[4], events
  end

  -- Each partition's messages are those that were written, in order, once; then the signal.
  local function reads_all(listener, options, config)
    local _, consumer, err, _, events = new(listener, options, allowed, config)
    assert(consumer, err)
    local latch = consumer:caught_up()
    local count = {}
    local ok, why = hear_all(consumer:read_history(function(msg)
      local i = count[msg.partition] or 0
      assert(not latch:is_ready(), "released before the last message of the history")
      assert(msg.offset == i and msg.key == "key-" .. i and msg:data() == "value " .. i, tostring(msg))
      count[msg.partition] = i + 1
    end, { stop_at = "caught_up", timeout = soon_s }))
    assert(ok, why)
    assert.same({ [0] = per_partition, [1] = per_partition }, count)
    assert.is_true(latch:is_ready())
    for _, event in ipairs(events) do assert.are_not.equal("error", event.name, event.text) end
    return consumer
  end

  local function read(consumer, seconds)
    return hear_all(consumer:read_history(function() end, { timeout = seconds or 20 }))
  end

  local function contains(text, part)
    assert(text:find(part, 1, true), ("%q is not in: %s"):format(part, text))
  end

  -- Fails with this code, soon, in words that contain each of these; so does a second call.
  local function refuses(code, words, listener, options, topics, config, calls)
    local _, consumer, why = new(listener, options, topics, config)
    assert(consumer, why)
    local latch = consumer:caught_up()
    for _ = 1, calls or 2 do
      local began = system.monotime()
      local ok, err, given = read(consumer)
      local took_s = system.monotime() - began
      assert.is_nil(ok)
      assert.equal(code, given, err)
      assert.equal(code .. ": ", err:sub(1, #code + 2))
      for _, word in ipairs(words) do contains(err, word) end
      assert(took_s < soon_s, ("told after %.1f s"):format(took_s))
      assert.equal("failed", latch:state())
      assert.equal("failed", consumer:progress().state)
    end
    return consumer
  end

  local function tls(more)
    local options = { ["security.protocol"] = "ssl", ["ssl.ca.location"] = credential "ca" }
    for name, value in pairs(more or {}) do options[name] = value end
    return options
  end

  local function login(protocol, mechanism, user, password)
    return {
      ["security.protocol"] = protocol, ["sasl.mechanism"] = mechanism, ["sasl.username"] = user,
      ["sasl.password"] = password, ["ssl.ca.location"] = protocol == "sasl_ssl" and credential "ca" or nil,
    }
  end

  describe("reads the whole history", function()
    it("over TLS, with the authority in a file", function()
      reads_all("SSL", tls())
    end)

    it("over TLS, with the authority as text", function()
      reads_all("SSL", { ["security.protocol"] = "ssl", ["ssl.ca.pem"] = pem "ca" })
    end)

    it("over TLS with a client's certificate, all of it as text", function()
      reads_all("MTLS", { ["security.protocol"] = "ssl", ["ssl.ca.pem"] = pem "ca",
        ["ssl.certificate.pem"] = pem "client_certificate", ["ssl.key.pem"] = pem "client_key" })
    end)

    it("over TLS with a client's certificate in files, its key locked with a password", function()
      reads_all("MTLS", tls { ["ssl.certificate.location"] = credential "client_certificate",
        ["ssl.key.location"] = credential "locked_client_key",
        ["ssl.key.password"] = credential "client_key_password" })
    end)

    for protocol, listener in pairs { sasl_plaintext = "SASL", sasl_ssl = "SASL_SSL" } do
      it("logged in with PLAIN over " .. protocol, function()
        reads_all(listener, login(protocol, "PLAIN", "reader", credential "reader"))
      end)

      for _, mechanism in ipairs { "SCRAM-SHA-256", "SCRAM-SHA-512" } do
        it(("logged in with %s over %s, or is told that its librdkafka cannot"):format(mechanism, protocol),
          function()
            local options = login(protocol, mechanism, "reader", credential "reader")
            if has_exact_scram() then
              reads_all(listener, options)
            else
              refuses("_AUTHENTICATION", { "older than 2.6.1", "SCRAM at Kafka 4" }, listener, options)
            end
          end)
      end
    end

    it("without any right on a group, with a group.id of one's own as well", function()
      local options = login("sasl_plaintext", "PLAIN", "reader", credential "reader")
      reads_all("SASL", options)
      options["group.id"] = "somebody's"
      reads_all("SASL", options)
    end)
  end)

  describe("says soon who is refused, and why", function()
    local check_login = "check sasl.mechanism, sasl.username and sasl.password"

    it("a wrong password", function()
      keep_secret "wrong-password-of-reader"
      refuses("_AUTHENTICATION", { check_login }, "SASL",
        login("sasl_plaintext", "PLAIN", "reader", "wrong-password-of-reader"))
      refuses("_AUTHENTICATION", { check_login }, "SASL_SSL",
        login("sasl_ssl", "PLAIN", "reader", "wrong-password-of-reader"))
      refuses("_AUTHENTICATION", { check_login }, "SASL_SSL",
        login("sasl_ssl", "SCRAM-SHA-512", "reader", "wrong-password-of-reader"))
    end)

    it("a user that does not exist", function()
      keep_secret "password-of-nobody"
      refuses("_AUTHENTICATION", { check_login }, "SASL",
        login("sasl_plaintext", "PLAIN", "nobody", "password-of-nobody"))
    end)

    it("a mechanism that the broker does not offer", function()
      local options = login("sasl_plaintext", "OAUTHBEARER")
      options["enable.sasl.oauthbearer.unsecure.jwt"] = true
      options["sasl.oauthbearer.config"] = "principal=reader"
      refuses("_AUTHENTICATION", { "supported mechanisms: PLAIN", check_login }, "SASL", options)
    end)

    it("a broker whose certificate another authority has signed", function()
      refuses("_SSL", { "verify failed", "ssl.ca.location or ssl.ca.pem" }, "SSL",
        tls { ["ssl.ca.location"] = credential "other_ca" })
      refuses("_SSL", { "verify failed", "ssl.ca.location or ssl.ca.pem" }, "SASL_SSL", {
        ["security.protocol"] = "sasl_ssl", ["sasl.mechanism"] = "PLAIN", ["sasl.username"] = "reader",
        ["sasl.password"] = credential "reader", ["ssl.ca.pem"] = pem "other_ca" })
    end)

    it("a broker whose certificate has expired", function()
      refuses("_SSL", { "verify failed", "has not expired" }, "EXPIRED", tls())
    end)

    it("a broker whose certificate names another host", function()
      refuses("_SSL", { "verify failed", "names its address" }, "OTHER_NAME", tls())
    end)

    it("a client without a certificate where one is asked for", function()
      refuses("_SSL", { "refuses the client's certificate", "ssl.certificate", "ssl.key" }, "MTLS", tls())
    end)

    it("a topic that the user may not see", function()
      refuses("TOPIC_AUTHORIZATION_FAILED", { hidden, "DESCRIBE and READ" }, "SASL",
        login("sasl_plaintext", "PLAIN", "reader", credential "reader"), hidden)
      refuses("TOPIC_AUTHORIZATION_FAILED", { allowed, "DESCRIBE and READ" }, "SASL",
        login("sasl_plaintext", "PLAIN", "stranger", credential "stranger"), allowed)
    end)

    it("one such topic among others", function()
      refuses("TOPIC_AUTHORIZATION_FAILED", { hidden }, "SASL",
        login("sasl_plaintext", "PLAIN", "reader", credential "reader"), { allowed, hidden })
    end)

    it("a topic that the user may see and not read; once READ is given, the same consumer reads", function()
      local consumer = refuses("TOPIC_AUTHORIZATION_FAILED", { described, "needs READ" }, "SASL",
        login("sasl_plaintext", "PLAIN", "reader", credential "reader"), described)
      broker:admin(("acl-allow %s reader read"):format(described))
      local count = 0
      kafka.wait_until(function()
        return (hear_all(consumer:read_history(function(msg)
          assert(msg.offset == count, tostring(msg))
          count = count + 1
        end, { stop_at = "caught_up", timeout = soon_s })))
      end, soon_s, "the right to take effect")
      assert.equal(per_partition, count)
      assert.equal("caught_up", consumer:caught_up():state())
    end)

    it("a group that the user may not join; once READ is given, the same consumer reads", function()
      local consumer = refuses("GROUP_AUTHORIZATION_FAILED", { "group sharers", "needs READ on the group" },
        "SASL", login("sasl_plaintext", "PLAIN", "reader", credential "reader"), allowed,
        { consumer_group = "sharers" })
      broker:admin "acl-allow group:sharers reader read"
      local count = 0
      kafka.wait_until(function()
        return (hear_all(consumer:read_history(function() count = count + 1 end,
          { stop_at = "caught_up", timeout = soon_s })))
      end, soon_s, "the right to take effect")
      assert.equal(partitions * per_partition, count)
      assert.is_true(consumer:commit())
    end)

    it("a client that cannot be made of its key", function()
      local ok, consumer, err, code = new("MTLS", tls { ["ssl.key.password"] = "wrong-password-of-key",
        ["ssl.certificate.pem"] = pem "client_certificate", ["ssl.key.pem"] = pem "locked_client_key" })
      keep_secret "wrong-password-of-key"
      assert.is_true(ok)
      assert.is_nil(consumer)
      assert.is_string(code)
      assert.matches("ssl.key.pem", err)
    end)
  end)

  it("never creates a topic by asking for it, though the broker would", function()
    local typo, proof = kafka.topic_name "typo", kafka.topic_name "proof"
    local _, consumer = new("PLAIN", {}, typo)
    local began = system.monotime()
    local ok, err, code = read(consumer)
    local took_s = system.monotime() - began
    assert.is_nil(ok)
    assert.equal("UNKNOWN_TOPIC_OR_PART", code)
    contains(err, typo)
    contains(err, "check its name")
    assert(took_s >= missing_topic_s - 1 and took_s < missing_topic_s + 4, took_s)
    os.execute(("echo proof | timeout 20 kcat -P -b %s -t %s >/dev/null 2>&1"):format(addresses.PLAIN, proof))
    assert.is_true((pcall(broker.admin, broker, "ends " .. proof)), "this broker creates no topics at all")
    local exists, why = pcall(broker.admin, broker, "ends " .. typo)
    assert.is_false(exists)
    assert.matches("there is no such topic", why)
  end)

  describe("shows no secret", function()
    it("in a misspelled property or with a wrong value", function()
      local secret = "secret-in-the-wrong-place"
      keep_secret(secret)
      for _, options in ipairs {
        { ["sasl.pasword"] = secret }, { ["sasl.password"] = { secret } }, { ["ssl.key.pem"] = secret },
        { ["ssl.key.pem"] = secret, ["security.protocol"] = "ssl" },
        { ["ssl.certificate.pem"] = secret, ["security.protocol"] = "ssl" },
        { ["ssl.ca.pem"] = secret, ["security.protocol"] = "ssl" },
        { ["ssl.keystore.password"] = secret, ["ssl.keystore.location"] = "/nonexistent",
          ["security.protocol"] = "ssl" },
        { ["sasl.password"] = function() return secret end },
      } do
        new("PLAIN", options)
      end
      new("PLAIN", {}, nil, { password = secret })
      new("PLAIN", {}, nil, { options = { "sasl.password=" .. secret } })
    end)

    it("in the configuration that librdkafka logs: a key that is where the certificate belongs", function()
      local both = pem "client_certificate" .. pem "client_key"
      reads_all("MTLS", tls { ["ssl.certificate.pem"] = both, ["ssl.key.pem"] = pem "client_key" })
      assert(table.concat(heard, "\n"):find("ssl.certificate.pem = [redacted]", 1, true))
    end)

    it("in the part of a token's configuration that librdkafka does not understand", function()
      keep_secret "secret-of-a-token"
      local options = login("sasl_plaintext", "OAUTHBEARER")
      options["enable.sasl.oauthbearer.unsecure.jwt"] = true
      options["sasl.oauthbearer.config"] = "principal=reader secret-of-a-token"
      -- Once: 2.0.2 crashes ten seconds later, when it tries again to make a token.
      refuses("_AUTHENTICATION", { "sasl.oauthbearer.config" }, "SASL", options, allowed, nil, 1)
    end)

    it("on stdout or stderr", function()
      local done = child.run([[
        local address, user, password, ca, topic = ...
        local consumer = assert(require "kafka_history".new { addresses = address, topics = topic, options = {
          ["security.protocol"] = "sasl_ssl", ["sasl.mechanism"] = "PLAIN", ["sasl.username"] = user,
          ["sasl.password"] = password, ["ssl.ca.location"] = ca, debug = "all" } })
        print(consumer:read_history(function() end, { stop_at = "caught_up", timeout = 10 }))
        print(consumer, consumer:progress().messages)
        consumer:close()
      ]], { addresses.SASL_SSL, "reader", credential "reader", credential "ca", allowed })
      hear_all(done.stdout, done.stderr)
      assert.equal("", done.stderr)
      assert.matches("^true\n.*\t" .. partitions * per_partition .. "\n$", done.stdout)
    end)

    it("in anything that came out of all of the above", function()
      local text = table.concat(heard, "\n")
      assert(#heard > 5000, "not much was heard: " .. #heard)
      assert(text:find("sasl.password = [redacted]", 1, true), "the configuration was not logged")
      assert(text:find("ssl.key.pem = [redacted]", 1, true))
      assert(#secrets > 20, "not many secrets: " .. #secrets)
      for _, secret in ipairs(secrets) do
        local at = text:find(secret, 1, true)
        assert(not at, at and "shown: " .. text:sub(at - 200, at + #secret))
      end
    end)
  end)
end)
