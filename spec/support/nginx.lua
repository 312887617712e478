-- nginx for the specs: servers on 127.0.0.1, each in a directory of its own, with the module for LuaJIT.
-- nginx.missing says why there can be none.

local http = require "socket.http"
local socket = require "socket"
local system = require "system"

local nginx = {}

local server = {}
server.__index = server

local function output(command)
  local pipe = assert(io.popen(command, "r"))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local checkout = output "pwd -P":match "[^\n]+"

local modules, failed = output "tools/nginx-modules 2>/dev/null; echo =$?":match "^(.*)=(%d+)\n$"
if failed ~= "0" then nginx.missing = "nginx with its Lua module is not there (tools/setup nginx)" end

--- For a spec where nginx is missing: CI must have it, a user need not.
function nginx.say_missing()
  it("has nginx to run in", function()
    if os.getenv "CI" then error(nginx.missing) end
    pending(nginx.missing)
  end)
end

local function read_file(name)
  local file = io.open(name, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

local function write_file(name, text)
  local file = assert(io.open(name, "wb"))
  assert(file:write(text))
  file:close()
end

--- Calls until it returns something true, and returns that; an error after so many seconds (20).
function nginx.wait_until(condition, seconds, what)
  local deadline = system.monotime() + (seconds or 20)
  while true do
    local value = condition()
    if value then return value end
    if system.monotime() > deadline then error("this has not come: " .. (what or "a condition"), 2) end
    system.sleep(0.01)
  end
end

local function free_port()
  local listener = assert(socket.bind("127.0.0.1", 0))
  local _, port = listener:getsockname()
  listener:close()
  return tonumber(port)
end

-- What a configuration begins with. As the user that it takes by default, it may be unable to read here.
local head = (modules or "") .. (output "id -u":match "%d+" == "0" and "user root;\n" or "")

-- /run runs a request's body in a worker; its result, or its error with status 500.
local template = [[
%s
daemon off;
worker_processes %d;
worker_shutdown_timeout 30;
error_log error.log notice;
pid nginx.pid;
%s
events { worker_connections 2048; }
http {
  access_log off;
  lingering_close off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  lua_package_path "%s/lua/?.lua;%s/lua/?/init.lua;/usr/share/lua/5.1/?.lua;;";
  lua_package_cpath "%s/build/luajit/?.so;;";
  %s
  server {
    listen 127.0.0.1:%d reuseport;
    location = /run {
      client_body_buffer_size 64k;
      content_by_lua_block {
        ngx.req.read_body()
        local run = assert(loadstring(ngx.req.get_body_data()))
        local ok, result = xpcall(run, debug.traceback)
        ngx.status = ok and 200 or 500
        ngx.print(tostring(result))
      }
    }
    %s
  }
}
]]

local running = {}

--- Starts nginx in a directory with this configuration, and waits until it answers at that port. prefix:
-- what paths in the configuration begin from (the directory).
function nginx.run(directory, configuration, port, prefix)
  local self = setmetatable({ directory = directory, port = port,
    url = "http://127.0.0.1:" .. port }, server)
  write_file(directory .. "/nginx.conf", configuration)
  os.execute(([[
    cd %s && PATH=$PATH:/usr/sbin || exit
    nginx -p %s -c %s/nginx.conf </dev/null >output 2>&1 &
    echo $! >pid
  ]]):format(directory, prefix or directory, directory))
  self.pid = assert(tonumber(read_file(directory .. "/pid")))
  running[self] = true
  nginx.wait_until(function()
    if not self:is_running() then
      error("nginx has ended:\n" .. read_file(directory .. "/output") .. (self:log() or ""), 0)
    end
    local connection = socket.connect("127.0.0.1", port)
    if connection then connection:close() end
    return connection
  end, 20, "an answer of nginx's")
  return self
end

function nginx.directory()
  local directory = output "mktemp -d":match "[^\n]+"
  os.execute("chmod 755 " .. directory)
  return directory
end

--- Starts a server. options: workers (1); main, http, server: more lines of the configuration's levels.
-- {port} in them is its port.
function nginx.start(options)
  local port = free_port()
  local function level(name)
    return (options[name] or ""):gsub("{port}", port)
  end
  local text = template:format(head, options.workers or 1, level "main", checkout, checkout,
    checkout, level "http", port, level "server")
  return nginx.run(nginx.directory(), text, port)
end

nginx.free_port = free_port
nginx.head = head
nginx.checkout = checkout

--- For after_each.
function nginx.clean()
  for one in pairs(running) do one:stop() end
end

function server:is_running()
  local state = (read_file(("/proc/%d/stat"):format(self.pid)) or ""):match "%) (%S)"
  return state ~= nil and state ~= "Z"
end

--- The process ids of its workers, those that are about to leave included.
function server:workers()
  local pids = {}
  for pid in (read_file(("/proc/%d/task/%d/children"):format(self.pid, self.pid)) or ""):gmatch "%d+" do
    pids[#pids + 1] = tonumber(pid)
  end
  return pids
end

function server:log()
  return read_file(self.directory .. "/error.log")
end

--- The lines of the error log of level warn and above.
function server:errors()
  local lines = {}
  for line in (self:log() or ""):gmatch "[^\n]+" do
    -- What does not begin with a date belongs to the line before.
    if line:find "^%d%d%d%d/" and not line:find "%[notice%]" or lines[1] and not line:find "^%d%d%d%d/" then
      lines[#lines + 1] = line
    end
  end
  return table.concat(lines, "\n")
end

function server:signal(name)
  os.execute(("kill -%s %d"):format(name, self.pid))
end

--- The status of GET, and the body.
function server:get(path, seconds)
  http.TIMEOUT = seconds or 20
  local body, status = http.request(self.url .. path)
  if not body then error(path .. ": " .. tostring(status), 2) end
  return status, body
end

--- Runs Lua code in a worker: what it returns, as text.
function server:run(code)
  http.TIMEOUT = 40
  local body, status = http.request(self.url .. "/run", code)
  if status ~= 200 then error(("/run: %s: %s"):format(tostring(status), tostring(body)), 2) end
  return body
end

--- Runs code until its result is this one.
function server:await(code, result, seconds)
  local last
  local ok = pcall(nginx.wait_until, function()
    last = self:run(code)
    return last == result
  end, seconds)
  if not ok then error(("%s is %s, not %s:\n%s"):format(code, last, result, self:errors()), 2) end
end

--- Sends a request, GET or code to run, and does not wait: an object whose finish() does, and returns the
-- status and the body.
function server:send(path, code)
  local connection = assert(socket.connect("127.0.0.1", self.port))
  connection:settimeout(40)
  local text = code and ("POST %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s"):format(path, #code, code)
    or ("GET %s HTTP/1.0\r\n\r\n"):format(path)
  assert(connection:send(text))
  local request = {}
  function request.finish()
    local answer, err, part = connection:receive "*a"
    connection:close()
    answer = answer or part
    local status, body = answer:match "^HTTP/1%.[01] (%d+).-\r\n\r\n(.*)$"
    if not status then error(path .. ": no answer: " .. tostring(err), 2) end
    return tonumber(status), body
  end
  return request
end

--- Asks it to leave gracefully, and waits for that: how many seconds it took.
function server:quit()
  local began = system.monotime()
  self:signal "QUIT"
  nginx.wait_until(function() return not self:is_running() end, 30, "the end of nginx")
  return system.monotime() - began
end

--- Asks for new workers, and waits until the old ones have left: how many seconds it took.
function server:reload()
  local before = {}
  for _, pid in ipairs(self:workers()) do before[pid] = true end
  local began = system.monotime()
  self:signal "HUP"
  nginx.wait_until(function()
    local now = self:workers()
    for _, pid in ipairs(now) do
      if before[pid] then return false end
    end
    return #now > 0
  end, 30, "the end of the old workers")
  return system.monotime() - began
end

--- Ends it whatever it does, and removes its directory.
function server:stop()
  running[self] = nil
  local pids = self:workers()
  if self:is_running() then self:signal "TERM" end
  local function has_ended() return not self:is_running() end
  if not pcall(nginx.wait_until, has_ended, 5) then
    self:signal "KILL"
    for _, pid in ipairs(pids) do os.execute(("kill -KILL %d 2>/dev/null"):format(pid)) end
  end
  os.execute("rm -rf " .. self.directory)
end

local beside_timer = [[
  init_worker_by_lua_block {
    local history = require "kafka_history.resty"
    local now = require "kafka_history.core".consumer.now
    local period, busy = 0.01, 20e-6
    run = { messages = 0, late = {} }
    local consumer = assert(history.new { addresses = "%s", topics = "t" })
    local last, began = now(), now()
    local function tick()
      if run.seconds then return end
      local pause = now() - last
      last = last + pause
      table.insert(run.late, ("%%f"):format(math.max(pause - period, 0)))
      ngx.timer.at(period, tick)
    end
    ngx.timer.at(period, tick)
    ngx.timer.at(0, function()
      assert(consumer:read_history(function()
        run.messages = run.messages + 1
        local done = now() + busy
        while now() < done do end
      end, { stop_at = "caught_up" }))
      run.seconds = now() - began
    end)
  }
]]

--- What support.loops' function of the same name does, in a worker: reads the topic "t" with a handler that
-- is busy for 20 us beside a timer of 10 ms; the longest pause is that of ticks alone. And `answers`: how
-- many requests were answered meanwhile.
function nginx.read_beside_timer(addresses)
  local one = nginx.start { http = beside_timer:format(addresses) }
  local answers = 0
  while one:run "return run.seconds ~= nil" == "false" do answers = answers + 1 end
  local messages, seconds, ticks =
    one:run "return ('%d %f %s'):format(run.messages, run.seconds, table.concat(run.late, ' '))"
      :match "^(%S+) (%S+) (.*)$"
  local late = {}
  for text in ticks:gmatch "%S+" do late[#late + 1] = tonumber(text) end
  table.sort(late)
  one:stop()
  return { messages = tonumber(messages), seconds = tonumber(seconds), late = late,
    longest = late[#late] + 0.01, answers = answers }
end

--- How many files are in a directory.
function nginx.count(directory)
  return tonumber(output("ls " .. directory .. " | wc -l"))
end

--- How often the worker's own thread has been woken so far.
function server:wake_ups()
  local pid = self:workers()[1]
  local status = read_file(("/proc/%d/task/%d/status"):format(pid, pid))
  return tonumber(status:match "\nvoluntary_ctxt_switches:%s*(%d+)")
end

--- Kilobytes of memory that a process has resident.
function nginx.resident_kb(pid)
  return tonumber(read_file(("/proc/%d/status"):format(pid)):match "VmRSS:%s*(%d+)")
end

return nginx
