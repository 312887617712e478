--- What the command line says: a table of options, or what is wrong with it.
--
--     local options, mistake = arguments.read { "-b", "k1:9092", "-t", "orders" }
--
-- --help, --version and --completion are answered here, and end the program.

local argparse = require "argparse"

local arguments = {}

local epilog = [[
Examples:
   kafka-history -b k1:9092 -t orders                          all there was, then what comes
   kafka-history -b k1:9092 -t orders --until caught-up --format json >orders.jsonl
   kafka-history -b k1:9092 -t orders -e 'n = (n or 0) + 1; print(n, msg.key)'
   kafka-history -b k1:9092 -t orders --watch handler.lua
   kafka-history --embedded orders.jsonl handler.lua

Exit status:
   0 ended as it was asked to        1 the handler failed      2 usage, or a refused configuration
   3 Kafka failed                    4 stdout failed           124 --timeout came too early
   130 interrupted                   141 nobody reads stdout any more]]

-- "-t TOPIC, --topic TOPIC" in one line of the help, of which argparse makes two.
local function join_labels(option)
  local lines_of = option._get_label_lines
  function option:_get_label_lines()
    return { (table.concat(lines_of(self), " "):gsub("^ +", ""):gsub("  +", " ")) }
  end
end

local function new_parser()
  local parser = argparse("kafka-history",
    "Reads Kafka topics from the beginning, prints the messages or runs a Lua handler on each, says "
    .. "when everything that was there at the start has been handled, and goes on with live messages.",
    epilog)
  parser:help_max_width(100)
  parser:help_description_margin(31)
  parser:usage_max_width(100)

  parser:argument("handler", "A Lua file that returns function(msg, consumer), or a table { handle =, "
    .. "caught_up =, tick =, close = } of functions."):args "?"
  parser:option("-e --exec", "The body of function(msg, consumer), instead of a file."):argname "CODE"

  parser:option("-b --brokers", "host:port of brokers, separated by commas."):argname "HOSTS"
    :count "*"
  parser:option("-t --topic", "A topic, or more, separated by commas."):argname "TOPIC":count "*"
  parser:option("-X --property", "A property of librdkafka, as in -X security.protocol=ssl.")
    :argname "P=V":count "*"
  parser:option("-F --config", "A file of properties, a line each."):argname "FILE":count "*"
  parser:option("--embedded", "No Kafka at all: the lines of this file, JSON each, become the topic.")
    :argname "FILE.jsonl"

  parser:option("-o --from", "Where to start: beginning, end, -N (the last N of each partition), @MS "
    .. "(milliseconds since 1970), OFFSET, or P:OFFSET[,P:OFFSET] (these partitions alone).")
    :argname "WHERE"
  parser:option("-g --group", "Share the partitions with the other members of this group.")
    :argname "NAME"
  parser:flag("--latest", "Of the history, the latest message of each key alone.")
  parser:flag("--tombstones", "The same, keys that were deleted too.")
  parser:option("--max-bytes", "What --latest may keep in memory: a number, or one with K, M or G.")
    :argname "N"

  parser:option("-u --until", "When to end: caught-up."):choices { "caught-up" }
    :argname "POINT"
  parser:option("-c --count", "End after so many messages."):argname "N"
  parser:option("--timeout", "End after so many seconds."):argname "SECONDS"
  parser:option("--on-error", "A message on which the handler fails: stop (the default), skip, or "
    .. "retry=N times, a second apart."):argname "POLICY"
  parser:flag("--watch", "When the handler's file changes, run the new one from the start.")

  parser:option("-f --format", "How to print a message: value (the default), json, or a text with %t "
    .. "topic, %p partition, %o offset, %k key, %K its length, %s value, %S its length, %T timestamp, "
    .. "%h headers, %%, \\n, \\t, \\xNN."):argname "FORMAT"
  parser:option("--progress", "A bar on stderr, and the verdict: auto, always or never.")
    :choices { "auto", "always", "never" }:default "auto":argname "WHEN"
  parser:flag("--log", "Print librdkafka's log on stderr.")
  parser:add_complete()
  parser:flag("--version", "Print the versions, and exit."):action(function()
    local history = require "kafka_history"
    print(("%s, librdkafka %s, %s"):format(history._VERSION, history.librdkafka_version(),
      rawget(_G, "jit") and jit.version or _VERSION)) -- luacheck: globals jit
    os.exit(0)
  end)
  for _, option in ipairs(parser._options) do join_labels(option) end
  return parser
