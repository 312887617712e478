-- Random faults on three real nodes under a steady writer: nodes are killed and started again, stopped and
-- continued, the network between them and the readers is cut, leaders move. Readers come one after another,
-- read from the beginning, catch up, follow, and are closed at any moment.
--
-- The writer numbers its values, in each partition from 0 without a gap, and says how many of them were
-- acknowledged. So each reader knows by itself what it must get: the next number, always (nothing lost,
-- nothing twice, nothing out of order), and no signal before all that was acknowledged when the reader
-- began was handled (nothing early). The last reader, with all faults undone, gets every value written.
--
-- KH_CHAOS_SECONDS (45): how long faults are made. KH_CHAOS_SEED (from the clock): what the faults and the
-- readers are drawn from; the same seed, the same sequence. What they meet depends on the machine, too.

local chaos = require "support.chaos"
local cluster = require "support.cluster"
local history = require "kafka_history"
local kafka = require "support.kafka"
local proxy = require "support.proxy"
local system = require "system"

local PARTITIONS, NODES = 4, 3
local CATCH_UP_S, CLOSE_S = 120, 5.5

local seconds = tonumber(os.getenv "KH_CHAOS_SECONDS") or 45
local seed = tonumber(os.getenv "KH_CHAOS_SEED") or math.floor(system.gettime() * 1000) % 1000000

local function note(format, ...)
  io.write("# ", (format:format(...):gsub("\n", "\n# ")), "\n")
  io.flush()
end

-- Counters by word, and what they hold: "2 kill, 3 pause".
local function count(counters, word, number)
  counters[word] = (counters[word] or 0) + (number or 1)
end

local function add(counters, others)
  for word, number in pairs(others) do count(counters, word, number) end
end

