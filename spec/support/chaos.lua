-- What goes on beside the readers of the chaos test, each in a process of its own: a writer, and two
-- sequences of random faults, of the nodes and of the network.
--
-- A sequence is drawn from its seed alone, whatever comes of the faults: the same seed, the same faults.
-- All kinds come in random order, then all again. No new fault begins after `seconds`, once all kinds
-- have come; the last one is undone.

local child = require "support.child"
local cluster = require "support.cluster"
local producer = require "kafka_history.producer"
local proxy = require "support.proxy"
local system = require "system"

local chaos = {}

--- Starts one of the functions below in a process of its own (support.child), for at most `limit` seconds.
function chaos.start(name, limit, ...)
  local arguments = { name, ... }
  return child.start([[
    require("support.chaos")[(...)](select(2, ...))
  ]], arguments, limit)
end

-- --- the writer -----------------------------------------------------------------------------------------

-- Retries for ever, and does not wait a minute for a node that has stopped.
local steady_options = {
  ["enable.idempotence"] = true, acks = "all", ["message.timeout.ms"] = 0, ["linger.ms"] = 5,
  ["socket.timeout.ms"] = 5000, ["reconnect.backoff.max.ms"] = 500,
}
local pause_s, per_round, waiting_max = 0.02, 5, 50000

--- The number that a value holds.
function chaos.number(value)
  return tonumber(value:match "^%d+")
end

-- Replaces the file at once, so that nobody reads half of it.
local function write_numbers(name, numbers, count)
  local file = assert(io.open(name .. ".new", "w"))
  for partition = 0, count - 1 do assert(file:write(numbers[partition], "\n")) end
  file:close()
  assert(os.rename(name .. ".new", name))
end

--- How many of each partition's values were acknowledged, as the writer's file says: { [partition] = n }.
function chaos.acknowledged(name)
  local numbers, partition = {}, 0
  for line in io.lines(name) do
    numbers[partition] = tonumber(line)
    partition = partition + 1
  end
  return numbers
end

--- Writes the values 0, 1, 2, ... to each partition, about 250 a second, until the file `stop` is there
-- and all of them are acknowledged. The file `acknowledged` always says how many are.
function chaos.write(address, topic, partitions, acknowledged, stop)
  local sent, known, writers = {}, {}, {}
  partitions = tonumber(partitions)
  for partition = 0, partitions - 1 do
    sent[partition], known[partition] = 0, 0
    writers[partition] = assert(producer.new { addresses = address, options = steady_options })
  end
  local function look(partition, seconds)
    local ok, err, code = writers[partition]:flush(seconds)
    assert(ok or code == "TIMEOUT", err)
    if ok then known[partition] = sent[partition] end
    return ok
  end
  local function is_stopped()
    local file = io.open(stop)
    if file then file:close() end
    return file ~= nil
  end
  write_numbers(acknowledged, known, partitions)
  while not is_stopped() do
    for partition = 0, partitions - 1 do
      local count = sent[partition] - known[partition] < waiting_max and per_round or 0
      look(partition, 0)
      for _ = 1, count do
        assert(writers[partition]:send(topic, {
          partition = partition, value = ("%010d"):format(sent[partition]) .. (" steady"):rep(12),
        }))
        sent[partition] = sent[partition] + 1
      end
    end
    write_numbers(acknowledged, known, partitions)
    system.sleep(pause_s)
  end
  for partition = 0, partitions - 1 do
    assert(look(partition, 120), "what was written is not acknowledged within 120 s")
    writers[partition]:close()
  end
  write_numbers(acknowledged, known, partitions)
end

-- --- faults ---------------------------------------------------------------------------------------------

local function between(least, most)
  return least + (most - least) * math.random()
end

-- A sequence of faults: `step(kind, say)` is one. say(text) is the beginning of it, and when step
-- returns, it is undone. Each fault is two lines: "seconds text" and "seconds seconds text".
local function play(began, seconds, seed, kinds, step)
  local function now() return system.monotime() - began end
  local over = now() + seconds
  local left, has_all = {}, false
  io.stdout:setvbuf "line"
  math.randomseed(seed)
  while now() < over or not has_all do
    if #left == 0 then
      for i, kind in ipairs(kinds) do left[i] = kind end
    end
    local kind = table.remove(left, math.random(#left))
    local at, fault
    system.sleep(between(0.5, 3))
    local result = step(kind, function(text)
      at, fault = now(), text
      print(("%.1f %s"):format(at, fault))
    end)
    print(("%.1f %.1f %s%s"):format(at, now(), fault, result or ""))
    has_all = has_all or #left == 0
  end
end

-- How many partitions a node led then and does not lead now.
local function count_lost(node, before, after)
  local lost = 0
  for partition, leader in pairs(before) do
    if leader == node and after[partition] ~= node then lost = lost + 1 end
  end
  return lost
end

--- Nodes are killed and started again, stopped and continued, one at a time: two always run. A node is
-- fenced, and its partitions move, when nothing is heard of it for 6 s; about half of the faults are
-- shorter.
function chaos.fail_nodes(began, seconds, seed, dir, topic)
  local nodes = cluster.at(dir)
  local undo = { kill = "restart", pause = "cont" }
  play(began, seconds, seed, { "kill", "pause" }, function(kind, say)
    local node, hold = math.random(3), between(0.5, 12)
    local before = nodes:leaders(topic)
    say(kind .. " " .. node)
    nodes:tool(kind .. " " .. node)
    system.sleep(hold)
    local lost = count_lost(node, before, nodes:leaders(topic))
    nodes:tool(undo[kind] .. " " .. node)
    return (", %d leaders moved"):format(lost)
  end)
end

-- Gives the partition to the node. True: it has moved. It cannot where the node is down or behind.
local function lead(address, topic, partition, node)
  local before = tonumber(child.output(("timeout 3 build/kafka-admin %s lead %s %d %d 2>&1"):format(address,
    topic, partition, node)))
  return before ~= nil and before ~= node
end

--- The network between the readers and one node, or all, fails and is mended; the leaders of all
-- partitions move. bases: of the proxies' objects (support.proxy).
function chaos.fail_network(began, seconds, seed, address, topic, partitions, ...)
  local proxies = {}
  for i, base in ipairs { ... } do proxies[i] = proxy.at(base) end
  local kinds = { "cut", "cut up", "cut down", "refuse", "move", "move" }
  play(began, seconds, seed, kinds, function(kind, say)
    local node, hold = math.random(4), between(0.3, 8)
    if kind == "move" then
      local moved, targets = 0, {}
      for partition = 0, partitions - 1 do targets[partition] = math.random(3) end
      say "move"
      for partition = 0, partitions - 1 do
        if lead(address, topic, partition, targets[partition]) then moved = moved + 1 end
      end
      return (", %d leaders moved"):format(moved)
    end
    local hit = node == 4 and { 1, 2, 3 } or { node }
    say(kind .. " " .. table.concat(hit, " "))
    for _, number in ipairs(hit) do proxies[number]:say(kind) end
    system.sleep(hold)
    for _, number in ipairs(hit) do proxies[number]:say "pass" end
  end)
end

return chaos
