-- Whether the librdkafka that was asked for (tools/test --librdkafka) is the one that everything runs
-- with. The system's has the same name: without this, a mistake of the set-up would test that once more.

local child = require "support.child"
local history = require "kafka_history"

local wanted = assert(os.getenv "KH_LIBRDKAFKA", "runs by tools/test --librdkafka only")

describe("with librdkafka " .. wanted, function()
  it("the specs run", function()
    assert.equal(wanted, history.librdkafka_version())
  end)

  it("the Lua programs that specs start run", function()
    local result = child.run [[io.write(require "kafka_history".librdkafka_version())]]
    assert.same({ 0, wanted }, { result.status, result.stdout })
  end)

  it("the C programs run: tests of the engine, the example", function()
    local directory = child.output("tools/librdkafka " .. wanted):match "^(.-)\n$"
    local programs = child.output "ls build/spec/*_test build/examples/history"
    local count = 0
    for program in programs:gmatch "[^\n]+" do
      count = count + 1
      local library = child.output("ldd " .. program):match "librdkafka%.so%.1 => (%S+)"
      assert.equal(directory .. "/librdkafka.so.1", library, program)
    end
    assert.is_true(count > 2)
  end)
end)