local function list(counters)
  local words = {}
  for word, number in pairs(counters) do words[#words + 1] = ("%d %s"):format(number, word) end
  table.sort(words, function(a, b) return a:match " .*" < b:match " .*" end)
  return #words > 0 and table.concat(words, ", ") or "none"
end

-- How a consumer may be told to read. With librdkafka's own time-outs, and with short ones and small fetches.
local kinds_of_options = {
  {},
  {
    ["reconnect.backoff.ms"] = 50, ["reconnect.backoff.max.ms"] = 500, ["socket.timeout.ms"] = 3000,
    ["fetch.message.max.bytes"] = 4096, ["fetch.max.bytes"] = 65536, ["message.max.bytes"] = 65536,
    ["queued.min.messages"] = 100,
  },
}

-- What reading may end with at start_timeout, while a fault lasts: the next call takes a new start.
local start_failures = { _TRANSPORT = true, _TIMED_OUT = true, LEADER_NOT_AVAILABLE = true }

local reader = {}
reader.__index = reader

-- `drawn`: what differs from reader to reader. acknowledged: by partition, before it began.
local function new_reader(number, addresses, topic, acknowledged, drawn)
  local self = setmetatable({
    number = number, acknowledged = acknowledged, drawn = drawn, nexts = {}, offsets = {}, handled = 0,
    events = {}, failed_starts = {},
  }, reader)
  for partition = 0, PARTITIONS - 1 do self.nexts[partition], self.offsets[partition] = 0, -1 end
  self.consumer = assert(history.new {
    addresses = addresses, topics = topic, options = drawn.options, stall_timeout = 2,
    start_timeout = drawn.start_timeout,
    on_event = function(event)
      count(self.events, event.name .. (event.cause and " (" .. event.cause .. ")" or ""))
      if event.name == "caught_up" then
        assert(self.latch:is_ready(), "the event came and the signal is not out")
        self:see_signal()
      end
    end,
  })
  self.latch = self.consumer:caught_up()
  return self
end

local function broken(format, ...)
  error("broken rule: " .. format:format(...), 0)
end

-- The signal is out: all of the history must have been handled.
function reader:see_signal()
  if self.caught_up_at then return end
  self.caught_up_at = system.monotime()
  for partition = 0, PARTITIONS - 1 do
    if self.nexts[partition] < self.acknowledged[partition] then
      broken("early: %d of partition %d handled at the signal, %d were acknowledged before the start",
        self.nexts[partition], partition, self.acknowledged[partition])
    end
  end
  for _, place in ipairs(self.consumer:progress().partitions) do
    if self.offsets[place.partition] + 1 < place.target then
      broken("early: partition %d handled up to offset %d at the signal, the target is %d",
        place.partition, self.offsets[place.partition], place.target)
    end
  end
end

function reader:see_message(msg)
  local partition, value = msg.partition, chaos.number(msg.value)
  if self.latch:is_ready() then self:see_signal() end
  if value ~= self.nexts[partition] then
    broken("lost, twice or out of order: partition %d, value %d at offset %d where %d is next (after %d)",
      partition, value, msg.offset, self.nexts[partition], self.offsets[partition])
  end
  if msg.offset <= self.offsets[partition] then
    broken("partition %d: offset %d after %d", partition, msg.offset, self.offsets[partition])
  end
  self.nexts[partition] = value + 1
  self.offsets[partition] = msg.offset
  self.handled = self.handled + 1
  if self.drawn.is_slow and not self.caught_up_at and self.handled % 20 == 0 then system.sleep(0.001) end
end

-- Reads until is_done() or, with stop_at, until that; raises after so many seconds.
function reader:read(what, limit, is_done, stop_at)
  local deadline = system.monotime() + limit
  while true do
    local ok, err, code = self.consumer:read_history(function(msg) self:see_message(msg) end, {
      stop_at = stop_at, batch = self.drawn.batch, timeout = math.max(deadline - system.monotime(), 0),
      tick = 0.05,
      on_tick = function()
        if self.latch:is_ready() then self:see_signal() end
        if is_done() then self.consumer:cancel() end
      end,
    })
    if ok or code == "CANCELLED" then
      if self.latch:is_ready() then self:see_signal() end
      return
    end
    if code == "TIMEOUT" then
      broken("stuck: %s not within %d s; state %s", what, limit, self:state())
    end
    if self.handled > 0 or self.consumer:progress().state ~= "failed" or not start_failures[code] then
      error("read_history: " .. err, 0)
    end
    count(self.failed_starts, code)
  end
end

-- For people: where it stands.
function reader:state()
  local progress = self.consumer:progress()
  local words = { progress.state }
  for _, place in ipairs(progress.partitions) do
    words[#words + 1] = ("[%d]: position %d, target %d, end %d%s"):format(place.partition, place.position,
      place.target, place.end_offset, place.caught_up and "" or ", not caught up")
  end
  words[#words + 1] = "events: " .. list(self.events)
  return table.concat(words, "; ")
end

function reader:has(numbers)
  for partition = 0, PARTITIONS - 1 do
    if self.nexts[partition] < numbers[partition] then return false end
  end
  return true
end

function reader:close()
  local began = system.monotime()
  self.consumer:close()
  self.closing_s = system.monotime() - began
  if self.closing_s > CLOSE_S then broken("close() took %.1f s", self.closing_s) end
end

-- The life of one reader but the last. written(): what is acknowledged now.
function reader:live(written)
  local began = system.monotime()
  self:read("caught up", CATCH_UP_S, function() return self.caught_up_at end, self.drawn.stop_at)
  self.catch_up_s = self.caught_up_at - began
  local leave_at = system.monotime() + self.drawn.follows_s
  self:read("the time to leave", self.drawn.follows_s + CATCH_UP_S,
    function() return system.monotime() >= leave_at end)
  if self.drawn.is_thorough then
    local numbers = written()
    self:read("live up to what was written", CATCH_UP_S, function() return self:has(numbers) end)
  end
  self:close()
end

describe("three nodes, killed, stopped, cut off and moved at random under a steady writer", function()
  local nodes, proxies, topic, addresses, directory
  local writer, faults = nil, {}

  setup(function()
    note("chaos: seed %d, %d s of faults; again: make chaos KH_CHAOS_SECONDS=%d KH_CHAOS_SEED=%d", seed,
      seconds, seconds, seed)
    local port = 11000 + math.floor(system.gettime() * 1000) % 3000
    nodes = cluster.start(NODES, "--proxy-port " .. port)
    proxies, addresses = {}, {}
    for line in nodes:tool("addresses --listener PROXY"):gmatch "[^\n]+" do
      local bound, advertised = line:match ":(%d+) .*:(%d+)"
      proxies[#proxies + 1] = proxy.start(tonumber(advertised), tonumber(bound))
      addresses[#addresses + 1] = "127.0.0.1:" .. advertised
    end
    assert.equal(NODES, #proxies)
    topic = nodes:create("chaos", PARTITIONS, NODES, "min.insync.replicas=2")
    directory = os.tmpname()
    os.remove(directory)
    assert(os.execute("mkdir " .. directory))
  end)

  teardown(function()
    if writer then writer:stop() end
    for _, process in pairs(faults) do process:stop() end
    for _, between in ipairs(proxies or {}) do between:stop() end
    if nodes then nodes:stop() end
    if directory then os.execute("rm -r " .. directory) end
  end)

  local function written()
    return chaos.acknowledged(directory .. "/acknowledged")
  end

  -- The processes beside the readers; from here on what is drawn is the readers'.
  local function start_all(began)
    local limit = seconds + 300
    local bases = {}
    for i, between in ipairs(proxies) do bases[i] = between.base end
    writer = chaos.start("write", limit, nodes.address, topic, PARTITIONS, directory .. "/acknowledged",
      directory .. "/stop")
    kafka.wait_until(function()
      local file = io.open(directory .. "/acknowledged")
      if file then file:close() end
      return file or writer:status()
    end, 20, "the writer")
    faults.nodes = chaos.start("fail_nodes", limit, began, seconds, seed, nodes.dir, topic)
    faults.network = chaos.start("fail_network", limit, began, seconds, seed + 1, nodes.address, topic,
      PARTITIONS, (table.unpack or unpack)(bases)) -- luacheck: std max
    math.randomseed(seed + 2)
  end

  local function draw()
    return {
      options = kinds_of_options[math.random(2)], batch = ({ false, 1, 50 })[math.random(3)] or nil,
      start_timeout = ({ 10, 60 })[math.random(2)],
      stop_at = math.random(2) == 1 and "caught_up" or nil, is_slow = math.random(2) == 1,
      follows_s = 6 * math.random(), is_thorough = math.random(2) == 1,
    }
  end

  -- Everything that the faults have said: "began ended fault" lines in numbers and text.
  local function told(text)
    local all = {}
    for from, to, fault in text:gmatch "(%d+%.%d) (%d+%.%d) ([^\n]+)" do
      all[#all + 1] = { from = tonumber(from), to = tonumber(to), kind = fault:match "^%l+[ %l]*%l",
        moved = tonumber(fault:match "(%d+) leaders moved") or 0 }
    end
    return all
  end

  local function is_running(process, name)
    local status = process:status()
    if status == nil then return true end
    if status ~= 0 then
      error(("%s ended with status %d: %s"):format(name, status, process:finish().stderr), 0)
    end
    return false
  end

  local function are_faults_made()
    local of_nodes = is_running(faults.nodes, "the faults of the nodes")
    return is_running(faults.network, "the faults of the network") or of_nodes
  end

  local function finish(process, name)
    local result = process:finish()
    assert(result.status == 0, ("%s ended with status %d: %s"):format(name, result.status, result.stderr))
    return result.stdout
  end

  local function hits(all, from, to)
    for _, fault in ipairs(all) do
      if fault.from < to and fault.to > from then return true end
    end
    return false
  end

  -- Readers, one after another, while faults are made.
  local function read_through(began)
    local readers = {}
    repeat
      local one = new_reader(#readers + 1, table.concat(addresses, ","), topic, written(), draw())
      readers[#readers + 1] = one
      one.from = system.monotime() - began
      local ok, err = pcall(one.live, one, written)
      one.to = system.monotime() - began
      if not ok then
        error(("reader %d, from %.1f s to %.1f s: %s\nit stands at: %s\nfaults:\n%s%s"):format(one.number,
          one.from, one.to, err, one:state(), faults.nodes:stdout(), faults.network:stdout()), 0)
      end
      assert(is_running(writer, "the writer"), "the writer has ended by itself")
    until not are_faults_made()
    return readers
  end

  -- The last one, when all faults are undone and nothing is written any more.
  local function read_the_rest()
    local total = written()
    local last = new_reader(0, table.concat(addresses, ","), topic, total, { options = {} })
    last:read("caught up", CATCH_UP_S, function() return false end, "caught_up")
    local progress = last.consumer:progress()
    last:close()
    assert.same(total, last.nexts)
    assert.same({ 1, 0, 0, last.handled },
      { progress.fraction, progress.gaps, progress.truncated, progress.messages })
    return last
  end

  local function summarize(began, readers, last, all)
    local kinds, moved, failed_starts, total = {}, 0, {}, 0
    local hit, closed_in_fault, catch_up_s, closing_s, events = 0, 0, 0, 0, {}
    for _, fault in ipairs(all) do
      count(kinds, fault.kind)
      moved = moved + fault.moved
    end
    for _, one in ipairs(readers) do
      total = total + one.handled
      add(failed_starts, one.failed_starts)
      add(events, one.events)
      catch_up_s, closing_s = math.max(catch_up_s, one.catch_up_s), math.max(closing_s, one.closing_s)
      if hits(all, one.from, one.caught_up_at - began) then hit = hit + 1 end
      if hits(all, one.to - one.closing_s, one.to) then closed_in_fault = closed_in_fault + 1 end
    end
    note("faults: %s; %d leaders moved", list(kinds), moved)
    note("written and read by the last reader: %d; read by all before: %d", last.handled, total)
    note("readers: %d before the last; %d met a fault before they had caught up, %d were closed in one; "
      .. "at most %.1f s to catch up, %.2f s to close", #readers, hit, closed_in_fault, catch_up_s, closing_s)
    note("starts that failed and were taken again: %s; events: %s", list(failed_starts), list(events))
    return kinds, moved
  end

  it("lose nothing, give nothing twice, and nothing is said early", function()
    local began = system.monotime()
    start_all(began)
    local readers = read_through(began)
    local all = told(finish(faults.nodes, "the faults of the nodes")
      .. finish(faults.network, "the faults of the network"))
    faults = {}
    assert(io.open(directory .. "/stop", "w")):close()
    finish(writer, "the writer")
    writer = nil
    local last = read_the_rest()
    local kinds, moved = summarize(began, readers, last, all)
    for _, kind in ipairs { "kill", "pause", "cut", "cut up", "cut down", "refuse", "move" } do
      assert(kinds[kind], "no fault of this kind was made: " .. kind)
    end
    assert(moved > 0, "no leader has moved")
    assert(last.handled > 100 * seconds, "the writer was not steady")
  end)
end)