end

-- Values that begin with a dash, which argparse takes for options.
local dashed = {
  ["-o"] = "--from", ["--from"] = "--from", ["-e"] = "--exec", ["--exec"] = "--exec",
  ["-f"] = "--format", ["--format"] = "--format",
}

local function join_dashed(words)
  local joined, i = {}, 1
  while i <= #words do
    local word, value = words[i], words[i + 1]
    local option = dashed[word]
    if option and value and (option ~= "--from" and not value:match "^%-%-?%a[%w-]*$"
        or value:match "^%-%d") then
      word, i = option .. "=" .. value, i + 1
    end
    joined[#joined + 1] = word
    i = i + 1
  end
  return joined
end

-- --- values ---------------------------------------------------------------------------------------------

-- What a reader below raises; `arguments.read` returns it.
local function refuse(text, ...)
  error({ mistake = text:format(...) }, 0)
end

local function split(texts)
  local items = {}
  for _, text in ipairs(texts) do
    for item in text:gmatch "[^,%s]+" do items[#items + 1] = item end
  end
  return items
end

local function whole(option, text, least)
  local number = text:match "^%d+$" and tonumber(text)
  if not number or number < least or number > 2 ^ 53 then
    refuse("%s: expected a whole number, %d or more, not '%s'", option, least, text)
  end
  return number
end

local units = { [""] = 1, K = 2 ^ 10, M = 2 ^ 20, G = 2 ^ 30 }

local function bytes(option, text)
  local digits, unit = text:match "^(%d+)([KMG]?)$"
  local number = digits and tonumber(digits) * units[unit]
  if not number or number < 1 or number > 2 ^ 53 then
    refuse("%s: expected a number of bytes, or one with K, M or G, not '%s'", option, text)
  end
  return math.floor(number)
end

local function seconds(option, text)
  local number = text:match "^%d*%.?%d+$" and tonumber(text)
  if not number or number <= 0 then refuse("%s: expected seconds, above 0, not '%s'", option, text) end
  return number
end

local function policy(text)
  if text == nil or text == "stop" or text == "skip" then return text end
  local times = text:match "^retry=(%d+)$"
  if not times then refuse("--on-error: expected stop, skip or retry=N, not '%s'", text) end
  return { retry = tonumber(times), backoff = 1 }
end

-- { kind = "beginning" | "end" | "last" | "timestamp" | "offset" | "places", ... }
local function from(text)
  if text == nil then return nil end
  if text == "beginning" or text == "end" then return { kind = text } end
  local last, timestamp, offset = text:match "^%-(%d+)$", text:match "^@(%d+)$", text:match "^%d+$"
  if last then return { kind = "last", number = whole("--from", last, 1) } end
  if timestamp then return { kind = "timestamp", number = whole("--from", timestamp, 0) } end
  if offset then return { kind = "offset", number = whole("--from", offset, 0) } end
  local places = {}
  for item in (text .. ","):gmatch "([^,]*)," do
    local partition, place = item:match "^(%d+):(%d+)$"
    if not partition then
      refuse("--from: expected beginning, end, -N, @MILLISECONDS, OFFSET or "
        .. "PARTITION:OFFSET[,PARTITION:OFFSET], not '%s'", text)
    end
    places[whole("--from", partition, 0)] = whole("--from", place, 0)
  end
  return { kind = "places", places = places }
end

local function add_property(into, text)
  local name, value = text:match "^%s*([^=%s]+)%s*=(.*)$"
  if not name then refuse("-X: expected PROPERTY=VALUE, not '%s'", text) end
  into[name] = value
end

-- --- what goes with what --------------------------------------------------------------------------------

-- HOST, HOST:PORT, [v6 address]:PORT; librdkafka takes PROTOCOL:// before it.
local function check_addresses(addresses)
  for address in (addresses or ""):gmatch "[^,%s]+" do
    local plain = address:gsub("^[%a_]+://", "")
    local host, port = plain:match "^(%w[%w._-]*):?(%d*)$"
    if not host then host, port = plain:match "^(%[[%x:.]+%]):?(%d*)$" end
    if not host or tonumber(port) and tonumber(port) > 65535 then
      refuse("-b: expected HOST:PORT, not '%s'", address)
    end
  end
end

local function check(options)
  local o = options
  check_addresses(o.addresses)
  if #o.topics == 0 and not o.embedded then refuse "a topic is needed: -t TOPIC" end
  if not o.addresses and not o.embedded then refuse "brokers are needed: -b HOST:PORT" end
  if o.addresses and o.embedded then refuse "-b: goes without --embedded, which is a broker of its own" end
  if o.code and o.file then refuse "-e: goes without a handler's file" end
  if o.format and (o.code or o.file) then
    refuse "--format: says how messages are printed, and a handler prints what it wants"
  end
  if o.on_error and not (o.code or o.file) then refuse "--on-error: goes with a handler only" end
  if o.watch and not o.file then refuse "--watch: goes with a handler's file only" end
  if o.watch and o.group then
    refuse "--watch: goes without --group, which does not get its history again"
  end
  if o.max_bytes and not o.latest then refuse "--max-bytes: goes with --latest only" end
  if o.group and o.from and o.from.kind ~= "beginning" then
    refuse "--from: with --group it is beginning only; without it the group goes on where it was"
  end
  if o.from and o.from.kind == "places" and #o.topics > 1 then
    refuse "--from: PARTITION:OFFSET goes with one topic only"
  end
end

-- Properties of librdkafka that the module has keys for, by those.
local renamed = {
  ["bootstrap.servers"] = "addresses", ["metadata.broker.list"] = "addresses",
  ["client.id"] = "client_id", ["broker.version.fallback"] = "version", ["group.id"] = "group",
}

local function take(parsed)
  local properties = {}
  for _, name in ipairs(parsed.config) do
    local found, mistake = require "kafka_history.cli.properties".read(name)
    if not found then refuse("--config: %s", mistake) end
    for key, value in pairs(found) do properties[key] = value end
  end
  for _, text in ipairs(parsed.property) do add_property(properties, text) end
  local options = { properties = properties }
  for name, key in pairs(renamed) do
    options[key] = options[key] or properties[name]
    properties[name] = nil
  end
  local addresses = split(parsed.brokers)
  options.addresses = #addresses > 0 and table.concat(addresses, ",") or options.addresses
  options.topics = split(parsed.topic)
  options.group = parsed.group or options.group
  options.file, options.code = parsed.handler, parsed.exec
  options.embedded, options.watch, options.log = parsed.embedded, parsed.watch, parsed.log
  options.until_caught_up = parsed["until"] ~= nil
  options.latest = parsed.tombstones and "tombstones" or parsed.latest or nil
  options.max_bytes = parsed.max_bytes and bytes("--max-bytes", parsed.max_bytes)
  options.count = parsed.count and whole("--count", parsed.count, 1)
  options.timeout = parsed.timeout and seconds("--timeout", parsed.timeout)
  options.on_error, options.from = policy(parsed.on_error), from(parsed.from)
  options.format, options.progress = parsed.format, parsed.progress
  options.config_files, options.given_properties = parsed.config, parsed.property
  check(options)
  if not (options.code or options.file) then
    options.format = options.format or "value"
    local _, mistake = require "kafka_history.cli.format".parse(options.format)
    if mistake then refuse("--format: %s", mistake) end
  end
  return options
end

--- The options; nil and what is wrong.
-- @tparam table words the arguments, an array
function arguments.read(words)
  local parser = new_parser()
  local ok, parsed = parser:pparse(join_dashed(words))
  if not ok then return nil, parsed end
  local taken, options = pcall(take, parsed)
  if taken then return options end
  if type(options) == "table" and options.mistake then return nil, options.mistake end
  error(options, 0)
end

--- The names of all options, for who describes them elsewhere.
function arguments.parser()
  return new_parser()
end

return arguments
