-- kafka-history on a real broker, beside kcat: what both print of the same topic is the same.

local cjson = require "cjson"
local command = require "support.command"
local kafka = require "support.kafka"
local mixed = require "support.mixed"
local oracle = require "support.oracle"
local watchdog = require "support.watchdog"

local format = "%p %o %K %k %S %s\\n"

local function sorted_keys(set)
  local keys = {}
  for key in pairs(set) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- The lines of that format, which hold any byte, by partition: those come in any order.
local function by_partition(output)
  local partitions, at = {}, 1
  while at <= #output do
    local _, behind, partition, key_length = output:find("^(%d+) %d+ (%-?%d+) ", at)
    assert(behind, "the output is not understood")
    behind = behind + math.max(tonumber(key_length), 0)
    local _, value_at, value_length = output:find("^ (%-?%d+) ", behind + 1)
    local stop = value_at + math.max(tonumber(value_length), 0) + 1
    partitions[partition] = partitions[partition] or {}
    table.insert(partitions[partition], output:sub(at, stop))
    at = stop + 1
  end
  local all = {}
  for _, partition in ipairs(sorted_keys(partitions)) do
    all[#all + 1] = table.concat(partitions[partition])
  end
  return table.concat(all)
end

local places = {}
for i = 1, 64 do
  places[("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):byte(i)] = i - 1
end

local function from_base64(text)
  local bits = text:gsub("=", ""):gsub(".", function(c)
    local n, six = places[c:byte()], ""
    for _ = 1, 6 do six, n = n % 2 .. six, math.floor(n / 2) end
    return six
  end)
  return (bits:gsub("%d%d?%d?%d?%d?%d?%d?%d?", function(eight)
    return #eight == 8 and string.char(tonumber(eight, 2)) or ""
  end))
end

-- What a member of the JSON stands for; an error where it is not said as plainly as it can be.
local function member(object, name)
  local coded = object[name .. "_base64"]
  if coded then
    assert.is_nil(object[name])
    return from_base64(coded)
  end
  assert(object[name] ~= nil, "neither " .. name .. " nor " .. name .. "_base64")
  if object[name] ~= cjson.null then return object[name] end
end

describe("kafka-history on a real broker", function()
  local topic, log

  lazy_setup(function()
    topic = mixed.create()
    log = oracle.read(topic, "read_committed")
  end)

  before_each(watchdog.start)
  after_each(command.clean)
  after_each(watchdog.stop)

  local function run(...)
    local result = command.run { "-b", kafka.addresses(), "-X", "fetch.wait.max.ms=20", ... }
    assert.equal("", result.stderr)
    assert.equal(0, result.status)
    return result.stdout
  end

  it("prints byte for byte what kcat prints of the mixed topic, nulls included", function()
    local expected = by_partition(kafka.kcat { "-C", "-t", topic, "-o", "beginning", "-e", "-q",
      "-X", "fetch.wait.max.ms=20", "-f", format })
    local got = by_partition(run("-t", topic, "--until", "caught-up", "-f", format))
    assert.is_true(#got > 4000000)
    assert.is_true(got == expected)
  end)

  it("prints as JSON what kcat shows of each message", function()
    local count = 0
    for line in run("-t", topic, "--until", "caught-up", "-f", "json"):gmatch "[^\n]+" do
      local object = cjson.decode(line)
      local expected = log[object.partition][1]
      table.remove(log[object.partition], 1)
      count = count + 1
      local headers = object.headers or {}
      for i, header in ipairs(headers) do
        headers[i] = { name = member(header, "name"), value = member(header, "value") }
      end
      assert.same(expected, oracle.like { partition = object.partition, offset = object.offset,
        timestamp = object.timestamp, key = member(object, "key"), value = member(object, "value"),
        headers = headers })
    end
    for _, left in pairs(log) do assert.equal(0, #left) end
    assert.is_true(count > 2000)
  end)

  it("starts at a time, and says what is live", function()
    local name = kafka.create("command")
    kafka.kcat({ "-P", "-t", name, "-p", "0" }, "one\ntwo\nthree\n")
    local first = tonumber(run("-t", name, "-u", "caught-up", "-c", "1", "-f", "%T\\n"))
    assert.equal("one\ntwo\nthree\n", run("-t", name, "-u", "caught-up", "--from", ("@%d"):format(first)))
    assert.equal("", run("-t", name, "-u", "caught-up", "--from", ("@%d"):format(first + 86400000)))
    local running = command.start { "-b", kafka.addresses(), "-t", name, "--from", "end",
      "--progress", "always" }
    running:await("stderr", "caught up: 0 messages")
    kafka.kcat({ "-P", "-t", name, "-p", "0" }, "four\n")
    running:await("stdout", "^four\n$")
    running:signal "INT"
    assert.equal(130, running:finish())
  end)

  it("prints the latest of each key with --latest, the deleted ones with --tombstones", function()
    local name = kafka.create("command")
    kafka.kcat({ "-P", "-t", name, "-p", "0", "-K", ":", "-Z" }, "a:1\nb:2\na:3\nc:4\nb:\nd:5\nc:6\n")
    assert.equal("a 3\nd 5\nc 6\n", run("-t", name, "-u", "caught-up", "--latest", "-f", "%k %s\\n"))
    assert.equal("a 3\nb \nd 5\nc 6\n", run("-t", name, "-u", "caught-up", "--tombstones", "-f", "%k %s\\n"))
  end)

  it("reads on, in a group, where the group was", function()
    local name = kafka.create("command")
    kafka.kcat({ "-P", "-t", name, "-p", "0" }, "one\ntwo\nthree\n")
    assert.equal("one\n", run("-t", name, "-g", name, "-c", "1"))
    assert.same({ [0] = 1 }, kafka.committed(name, name))
    assert.equal("two\n", run("-t", name, "-g", name, "-c", "1", "-e", "print(msg.value)"))
    assert.equal("three\n", run("-t", name, "-g", name, "-u", "caught-up"))
    assert.equal("one\ntwo\nthree\n", run("-t", name, "-g", name, "-u", "caught-up", "-o", "beginning"))
  end)
end)
