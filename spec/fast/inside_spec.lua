-- The fast build keeps to itself: librdkafka and its allocator are inside the module, where the host sees
-- and notices nothing of them.
local child = require "support.child"
local compile = require "support.compile"
local library = (package.cpath:match "[^;]*build/[^;]*" or ""):gsub("?", "kafka_history/core")

-- Reads the histories of many consumers, one after another; then what is left.
local reads = [[
  local history = require "kafka_history"
  local broker = assert(require "kafka_history.broker".new { topics = { t = 4 } })
  local messages = {}
  for i = 1, 2000 do messages[i] = { key = "key " .. i, value = ("x"):rep(100) } end
  assert(broker:produce("t", messages))
  local function read()
    local consumer = assert(history.new { addresses = broker:addresses(), topics = "t" })
    local count = 0
    assert(consumer:read_history(function() count = count + 1 end, { stop_at = "caught_up", timeout = 20 }))
    consumer:close()
    return count
  end
]]

local function nm(how)
  return child.output(("nm -D %s '%s' | awk '{ print $NF }'"):format(how, library))
end

-- Runs a script that has `host`, and returns what it prints.
local function run(script, environment)
  local host = ("local host = assert(package.loadlib(%q, 'luaopen_inside'))()\n")
    :format(compile.module "spec/host/inside.c")
  local result = child.run(host .. script, {}, 60, environment)
  assert.equal("", result.stderr)
  assert.equal(0, result.status)
  return result.stdout
end

-- Those of the C library's that allocate what its free() is for.
local own_memory = {}
for name in ([[malloc calloc realloc reallocarray free strdup strndup __strdup wcsdup memalign posix_memalign
  aligned_alloc valloc asprintf vasprintf __asprintf_chk __vasprintf_chk getline getdelim open_memstream
  open_wmemstream realpath canonicalize_file_name getcwd scandir tempnam]]):gmatch "%S+" do
  own_memory[name] = true
end

describe("the fast build", function()
  it("is what is tried here", function()
    assert.matches("build/mimalloc/", library)
  end)

  it("exports the function that opens it, and nothing else", function()
    assert.equal("luaopen_kafka_history_core\n", nm "--defined-only")
  end)

  it("takes nothing of librdkafka or mimalloc, and no memory to free, from outside", function()
    local taken = nm "--undefined-only"
    assert.matches("pthread_create", taken)
    for name in taken:gmatch "[^\n@]+" do
      assert.is_nil(name:match "^rd_kafka" or name:match "^mi_", name)
      assert.is_nil(own_memory[name], name)
    end
  end)

  it("asks for none of the room that a process keeps for thread-local variables", function()
    assert.is_nil(child.output(("readelf -d '%s'"):format(library)):find("STATIC_TLS", 1, true))
  end)

  it("leaves the host's malloc and its like where they are, and in the C library", function()
    local before, after = run([[
      print(host.addresses())
      require "kafka_history"
    ]] .. reads .. [[
      assert(read() == 2000)
      print(host.addresses())
    ]]):match "^([^\n]+)\n([^\n]+)\n$"
    assert.equal(before, after)
    local _, count = before:gsub("in [^,]*/libc%.so", "")
    assert.equal(6, count)
  end)

  it("leaves the process's signals and its huge pages as they are", function()
    local before, after = run([[
      local function settings()
        local lines = {}
        for line in io.lines "/proc/self/status" do
          if line:find "^Sig[BIC]" or line:find "^THP" then lines[#lines + 1] = line:gsub("%s+", " ") end
        end
        return table.concat(lines, ", ")
      end
      print(settings())
      require "kafka_history"
      print(settings())
    ]]):match "^([^\n]+)\n([^\n]+)\n$"
    assert.matches("SigIgn", before)
    assert.equal(before, after)
  end)

  it("loads neither librdkafka nor mimalloc", function()
    assert.equal("", run(reads .. [[
      assert(read() == 2000)
      for line in io.lines "/proc/self/maps" do
        if line:find "librdkafka" or line:find "libmimalloc%.so" then print(line) end
      end
    ]]))
  end)

  it("knows the version of its librdkafka", function()
    assert.matches("^%d+%.%d+%.%d+", require "kafka_history".librdkafka_version())
  end)

  it("calls none of a host's functions that have the names of its own", function()
    local strangers = compile.module "spec/host/strangers.c"
    local script = reads .. "print(read(), history.librdkafka_version())"
    local result = child.run(script, {}, 60, "LD_PRELOAD=./" .. strangers)
    assert.equal("", result.stderr)
    assert.equal("2000\t" .. require "kafka_history".librdkafka_version() .. "\n", result.stdout)
  end)

  it("reads beside the host's own librdkafka", function()
    local script = reads .. [[
      local is_there = false
      for line in io.lines "/proc/self/maps" do is_there = is_there or line:find "librdkafka%.so" ~= nil end
      print(is_there, read())
    ]]
    local result = child.run(script, {}, 60, "LD_PRELOAD=librdkafka.so.1")
    assert.equal("", result.stderr)
    assert.equal("true\t2000\n", result.stdout)
  end)

  it("may be loaded by a thread that ends before any other uses it", function()
    assert.equal("2000\n", run(("assert(host.load_elsewhere(%q))\n"):format(library) .. reads .. [[
      for _ = 1, 5 do assert(read() == 2000) end
      print(read())
    ]]))
  end)

  it("does not grow while consumers are opened, read and closed", function()
    local kb = tonumber(run(reads .. [[
      local function resident()
        collectgarbage()
        collectgarbage()
        for line in io.lines "/proc/self/status" do
          local size = line:match "^VmRSS:%s*(%d+)"
          if size then return tonumber(size) end
        end
      end
      -- A peak of threads that were alive at once is no growth: some forty in a row need nothing more.
      local before, least = resident(), math.huge
      for round = 1, 15 do
        for _ = 1, 40 do assert(read() == 2000) end
        local now = resident()
        least = math.min(least, now - before)
        if round > 1 and least < 100 then break end
        before = now
      end
      print(least)
    ]]))
    assert.is_true(kb < 100, kb .. " KB more")
  end)
end)
