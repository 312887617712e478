-- A cache that fills itself from a topic, behind a health check: no request gets to it before it is warm.
--
--   lua5.4 examples/warm_up.lua ADDRESSES TOPIC [HOST:PORT]
--   curl http://127.0.0.1:8080/health
--   curl http://127.0.0.1:8080/value/KEY
--
-- GET /health answers 503, and how much is read, until everything that was in the topic at the start is in
-- the cache; then 200. A load balancer, or a readiness probe, sends others here from then on. When reading
-- fails for good the process ends, and whoever has started it starts it again.
--
-- Needs cqueues (Debian: lua-cqueues), in whose loop the reader and all requests run in one thread.

local cqueues = require "cqueues"
local history = require "kafka_history.cqueues"
local socket = require "cqueues.socket"

local addresses, topic, listen = ...
if not topic then error("usage: lua5.4 examples/warm_up.lua ADDRESSES TOPIC [HOST:PORT]", 0) end
local host, port = (listen or "127.0.0.1:8080"):match "^(.+):(%d+)$"
if not host then error("expected HOST:PORT to listen at, got " .. listen, 0) end

io.stdout:setvbuf "line"
local request_s = 5 -- how long a client may take to ask
local queue = cqueues.new()

-- 1. The cache: the latest value of each key.

local cache = {}
local consumer = assert(history.new { addresses = addresses, topics = topic })
local caught_up = consumer:caught_up()

local function handle(key, value)
  if key then cache[key] = value end -- no value, a tombstone: gone
end

queue:wrap(function()
  local _, err = consumer:read_history(handle, { fields = { "key", "value" } })
  error(err, 0)
end)

queue:wrap(function()
  if not caught_up:wait() then return end -- has failed; the reader says so
  local verdict = consumer:progress()
  print(("warm after %d messages in %.1f s"):format(verdict.messages, verdict.seconds))
end)

-- 2. What is answered. is_ready() asks nobody: it costs as much as looking at a variable.

local function answer(method, path)
  if method ~= "GET" then return "405 Method Not Allowed", "only GET\n" end
  if not caught_up:is_ready() then
    return "503 Service Unavailable", ("%.0f %% read\n"):format(consumer:progress().fraction * 100)
  end
  if path == "/health" then return "200 OK", "warm\n" end
  local key = path:match "^/value/(.+)$"
  if not key then return "404 Not Found", "there are /health and /value/KEY\n" end
  key = key:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  if not cache[key] then return "404 Not Found", "no such key\n" end
  return "200 OK", cache[key]
end

-- 3. HTTP, as much as it takes: one request a connection, a coroutine each.

local function serve(client)
  client:setmode("b", "b")
  client:settimeout(request_s)
  client:onerror(function(_, _, code) return code end) -- no client can raise an error here
  local method, path = (client:read "*l" or ""):match "^(%u+) ([^ ?]+)%S* HTTP/1%.%d\r?$"
  if method then
    repeat
      local line = client:read "*l"
    until not line or line == "" or line == "\r"
    local status, body = answer(method, path)
    client:write(("HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"):format(status, #body))
    client:write(body)
    client:flush()
    client:shutdown "w"
  end
  client:close()
end

local server = assert(socket.listen { host = host, port = tonumber(port), reuseaddr = true })
assert(server:listen())
print(("serving at http://%s:%d/"):format(select(2, server:localname())))
queue:wrap(function()
  for client in server:clients() do queue:wrap(serve, client) end
end)

local ok, err = queue:loop()
if not ok then error(err, 0) end
