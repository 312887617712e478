-- A real broker for the specs: where it is, and topics on it.
--
-- The broker is the one that the environment variable KAFKA_HISTORY_BROKER names, or else one that
-- the first use starts with tools/kafka/kafka and that goes on running (`tools/kafka/kafka stop`).
-- Runs from the top of the checkout, as busted does. Topics are changed with build/kafka-admin,
-- which `make build/kafka-admin` builds.
--
-- Whatever goes wrong is raised as an error with the command and what it said: a spec cannot go on.

local library = require "support.library"

local kafka = {}

local script = "tools/kafka/kafka"
local program = "build/kafka-admin"
local poll_interval_s = 0.05

local function quote(argument)
  return "'" .. tostring(argument):gsub("'", "'\\''") .. "'"
end

local function command_line(arguments)
  local quoted = {}
  for i, argument in ipairs(arguments) do
    quoted[i] = quote(argument)
  end
  return table.concat(quoted, " ")
end

-- Runs a command to its end: its stdout, or an error with its stderr. The exit status travels as
-- the last line, because LuaJIT's close() does not tell it.
local function run(arguments, input)
  local errors_name = os.tmpname()
  local input_name = "/dev/null"
  if input then
    input_name = os.tmpname()
    local file = assert(io.open(input_name, "wb"))
    assert(file:write(input))
    file:close()
  end
  local line = command_line(arguments)
  local pipe = assert(io.popen(("{ %s%s; } <%s 2>%s; echo \"=$?\""):format(
    library.outside, line, quote(input_name), quote(errors_name))))
  local output, status = pipe:read("*a"):match("^(.*)=(%d+)\n$")
  pipe:close()
  local errors_file = assert(io.open(errors_name))
  local errors = errors_file:read("*a")
  errors_file:close()
  os.remove(errors_name)
  if input then
    os.remove(input_name)
  end
  if status ~= "0" then
    error(("%s\nended with status %s:\n%s"):format(line, tostring(status), errors), 0)
  end
  return output
end

local addresses

-- The bootstrap addresses, "host:port,host:port".
function kafka.addresses()
  if not addresses then
    local given = os.getenv("KAFKA_HISTORY_BROKER")
    if given and given ~= "" then
      addresses = given
    else
      addresses = run({ script, "start" }):match("^%S+")
    end
  end
  return addresses
end

local function admin(verb, arguments)
  local line = { program, kafka.addresses(), verb }
  for _, argument in ipairs(arguments) do
    line[#line + 1] = argument
  end
  return run(line)
end

-- {name = value} as sorted "name=value" words, appended to the list.
local function append_settings(list, settings)
  local words = {}
  for name, value in pairs(settings or {}) do
    words[#words + 1] = ("%s=%s"):format(name, tostring(value))
  end
  table.sort(words)
  for _, word in ipairs(words) do
    list[#list + 1] = word
  end
  return list
end

-- What differs between two runs, or two specs run at once: the process and some random bytes.
local function make_run_id()
  local random = assert(io.open("/dev/urandom", "rb"))
  local bytes = random:read(4)
  random:close()
  local pipe = assert(io.popen("echo $PPID"))
  local pid = pipe:read("*a"):match("%d+")
  pipe:close()
  return pid .. "-" .. bytes:gsub(".", function(byte)
    return ("%02x"):format(byte:byte())
  end)
end

local run_id
local counter = 0

-- Names a topic that no other test and no earlier run has.
function kafka.topic_name(prefix)
  run_id = run_id or make_run_id()
  counter = counter + 1
  return ("%s-%s-%d"):format(prefix, run_id, counter)
end

-- Creates a topic of exactly this name; a test of recreation needs that.
-- options: partitions (1), replication (the broker's default), config ({name = value}).
function kafka.recreate(topic, options)
  options = options or {}
  local arguments = { topic, options.partitions or 1 }
  if options.replication then
    arguments[#arguments + 1] = options.replication
  end
  admin("create", append_settings(arguments, options.config))
end

-- Creates a topic with a new name and returns the name once all its partitions have leaders.
-- options: as for recreate.
function kafka.create(prefix, options)
  local topic = kafka.topic_name(prefix)
  kafka.recreate(topic, options)
  return topic
end

-- Deletes a topic and returns once the metadata does not show it any more.
function kafka.delete(topic)
  admin("delete", { topic })
end

-- Deletes the records below an offset; offsets: {[partition] = offset}, -1 for the end.
function kafka.delete_records(topic, offsets)
  local arguments = { topic }
  for partition, offset in pairs(offsets) do
    arguments[#arguments + 1] = ("%d"):format(partition)
    arguments[#arguments + 1] = ("%d"):format(offset)
  end
  admin("delete-records", arguments)
end

-- Grows a topic to this number of partitions.
function kafka.add_partitions(topic, total)
  admin("partitions", { topic, total })
end

-- Where each partition begins and ends for read_uncommitted: {[partition] = {low =, high =}}.
function kafka.ends(topic)
  local ends = {}
  for partition, low, high in admin("ends", { topic }):gmatch("(%d+) (%d+) (%d+)\n") do
    ends[tonumber(partition)] = { low = tonumber(low), high = tonumber(high) }
  end
  return ends
end

-- What the group has committed of a topic: {[partition] = offset}.
function kafka.committed(topic, group)
  local committed = {}
  for partition, offset in admin("committed", { topic, group }):gmatch("(%d+) (%-?%d+)\n") do
    committed[tonumber(partition)] = tonumber(offset)
  end
  return committed
end

-- Changes settings of a group, by Kafka's own command, which takes 2 s; settings: {name = value}.
function kafka.configure_group(group, settings)
  run({ "sh", "-c", [[exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" -cp 'build/kafka/jars/*' \
    kafka.admin.ConfigCommand --bootstrap-server "$1" --alter --entity-type groups --entity-name "$2" \
    --add-config "$3"]], "sh", kafka.addresses(), group,
    table.concat(append_settings({}, settings), ",") })
end

-- Changes settings of a topic and keeps the others; settings: {name = value}.
function kafka.config(topic, settings)
  admin("config", append_settings({ topic }, settings))
end

-- Runs kcat with a list of arguments against the broker and returns what it printed; input goes
-- to its stdin. Bounded by 60 s.
function kafka.kcat(arguments, input)
  local line = { "timeout", "60", "kcat", "-b", kafka.addresses() }
  for _, argument in ipairs(arguments) do
    line[#line + 1] = argument
  end
  return run(line, input)
end

-- Costs a process, which a test with a broker does not notice.
function kafka.sleep(seconds)
  os.execute(("sleep %.3f"):format(seconds))
end

-- Calls the function until it returns something true, and returns that; an error after so many
-- seconds (10). what: what is waited for, for the error.
function kafka.wait_until(condition, seconds, what)
  seconds = seconds or 10
  local deadline_s = os.time() + seconds + 1 -- os.time() counts whole seconds
  while true do
    local result = condition()
    if result then
      return result
    end
    if os.time() >= deadline_s then
      error(("waited %g s in vain for %s"):format(seconds, what or "a condition"), 2)
    end
    kafka.sleep(poll_interval_s)
  end
end

return kafka
