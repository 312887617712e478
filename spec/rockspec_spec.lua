-- The two ways in which users get the module, a rock and `make install`, for Lua 5.4 and LuaJIT: the
-- same files, the same single symbol, and a program that runs from what was installed alone.
-- Runs under Lua 5.4.

local rockspec_name = "rockspec/kafka-history-scm-1.rockspec"

local program = [[
local history = require "kafka_history"
require "kafka_history.progress"
local shop = assert(require "kafka_history.broker".new { topics = { orders = 2 } })
assert(shop:produce("orders", { { key = "a", value = "1" }, { key = "b" }, { key = "a" } }))
local consumer = assert(history.new { addresses = shop:addresses(), topics = "orders" })
assert(consumer:read_history(function() end, { stop_at = "caught_up", timeout = 30 }))
print(consumer:progress().messages .. " messages")
]]

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Runs a shell's command: its stdout; an error with all that it said when it fails.
local function run(format, ...)
  local errors = os.tmpname()
  local command = format:format(...)
  local pipe = assert(io.popen(("{ %s\n} 2>%s"):format(command, errors), "r"))
  local output = pipe:read "a"
  local ok = pipe:close()
  local file = assert(io.open(errors))
  local said = file:read "a"
  file:close()
  os.remove(errors)
  if not ok then error(command .. "\nfailed:\n" .. output .. said, 2) end
  return output
end

local function lines(text)
  local all = {}
  for line in text:gmatch "[^\n]+" do all[#all + 1] = line end
  table.sort(all)
  return all
end

local function read_rockspec()
  local rockspec = {}
  assert(loadfile(rockspec_name, "t", rockspec))()
  return rockspec
end

local function exported(library)
  return run("nm -D --defined-only %s | awk '{ print $3 }'", quote(library))
end

describe("the rock", function()
  local rockspec = read_rockspec()

  it("lists every file that make builds and installs, and every file on disk", function()
    local listed = {}
    for _, module in pairs(rockspec.build.modules) do
      if type(module) == "string" then
        listed[#listed + 1] = module
      else
        for _, source in ipairs(module.sources) do listed[#listed + 1] = source end
      end
    end
    table.sort(listed)
    assert.same(lines(run "make -s --no-print-directory print-sources"), listed)
    -- What is in src/fast is of the other rock.
    assert.same(lines(run "find src/engine src/lua lua -name '*.c' -o -name '*.lua'"), listed)
  end)

  it("gives each Lua file the name under which it is found in a checkout", function()
    for name, module in pairs(rockspec.build.modules) do
      if type(module) == "string" then
        local found = assert(package.searchpath(name, "lua/?.lua;lua/?/init.lua"))
        assert.equal(module, found)
      end
    end
  end)
end)

describe("installed alone,", function()
  local directory

  setup(function()
    directory = run "mktemp -d":match "%S+"
  end)

  teardown(function()
    os.execute("rm -rf " .. quote(directory))
  end)

  -- Runs the program far from the checkout, with nothing to find but what is below `prefix`.
  local function run_program(interpreter, version, prefix)
    local name = directory .. "/program.lua"
    local file = assert(io.open(name, "w"))
    file:write(program)
    file:close()
    local share, lib = prefix .. "/share/lua/" .. version, prefix .. "/lib/lua/" .. version
    return run("cd / && LUA_PATH='%s/?.lua;%s/?/init.lua' LUA_CPATH='%s/?.so' %s %s", share, share, lib,
      interpreter, name)
  end

  -- The command finds what was installed with it. The rock's is run as the wrapper does that luarocks
  -- makes for it, which takes its own interpreter.
  local function run_command(interpreter, version, prefix)
    local command = prefix .. "/bin/kafka-history"
    if prefix:find "/rock%-" then
      command = ("%s %s/lib/luarocks/rocks-%s/kafka-history/scm-1/bin/kafka-history"):format(interpreter,
        prefix, version)
    end
    return run("cd / && unset LUA_PATH LUA_CPATH && %s --version", command)
  end

  local function check(interpreter, version, prefix)
    assert.equal("luaopen_kafka_history_core\n",
      exported(("%s/lib/lua/%s/kafka_history/core.so"):format(prefix, version)))
    assert.equal("3 messages\n", run_program(interpreter, version, prefix))
    assert.matches("^kafka%-history scm, librdkafka [%d.]+, Lua" ..
      (interpreter == "luajit" and "JIT" or " 5"),
      run_command(interpreter, version, prefix))
  end

  -- luarocks leaves its objects beside the sources: a copy keeps the checkout clean. The proxy that
  -- is not there proves that nothing is downloaded.
  local function make_rock(version, variables)
    local copy, tree = directory .. "/copy-" .. version, directory .. "/rock-" .. version
    run("mkdir %s && cp -R bin src lua rockspec %s", copy, copy)
    run("cd %s && HOME=%s http_proxy=http://127.0.0.1:1 https_proxy=http://127.0.0.1:1 "
      .. "luarocks --lua-version=%s make --deps-mode=none --tree=%s %s %s", copy, directory, version, tree,
      rockspec_name, variables)
    return tree
  end

  it("the rock works under Lua 5.4 and exports one symbol", function()
    check("lua5.4", "5.4", make_rock("5.4", ""))
  end)

  it("the rock works under LuaJIT and exports one symbol", function()
    check("luajit", "5.1", make_rock("5.1", "LUA_INCDIR=$(pkg-config --variable=includedir luajit)"))
  end)

  it("what make installs works under Lua 5.4 and exports one symbol", function()
    run("make -s --no-print-directory install DESTDIR=%s/make PREFIX=/usr", directory)
    check("lua5.4", "5.4", directory .. "/make/usr")
  end)

  it("what make installs works under LuaJIT and exports one symbol", function()
    run("make -s --no-print-directory LUA=luajit install DESTDIR=%s/make PREFIX=/usr", directory)
    check("luajit", "5.1", directory .. "/make/usr")
  end)

  it("rock and make install the same files", function()
    for _, version in ipairs { "5.4", "5.1" } do
      local function files(prefix)
        return lines(run("cd %s && find share/lua/%s lib/lua/%s -type f", prefix, version, version))
      end
      assert.same(files(directory .. "/make/usr"), files(("%s/rock-%s"):format(directory, version)))
    end
  end)
end)
