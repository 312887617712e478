-- That the benchmarks run: tiny topics on the embedded broker, and on the real one that the environment
-- names, for what does not understand that. What they measure is nobody's verdict here. Runs under Lua 5.4.

local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1", "r"))
  local output = pipe:read "*a"
  local ok = pipe:close()
  if not ok then error(command .. "\nfailed:\n" .. output, 2) end
  return output
end

local function read_lines(name)
  local lines = {}
  for line in io.lines(name) do lines[#lines + 1] = line end
  return lines
end

describe("the benchmarks", function()
  local results

  setup(function()
    results = run("mktemp -d"):match "%S+"
    run "make -s build/bench/c_loop build/bench/meter build/bench/ticker"
  end)

  teardown(function() os.execute("rm -r " .. results) end)

  -- Four topics, two works, three contestants.
  it("read the same with a C loop and with the module, print tables and save the figures", function()
    local output = run(("KAFKA_HISTORY_BROKER=embedded ROUNDS=2 MESSAGES=800 ONLY='^Lua 5.4 [of]%%w+$' "
      .. "RESULTS=%s bench/run read"):format(results))
    local tables = select(2, output:gsub("\n| C loop +| +%d+ | +1.00 ", ""))
    assert.are.equal(8, tables, output)
    assert.truthy(output:find("\n| Lua 5.4 objects +| +%d+ | +%d+%.%d%d |"), output)
    local lines = read_lines(results .. "/read.csv")
    assert.are.equal("topic,work,contestant,round,messages,seconds,cpu,kb", lines[1])
    local sum = 0
    for i = 2, #lines do sum = sum + lines[i]:match "^[^,]+,%w+,[^,]+,[12],(%d+)," end
    -- Two rounds of two works, three contestants, four topics.
    assert.are.equal(2 * 2 * 3 * (3 * 800 + 400), sum)
  end)

  -- Where there is neither Go nor its modules, benchmarks go without, and so does this.
  it("read the same with franz-go, as it comes and tuned", function()
    local broker = os.getenv "KAFKA_HISTORY_BROKER"
    run "make -s build/bench/go_loop build/kafka-admin"
    if not (broker and io.open "build/bench/go_loop") then return pending "no franz-go, or no broker" end
    local output = run(("ROUNDS=1 MESSAGES=800 ONLY='^franz' RESULTS=%s bench/run read"):format(results))
    for _, name in ipairs { "franz%-go", "franz%-go tuned" } do
      assert.are.equal(8, select(2, output:gsub("\n| " .. name .. " +| +%d+ |", "")), output)
    end
  end)

  -- Two topics: a table of reading and one of asking for each.
  it("compact as a C loop does that fills the same table, and ask a view", function()
    local output = run(("KAFKA_HISTORY_BROKER=embedded ROUNDS=1 MESSAGES=800 ONLY='^Lua 5.4 [lv]%%w+$' "
      .. "RESULTS=%s bench/run latest"):format(results))
    local function count(row) return select(2, output:gsub("\n| " .. row, "")) end
    assert.are.equal(2, count "C loop latest +| +%d+ | +1.00 ", output)
    assert.are.equal(2, count "C loop view +| +%d+ | +1.00 ", output)
    assert.are.equal(2, count "Lua 5.4 latest +| +%d+ | +%d+%.%d%d ", output)
    assert.are.equal(2, count "Lua 5.4 view +| +%d+ | +%d+%.%d%d ", output)
    assert.are.equal(2, count "Lua 5.4 view +| +%-?%d+ | +%-?%d+ | +%d+ |\n", output)
    local lines = read_lines(results .. "/latest.csv")
    -- Two topics, four contestants, one round.
    assert.are.equal(1 + 2 * 4, #lines)
    for i = 2, #lines do assert.truthy(lines[i]:find ",latest,[^,]+,1,800,") end
  end)

  it("tell how late a view's on_change is", function()
    local output = run(("KAFKA_HISTORY_BROKER=embedded ROUNDS=1 MESSAGES=800 ONLY='^Lua 5.4 on_change$' "
      .. "RESULTS=%s bench/run wait"):format(results))
    assert.truthy(output:find("\n| Lua 5.4 on_change +| +%d+ | +%d+%.%d%d |"), output)
  end)

  it("print with the command and with kcat", function()
    local output = run(("KAFKA_HISTORY_BROKER=embedded ROUNDS=1 MESSAGES=800 RESULTS=%s "
      .. "ONLY='^kafka%%-history Lua 5.4$' bench/run command"):format(results))
    assert.are.equal(3, select(2, output:gsub("\n| kcat +| +%d+ | +1.00 ", "")), output)
    assert.are.equal(3, select(2, output:gsub("\n| kafka%-history Lua 5.4 +| +%d+ | +%d+%.%d%d ", "")),
      output)
  end)

  it("try each event loop", function()
    local output = run(("ROUNDS=1 MESSAGES=800 RESULTS=%s bench/run hosts"):format(results))
    for _, name in ipairs { "cqueues", "luv", "select", "poll" } do
      local rows = select(2, output:gsub("\n| " .. name .. " +| lua[%w.]+ +| +1 |", ""))
      assert.are.equal(2, rows, output)
    end
    assert.truthy(output:find "\n| copas +| luajit +| +1 |", output)
    assert.truthy(output:find "\n| nginx +| luajit +| +1 |", output)
  end)
end)
