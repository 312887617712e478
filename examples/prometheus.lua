-- Reads a topic and serves what there is to know about it to Prometheus, from one loop in one thread.
--
--   lua5.4 examples/prometheus.lua ADDRESSES TOPIC [HOST:PORT]
--   curl http://127.0.0.1:9464/metrics
--
-- GET /metrics answers in the text format 0.0.4; GET /ready with 503 until all that was in the topic at
-- the start has been handled, then with 200. Needs LuaSocket and lua-cjson (Debian: lua-socket, lua-cjson).

local history = require "kafka_history"
local socket = require "socket"
local json = require "cjson"

local addresses, topic, listen = ...
if not topic then error("usage: lua5.4 examples/prometheus.lua ADDRESSES TOPIC [HOST:PORT]", 0) end
local host, port = (listen or "127.0.0.1:9464"):match "^(.+):(%d+)$"
if not host then error("expected HOST:PORT to listen at, got " .. listen, 0) end

local retry_s = 5 -- after reading has failed
local request_s, request_bytes, requests_most = 5, 8192, 32
local version = "text/plain; version=0.0.4; charset=utf-8"

-- 1. Whatever librdkafka and the module tell is counted here, and nothing is printed.

local events, logs, failures = {}, {}, {}
local stats = { brokers = {} } -- the latest
local levels = { [0] = "emergency", "alert", "critical", "error", "warning", "notice", "info", "debug" }

local function count(counts, name)
  counts[name] = (counts[name] or 0) + 1
end

local consumer = assert(history.new {
  addresses = addresses,
  topics = topic,
  options = { ["statistics.interval.ms"] = 1000 },
  on_event = function(event) count(events, event.name) end,
  on_log = function(log) count(logs, levels[log.level]) end,
  on_stats = function(text) stats = json.decode(text) end,
})
local caught_up = consumer:caught_up()

-- What the topic is read for: here, the latest value of each key, and how many keys have one.
local latest, keys = {}, 0
local function handle(message)
  if not message.key then return end
  local before, now = latest[message.key], message:data()
  latest[message.key] = now
  keys = keys + (now and 1 or 0) - (before and 1 or 0)
end

-- 2. The text that Prometheus reads: a metric with its help, its type and a line for each set of labels.

local escapes = { ["\\"] = "\\\\", ["\n"] = "\\n", ['"'] = '\\"' }

local function label(name, value)
  return ('%s="%s"'):format(name, (tostring(value):gsub('[\\\n"]', escapes)))
end

local function number(value)
  return (value % 1 == 0 and "%.0f" or "%.9g"):format(value)
end

-- `samples` is a number, or an array of { labels =, value = }; without any the metric is left out.
local function add(lines, name, kind, help, samples)
  if type(samples) == "number" then samples = { { value = samples } } end
  if #samples == 0 then return end
  table.insert(lines, ("# HELP kafka_history_%s %s"):format(name, help))
  table.insert(lines, ("# TYPE kafka_history_%s %s"):format(name, kind))
  for _, sample in ipairs(samples) do
    local labels = sample.labels and "{" .. table.concat(sample.labels, ",") .. "}" or ""
    table.insert(lines, ("kafka_history_%s%s %s"):format(name, labels, number(sample.value)))
  end
end

local function by_name(counts, label_name)
  local samples = {}
  for name, value in pairs(counts) do
    table.insert(samples, { labels = { label(label_name, name) }, value = value })
  end
  return samples
end

-- A sample for each partition of which `value_of` knows a value.
local function by_partition(places, value_of)
  local samples = {}
  for _, place in ipairs(places) do
    local labels = { label("topic", place.topic), label("partition", place.partition) }
    local value = value_of(place)
    if value then table.insert(samples, { labels = labels, value = value }) end
  end
  return samples
end

local function by_state(now)
  local samples = {}
  for _, state in ipairs { "starting", "reading", "caught_up", "failed", "closed" } do
    table.insert(samples, { labels = { label("state", state) }, value = state == now and 1 or 0 })
  end
  return samples
end

-- Of the brokers that have answered something in the last second; librdkafka counts in microseconds.
local function round_trips()
  local samples = {}
  for _, broker in pairs(stats.brokers) do
    if broker.nodeid >= 0 and broker.source ~= "logical" and broker.rtt.cnt > 0 then
      table.insert(samples, { labels = { label("broker", broker.name) }, value = broker.rtt.avg / 1e6 })
    end
  end
  return samples
end

