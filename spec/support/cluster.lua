-- A real cluster of a spec's own, whose nodes may be killed, stopped and started again.

local kafka = require "support.kafka"

local cluster = {}
cluster.__index = cluster

local script = "tools/kafka/kafka"

local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1; echo \"=$?\""))
  local output, status = pipe:read("*a"):match "^(.*)=(%d+)\n$"
  pipe:close()
  if status ~= "0" then error(command .. " ended with status " .. status .. ":\n" .. output, 2) end
  return output
end

local started = 0

--- Starts a cluster; `options` are more arguments of tools/kafka/kafka start.
function cluster.start(nodes, options)
  started = started + 1
  local dir = ("build/kafka/cluster-%s-%d"):format(kafka.topic_name "c", started)
  local self = setmetatable({ dir = dir }, cluster)
  run(("%s start --nodes %d --dir %s %s"):format(script, nodes, dir, options or ""))
  self.address = self:tool("addresses"):match "%S+"
  return self
end

--- The cluster that another process has started in this directory.
function cluster.at(dir)
  local self = setmetatable({ dir = dir }, cluster)
  self.address = self:tool("addresses"):match "%S+"
  return self
end

--- One of tools/kafka/kafka's verbs on this cluster: "kill 1", "restart 1", "pause 1", "cont 1", ...
function cluster:tool(verb)
  return run(("%s %s --dir %s"):format(script, verb, self.dir))
end

--- One of build/kafka-admin's verbs on this cluster.
function cluster:admin(arguments)
  return run(("build/kafka-admin %s %s"):format(self.address, arguments))
end

function cluster:create(name, partitions, replication, settings)
  local topic = kafka.topic_name(name)
  self:admin(("create %s %d %d %s"):format(topic, partitions, replication or 1, settings or ""))
  return topic
end

--- { [partition] = number of the node that leads it, -1: none }.
function cluster:leaders(topic)
  local listed = run(("timeout 20 kcat -L -b %s -t %s"):format(self.address, topic))
  local leaders = {}
  for partition, leader in listed:gmatch "partition (%d+), leader (%-?%d+)" do
    leaders[tonumber(partition)] = tonumber(leader)
  end
  return leaders
end

--- The numbers of the nodes that lead and follow a topic's only partition of two replicas.
function cluster:replicas(topic)
  local listed = run(("timeout 20 kcat -L -b %s -t %s"):format(self.address, topic))
  local leader, first, second = listed:match "leader (%d), replicas: (%d),(%d)"
  return leader, leader == first and second or first
end

function cluster:stop()
  run(("%s stop --dir %s"):format(script, self.dir))
  os.remove(self.dir)
end

return cluster
