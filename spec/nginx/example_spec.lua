-- examples/openresty, as its README says to run it, but for the port and where it may write.
local nginx = require "support.nginx"
local reading = require "support.reading"
local watchdog = require "support.watchdog"

local function read_file(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

describe("examples/openresty", function()
  if nginx.missing then return nginx.say_missing() end

  before_each(watchdog.start)

  after_each(function()
    nginx.clean()
    reading.clean()
    watchdog.stop()
  end)

  -- The example's own configuration, with another port and a directory of its own; as another user it might
  -- not be allowed to read the checkout.
  local function start(addresses)
    local directory, port = nginx.directory(), nginx.free_port()
    local ports, paths
    local text = read_file "examples/openresty/nginx.conf"
    text, ports = text:gsub("127%.0%.0%.1:8080", "127.0.0.1:" .. port)
    text, paths = text:gsub("%.%./%.%./build/openresty/", directory .. "/")
    assert.equal(1, ports)
    assert.equal(6, paths)
    text = text:gsub("load_module [^\n]+\n", "")
    text = text:gsub("error_log stderr", ("error_log %s/error.log"):format(directory))
    text = nginx.head .. text:gsub("env KAFKA_ADDRESSES;", "env KAFKA_ADDRESSES=" .. addresses .. ";")
    return nginx.run(directory, text, port, nginx.checkout .. "/examples/openresty/")
  end

  it("answers 503 until it has caught up, then prices, and follows them", function()
    local shop = reading.broker { prices = 2 }
    assert(shop:produce("prices", {
      { key = "GOLD", value = "1" }, { key = "TIN", value = "2" }, { key = "GOLD", value = "3" },
      { key = "LEAD", value = "4" }, { key = "LEAD" },
    }))
    assert(shop:down(1))
    local server = start(shop:addresses())
    local status, body = server:get "/ready"
    assert.equal(503, status)
    assert.matches("^starting, 0 prices of 0 messages, 0.0 %%\n$", body)
    assert(shop:up(1))
    nginx.wait_until(function() return server:get "/ready" == 200 end)
    for _ = 1, 10 do -- of either worker
      assert.same({ 200, "3\n" }, { server:get "/price/GOLD" })
      assert.same({ 200, "2\n" }, { server:get "/price/TIN" })
      assert.same({ 404, "no price for LEAD\n" }, { server:get "/price/LEAD" })
    end
    assert(shop:produce("prices", { key = "GOLD", value = "5" }))
    nginx.wait_until(function() return select(2, server:get "/price/GOLD") == "5\n" end)
    nginx.wait_until(function() -- whichever worker it is
      return select(2, server:get "/ready") == "caught_up, 2 prices of 6 messages, 100.0 %\n"
    end)
    assert.is_true(server:quit() < 2)
    assert.equal("", server:errors())
  end)

  it("says why it is not ready where no broker answers", function()
    local server = start "127.0.0.1:1"
    assert.equal(503, (server:get "/ready"))
    assert.same({ 503, "not ready: timeout\n" }, { server:get "/price/GOLD" })
    assert.is_true(server:quit() < 2)
    assert.equal("", server:errors())
  end)
end)
