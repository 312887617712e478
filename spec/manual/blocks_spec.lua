-- Every block of code in the README and the manual does what it says: Lua runs against the embedded broker
-- (spec/support/block.lua says how), commands of the shell are parsed, and run where they are the module's
-- own, nginx reads its configuration, JSON is decoded. Runs under Lua 5.4.
--
-- A comment in the line before a block may say otherwise:
--   <!-- run: luajit -->     under LuaJIT, for which alone Debian has copas
--   <!-- run: busted -->     a spec
--   <!-- run: command -->    commands that are run, in a directory that the page's blocks have in common
--   <!-- run: NAME.lua -->   Lua that is in that directory under this name, too
--   <!-- not run: why -->    of these there are few: they are counted
local broker = require "kafka_history.broker"
local child = require "support.child"
local cjson = require "cjson"
local watchdog = require "support.watchdog"

local NOT_RUN = 4 -- as many as there may be
local RUNS = { lua = true, sh = true, nginx = true, json = true, busted = true, luajit = true, text = true,
  yaml = true, c = true }

local function read_file(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Runs a command: its exit status, and what it has said.
local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1", "r"))
  local said = pipe:read "a"
  local _, _, status = pipe:close()
  return status, said
end

local function with_file(text, use)
  local name = os.tmpname()
  local file = assert(io.open(name, "wb"))
  file:write(text)
  file:close()
  local results = table.pack(pcall(use, name))
  os.remove(name)
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- The blocks of a page: { page, line, language, how, text }.
local function blocks_of(page)
  local blocks, number = {}, 0
  local block, how
  for line in (read_file(page) .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    local indent, language = line:match "^(%s*)```(%S*)"
    if block and indent then
      block.text = table.concat(block.lines, "\n") .. "\n"
      blocks[#blocks + 1], block = block, nil
    elseif block then
      table.insert(block.lines, line:sub(#block.indent + 1))
    elseif indent then
      block = { page = page, line = number, indent = indent, language = language, how = how, lines = {} }
      how = nil
    else
      how = line:match "^%s*<!%-%- (.-) %-%->$" or line:find "%S" and nil or how
    end
  end
  assert(not block, page .. ": a block has no end")
  return blocks
end

local function all_blocks()
  local list = assert(io.popen "ls README.md CONTRIBUTING.md; find doc examples -name '*.md' | sort")
  local blocks = {}
  for page in list:lines() do
    for _, block in ipairs(blocks_of(page)) do blocks[#blocks + 1] = block end
  end
  list:close()
  return blocks
end

local function has(command)
  return (os.execute("command -v " .. command .. " >/dev/null"))
end

-- The event loop that a block needs and that this machine has not: its tests are left out, as others are.
local function missing_loop(block, interpreter)
  for _, name in ipairs { "cqueues", "luv", "copas" } do
    local needs = block.text:find('require "' .. name, 1, true)
      or block.text:find("kafka_history." .. name, 1, true)
    if needs and not os.execute(("%s -e 'require \"%s\"' 2>/dev/null"):format(interpreter, name)) then
      return name
    end
  end
end

describe("the manual's block", function()
  local blocks = all_blocks()
  local shop
  local directories = {}

  setup(function()
    shop = assert(broker.new { topics = { orders = 2, prices = 2, payments = 1 } })
    local orders = {}
    for i = 1, 20 do
      orders[i] = { key = "k" .. i % 5, value = ('{"id":"k%d","items":%d,"price":%d}'):format(i % 5, i, i) }
    end
    orders[21] = { key = "k1" }
    for _, topic in ipairs { "orders", "prices", "payments" } do assert(shop:produce(topic, orders)) end
  end)

  teardown(function()
    for _, directory in pairs(directories) do os.execute("rm -rf " .. directory) end
    shop:close()
  end)

  before_each(watchdog.start)
  after_each(watchdog.stop)

  -- The page's directory. In it kafka-history ends when it has caught up.
  local function directory_of(block)
    local directory = directories[block.page]
    if not directory then
      directory = child.output "mktemp -d":match "%S+"
      directories[block.page] = directory
      os.execute("mkdir " .. directory .. "/bin")
      local file = assert(io.open(directory .. "/bin/kafka-history", "w"))
      file:write("#!/bin/sh\ncase \"$*\" in *--until*) ;; *) set -- --until caught-up \"$@\" ;; esac\nexec '",
        os.getenv "PWD", "/bin/kafka-history' \"$@\"\n")
      file:close()
      os.execute("chmod +x " .. directory .. "/bin/kafka-history")
    end
    return directory
  end

  local runs = {}

  function runs.lua(block, other)
    local interpreter = other or os.getenv "KH_LUA" or "lua5.4"
    if missing_loop(block, interpreter) then return end
    local status, said = with_file(block.text, function(name)
      return run(("%s timeout 20 %s spec/support/block.lua %s %s </dev/null"):format(
        other and "LUA_CPATH=\"$PWD/build/luajit/?.so;;\"" or "", interpreter, quote(name),
        quote(shop:addresses())))
    end)
    assert.equal(0, status, said)
  end

  function runs.luajit(block)
    if has "luajit" then runs.lua(block, "luajit") end
  end

  function runs.busted(block)
    local status, said = with_file(block.text, function(name)
      return run(("timeout 20 %s --ignore-lua -o TAP -p . %s"):format(
        child.output "command -v busted":gsub("%s+$", ""), quote(name)))
    end)
    assert.equal(0, status, said)
  end

  function runs.sh(block)
    local status, said = with_file(block.text, function(name) return run("sh -n " .. quote(name)) end)
    assert.equal(0, status, said)
  end

  function runs.command(block)
    local directory = directory_of(block)
    local text = block.text:gsub("localhost:9092", shop:addresses())
    local status, said = with_file(text, function(name)
      return run(("cd %s && PATH=$PWD/bin:$PATH timeout 20 sh -e %s"):format(directory, quote(name)))
    end)
    assert.equal(0, status, said)
  end

  function runs.json(block)
    for line in block.text:gmatch "[^\n]+" do assert(cjson.decode(line)) end
  end

  -- nginx does not look at the Lua in it before it runs.
  function runs.nginx(block)
    for code in block.text:gmatch "_by_lua_block (%b{})" do assert(load(code:sub(2, -2), "=block")) end
    if not has "nginx" then return end
    local directory = child.output "mktemp -d":match "%S+"
    local modules = child.output "tools/nginx-modules"
    local file = assert(io.open(directory .. "/nginx.conf", "w"))
    file:write(modules, "\nerror_log stderr; pid nginx.pid; events {}\nhttp {\n")
    for _, kind in ipairs { "client_body", "proxy", "fastcgi", "uwsgi", "scgi" } do
      file:write(("%s_temp_path %s;\n"):format(kind, kind))
    end
    file:write(("lua_package_path '%s/lua/?.lua;%s/lua/?/init.lua;/usr/share/lua/5.1/?.lua;;';\n"):format(
      os.getenv "PWD", os.getenv "PWD"))
    file:write(("lua_package_cpath '%s/build/luajit/?.so;;';\n"):format(os.getenv "PWD"))
    file:write(block.text, "}\n")
    file:close()
    local status, said = run(("nginx -t -q -p %s -c %s/nginx.conf"):format(directory, directory))
    os.execute("rm -rf " .. directory)
    assert.equal(0, status, said)
  end

  local not_run = {}
  for _, block in ipairs(blocks) do
    local place = ("%s:%d"):format(block.page, block.line)
    local language = block.language
    local why = block.how and block.how:match "^not run: (.+)$"
    local how = block.how and block.how:match "^run: ([%a.]+)$"
    if why then
      not_run[#not_run + 1] = place
    elseif how and how:find "%.lua$" then
      it(("%s (%s) runs"):format(place, how), function()
        local file = assert(io.open(directory_of(block) .. "/" .. how, "w"))
        file:write(block.text)
        file:close()
        runs.lua(block)
      end)
    elseif runs[how or language] then
      it(("%s (%s) runs"):format(place, how or language), function() runs[how or language](block) end)
    end
  end

  it("says in which language it is, one that is known here", function()
    for _, block in ipairs(blocks) do
      assert.is_truthy(RUNS[block.language], ("%s:%d: %q"):format(block.page, block.line, block.language))
    end
  end)

  it(("is run, but for %d"):format(NOT_RUN), function()
    assert.is_true(#not_run <= NOT_RUN, table.concat(not_run, "\n"))
    assert.is_true(#blocks > 40)
  end)
end)
