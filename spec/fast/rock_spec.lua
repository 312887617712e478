-- The rock of the fast build, for Lua 5.4 and LuaJIT: the files of the other rock, and a program that runs
-- from what was installed alone. Runs under Lua 5.4.
local child = require "support.child"

local program = [[
  local history = require "kafka_history"
  local broker = assert(require "kafka_history.broker".new { topics = { t = 2 } })
  assert(broker:produce("t", { { key = "a", value = "1" }, { key = "b" } }))
  local consumer = assert(history.new { addresses = broker:addresses(), topics = "t" })
  assert(consumer:read_history(function() end, { stop_at = "caught_up", timeout = 30 }))
  print(consumer:progress().messages)
  for line in io.lines "/proc/self/maps" do
    if line:find "librdkafka" or line:find "libmimalloc%.so" then print(line) end
  end
]]

local function run(format, ...)
  local output = child.output("(" .. format:format(...) .. ") 2>&1; echo $?")
  local said, status = output:match "^(.-)(%d+)\n$"
  if status ~= "0" then error(said, 2) end
  return said
end

describe("the rock of the fast build", function()
  local directory

  setup(function() directory = run "mktemp -d":match "%S+" end)
  teardown(function() os.execute("rm -rf " .. directory) end)

  -- A tree that has nothing but the rock.
  local function check(interpreter, version, variables)
    local tree = directory .. "/" .. version
    run("HOME=%s luarocks --lua-version=%s make --deps-mode=none --tree=%s "
      .. "rockspec/kafka-history-mimalloc-scm-1.rockspec %s", directory, version, tree, variables)
    local share, lib = tree .. "/share/lua/" .. version, tree .. "/lib/lua/" .. version
    local name = directory .. "/program.lua"
    local file = assert(io.open(name, "w"))
    file:write(program)
    file:close()
    assert.equal("2\n", run("cd / && LUA_PATH='%s/?.lua;%s/?/init.lua' LUA_CPATH='%s/?.so' %s %s", share,
      share, lib, interpreter, name))
    assert.equal("luaopen_kafka_history_core\n",
      run("nm -D --defined-only %s/kafka_history/core.so | awk '{ print $3 }'", lib))
    assert.equal(run "cd lua && find . -type f | sort", run("cd %s && find . -type f | sort", share))
  end

  it("works under Lua 5.4", function() check("lua5.4", "5.4", "") end)

  it("works under LuaJIT", function()
    check("luajit", "5.1", "LUA_INCDIR=" .. run "pkg-config --variable=includedir luajit")
  end)
end)