local function metrics()
  local p, lines = consumer:progress(), {}
  add(lines, "caught_up", "gauge", "Has all that was there at the start been handled?",
    caught_up:is_ready() and 1 or 0)
  add(lines, "state", "gauge", "1 for the state that the reader is in.", by_state(p.state))
  add(lines, "messages_total", "counter", "Messages handled or skipped.", p.messages)
  add(lines, "bytes_total", "counter", "Bytes of their keys and values.", p.bytes)
  add(lines, "skipped_total", "counter", "Messages skipped by on_error.", p.skipped)
  add(lines, "gaps_total", "counter", "Times that records were deleted before they were read.", p.gaps)
  add(lines, "truncated_total", "counter", "Times that a log had lost its end.", p.truncated)
  add(lines, "fraction", "gauge", "How much of the history has been passed, 0 to 1.", p.fraction)
  add(lines, "rate", "gauge", "Messages a second, lately.", p.rate)
  add(lines, "position", "gauge", "The offset at which reading goes on.",
    by_partition(p.partitions, function(place) return place.position end))
  add(lines, "end_offset", "gauge", "The end of the log, as the last fetch told it.",
    by_partition(p.partitions, function(place) return place.end_offset end))
  add(lines, "lag", "gauge", "Offsets between position and end_offset.",
    by_partition(p.partitions, function(place) return place.lag end))
  add(lines, "events_total", "counter", "What on_event was told.", by_name(events, "name"))
  add(lines, "logs_total", "counter", "librdkafka's log lines.", by_name(logs, "level"))
  add(lines, "failures_total", "counter", "Times that reading has failed.", by_name(failures, "code"))
  add(lines, "broker_rtt_seconds", "gauge", "Average round trip in the last second.", round_trips())
  add(lines, "keys", "gauge", "Keys that have a value: this program's own number.", keys)
  add(lines, "received_bytes_total", "counter", "Bytes that came from brokers.", stats.rx_bytes or 0)
  return table.concat(lines, "\n") .. "\n"
end

-- 3. HTTP, as much as it takes: one request a connection, each a coroutine that yields what it waits for.

local function receive_head(client)
  local head = ""
  while true do
    local all, err, part = client:receive(request_bytes - #head)
    head = head .. (all or part)
    if head:find "\r?\n\r?\n" then return head end
    if err ~= "timeout" then return nil end -- gone, or more than a request may have
    coroutine.yield "read"
  end
end

local function send_all(client, text)
  local sent = 0
  while sent < #text do
    local last, err, part = client:send(text, sent + 1)
    sent = last or part
    if err and err ~= "timeout" then return end
    if err then coroutine.yield "write" end
  end
end

local function answer(head)
  local method, path = (head or ""):match "^(%u+) ([^ ?]+)%S* HTTP/1%.%d\r?\n"
  if not method then return "400 Bad Request", "not understood\n" end
  if method ~= "GET" then return "405 Method Not Allowed", "only GET\n" end
  if path == "/metrics" then return "200 OK", metrics() end
  if path ~= "/ready" then return "404 Not Found", "there are /metrics and /ready\n" end
  if caught_up:is_ready() then return "200 OK", "caught up\n" end
  local percent = consumer:progress().fraction * 100
  return "503 Service Unavailable", ("%.2f %% of the history read\n"):format(percent)
end

local function serve(client)
  local status, body = answer(receive_head(client))
  send_all(client, ("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s")
    :format(status, version, #body, body))
end

local requests = {} -- { client =, thread =, waits_for =, until_s = }

local function resume(request)
  local ok, waits_for = coroutine.resume(request.thread, request.client)
  if not ok then error(waits_for, 0) end
  request.waits_for = waits_for -- nil: served
end

local function accept(listener)
  local client = listener:accept()
  if not client then return end
  client:settimeout(0)
  local request = { client = client, thread = coroutine.create(serve) }
  request.until_s = socket.gettime() + request_s
  table.insert(requests, request)
  resume(request)
end

local function go_on(request, readable, writable)
  if readable[request.client] or writable[request.client] then resume(request) end
end

local function drop_served(now_s)
  for i = #requests, 1, -1 do
    if not requests[i].waits_for or now_s > requests[i].until_s then
      requests[i].client:close()
      table.remove(requests, i)
    end
  end
end

-- 4. The loop: a step of the reader, which never blocks, then whatever select says is there.

io.stdout:setvbuf "line"
local listener = assert(socket.bind(host, port))
listener:settimeout(0)
print(("metrics at http://%s:%s/metrics"):format(listener:getsockname()))

-- The consumer as LuaSocket's select wants it.
local kafka = { getfd = function() return consumer:pollfd() end, dirty = function() return false end }
local read_again_s = 0

-- How long select may wait for the reader's sake; nil: as long as its descriptor is silent.
local function read(now_s)
  if now_s < read_again_s then return read_again_s - now_s end
  local handled, err, code = consumer:step(handle)
  if handled then return consumer:timeout() end
  count(failures, code)
  io.stderr:write(("%s; going on in %d s\n"):format(err, retry_s))
  read_again_s = now_s + retry_s
  return retry_s
end

while true do
  local now_s = socket.gettime()
  local wait_s = read(now_s)
  local readers, writers = {}, {}
  if now_s >= read_again_s then table.insert(readers, kafka) end
  if #requests < requests_most then table.insert(readers, listener) end
  for _, request in ipairs(requests) do
    table.insert(request.waits_for == "read" and readers or writers, request.client)
    wait_s = math.min(wait_s or math.huge, math.max(request.until_s - now_s, 0))
  end
  local readable, writable = socket.select(readers, writers, wait_s)
  for _, request in ipairs(requests) do go_on(request, readable, writable) end
  if readable[listener] then accept(listener) end
  drop_served(socket.gettime())
end
