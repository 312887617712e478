-- Whether doc/meta, from which the reference is made, says what the module really has, and whether the
-- pages were made of it. Runs under Lua 5.4.
local broker = require "kafka_history.broker"
local core = require "kafka_history.core"
local history = require "kafka_history"
local producer = require "kafka_history.producer"
local progress = require "kafka_history.progress"
local reader = require "kafka_history.reader"
local watchdog = require "support.watchdog"

local reference = assert(loadfile "tools/reference")("module")

local function read_file(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function sorted(names)
  local list = {}
  for name in pairs(names) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local function has_module(name)
  return package.searchpath(name, package.path) or package.searchpath(name, package.cpath)
end

-- The functions of a page: those of the module, or the methods of its objects.
local function declared(page, separator)
  local names = {}
  for _, entry in ipairs(page.entries) do
    if entry.kind == "function" and entry.separator == separator then names[entry.name] = entry end
  end
  return names
end

local function fields_of(pages, class)
  local names = {}
  for _, field in ipairs(reference.class(pages, class).fields) do names[field.name] = field end
  return names
end

local function callables(from)
  local names = {}
  for name, value in pairs(from) do
    if type(value) == "function" and not name:find "^__" then names[name] = value end
  end
  return names
end

-- The tables of options that a function of the reader checks against.
local function options_of(reads)
  for i = 1, math.huge do
    local name, value = debug.getupvalue(reads, i)
    assert(name, "this function has no table of options")
    if name:find "_options$" and type(value) == "table" then return value end
  end
end

describe("the reference", function()
  local pages = reference.read_all()
  local shop

  setup(function()
    shop = assert(broker.new { topics = { orders = 1 } })
    assert(shop:produce("orders", { { key = "a", value = "1", headers = { { name = "h" } } } }))
  end)

  teardown(function()
    shop:close()
  end)

  before_each(watchdog.start)
  after_each(watchdog.stop)

  it("is what tools/reference makes of doc/meta; else call make reference", function()
    local texts = reference.pages()
    for name, text in pairs(texts) do assert.equal(text, read_file(name)) end
    local list = assert(io.popen "ls doc/modules/*.md doc/meta/*.lua")
    for name in list:lines() do
      assert.is_truthy(texts[name] or pages[name:match "^doc/meta/([%w_]+)%.lua$"], name .. " is no page's")
    end
    list:close()
  end)

  it("is made of files that are Lua, and that a language server finds by the modules' names", function()
    for _, page in ipairs(pages) do
      assert(loadfile(("doc/meta/%s.lua"):format(page.name)))
      assert.is_truthy(not page.module or has_module(page.module) or page.module == "kafka_history.broker"
        or page.module == "kafka_history.producer", page.module)
    end
  end)

  it("has every function of the module and no other", function()
    assert.same(sorted(callables(history)), sorted(declared(pages.kafka_history, ".")))
    assert.same(sorted(callables(broker)), sorted(declared(pages.broker, ".")))
    assert.same(sorted(callables(producer)), sorted(declared(pages.producer, ".")))
    assert.same(sorted(callables(progress)), sorted(declared(pages.progress, ".")))
  end)

  it("has every method of a consumer and no other, with as many parameters", function()
    local methods = callables(core.consumer.methods)
    assert.same(sorted(methods), sorted(declared(pages.consumer, ":")))
    for name, entry in pairs(declared(pages.consumer, ":")) do
      local info = debug.getinfo(methods[name], "uS")
      if info.what == "Lua" then assert.equal(info.nparams - 1, #entry.params, name) end
    end
  end)

  it("has every method of a waitable and no other", function()
    assert.same(sorted(callables(core.waitable.methods)), sorted(declared(pages.waitable, ":")))
  end)

  it("has every method and field of a message and no other", function()
    local consumer = assert(history.new { addresses = shop:addresses(), topics = "orders" })
    local message
    assert(consumer:read_history(function(given) message = given end, { stop_at = "caught_up" }))
    consumer:close()
    local _, methods = debug.getupvalue(getmetatable(message).__index, 2)
    assert.same(sorted(callables(methods)), sorted(declared(pages.message, ":")))
    assert.same(sorted(core.consumer.fields), sorted(fields_of(pages, "kafka_history.message")))
    for name in pairs(message:totable()) do
      assert.is_truthy(fields_of(pages, "kafka_history.message")[name], name)
    end
  end)

  it("has every method of the embedded broker, a producer and a bar and no other", function()
    local sender = assert(producer.new { addresses = shop:addresses() })
    assert.same(sorted(callables(getmetatable(shop).__index)), sorted(declared(pages.broker, ":")))
    assert.same(sorted(callables(getmetatable(sender).__index)), sorted(declared(pages.producer, ":")))
    local bar = progress.new()
    assert.same(sorted(callables(getmetatable(bar).__index)), sorted(declared(pages.progress, ":")))
    sender:close()
  end)

  it("has every method, option and number of a view and no other", function()
    local view = require "kafka_history.view"
    local made = assert(view.new { addresses = shop:addresses(), topics = "orders" })
    local methods = getmetatable(made).__index
    assert.same(sorted(callables(view)), sorted(declared(pages.view, ".")))
    assert.same(sorted(callables(methods)), sorted(declared(pages.view, ":")))
    for name in pairs { read = true, step = true } do
      local class = ("kafka_history.view.%s_options"):format(name)
      assert.same(sorted(options_of(methods[name])), sorted(fields_of(pages, class)), name)
    end
    assert(made:read { stop_at = "caught_up" })
    local known = fields_of(pages, "kafka_history.view.progress_report")
    for name in pairs(fields_of(pages, "kafka_history.progress_report")) do known[name] = true end
    assert.same(sorted(made:progress()), sorted(known))
    made:close()
  end)

  it("has the hosts' modules as they are: the same functions", function()
    for _, host in ipairs { "cqueues", "luv" } do
      local name = "kafka_history." .. host
      assert.equal("kafka_history", reference.class(pages, name).parent)
      if has_module(host) then assert.same(sorted(callables(history)), sorted(callables(require(name)))) end
    end
  end)

  it("has every key of the configuration and no other", function()
    local known = { options = true, start = true } -- the binding's
    local engine = read_file "src/engine/config.c":match "keys%[%] = (%b{})"
    for key in engine:gmatch '{"([%l_]+)", set_' do known[key] = true end
    local callbacks = read_file "lua/kafka_history/init.lua":match "local callbacks = (%b{})"
    for key in callbacks:gmatch '"([%l_]+)"' do known[key] = true end
    assert.same(sorted(known), sorted(fields_of(pages, "kafka_history.config")))
  end)

  it("has no key of the configuration that new does not know", function()
    for key in pairs(fields_of(pages, "kafka_history.config")) do
      local config = { addresses = "127.0.0.1:1", topics = "orders" }
      config[key] = print == nil or coroutine.create(print) -- which no key takes
      local ok, err = pcall(history.new, config)
      assert.is_false(ok, key)
      assert.is_truthy(err:find(key .. ":", 1, true) and not err:find("no such key", 1, true), err)
    end
  end)

  it("has the defaults as they are", function()
    local keys = fields_of(pages, "kafka_history.config")
    local count = 0
    for key, seconds in read_file "src/engine/config.c":gmatch "config%->([%l_]+)_s = (%d+);" do
      assert.equal(("Default: %s s."):format(seconds), keys[key].text:match "^Default: %d+ s%.", key)
      count = count + 1
    end
    assert.equal(3, count)
    local read = fields_of(pages, "kafka_history.read_options")
    local batch = read_file "lua/kafka_history/reader.lua":match "\nlocal BATCH = (%d+)\n"
    assert.equal(("Default: %s."):format(batch), read.batch.text:match "^Default: %d+%.")
    local defines = {}
    for name, seconds in read_file "src/lua/producer.c":gmatch "#define (%u+)_TIMEOUT_S (%d+)" do
      defines[name] = seconds
    end
    local methods = declared(pages.producer, ":")
    for name, of in pairs { send = "SEND", flush = "FLUSH", begin = "TRANSACTION", commit = "TRANSACTION",
      abort = "TRANSACTION" } do
      local params = methods[name].params
      assert.equal(defines[of] .. " by default", params[#params].text, name)
    end
    local produce = read_file "src/lua/broker.c":match "#define PRODUCE_TIMEOUT_S (%d+)"
    assert.equal(("Default: %s s."):format(produce),
      fields_of(pages, "kafka_history.broker.produce_options").timeout.text:match "^Default: %d+ s%.")
  end)

  it("has every option of what reads and no other", function()
    for name, class in pairs {
      read_history = "kafka_history.read_options", messages = "kafka_history.iterator_options",
      step = "kafka_history.step_options",
    } do
      assert.same(sorted(options_of(reader[name])), sorted(fields_of(pages, class)), name)
    end
  end)

  it("has every field of progress() and no other", function()
    local consumer = assert(history.new { addresses = shop:addresses(), topics = "orders" })
    assert(consumer:read_history(function() end, { stop_at = "caught_up" }))
    local report = consumer:progress()
    consumer:close()
    assert.same(sorted(report), sorted(fields_of(pages, "kafka_history.progress_report")))
    assert.same(sorted(report.partitions[1]), sorted(fields_of(pages, "kafka_history.partition_report")))
  end)

  it("has every event and every field of events and no other", function()
    local events, told = { error = true }, {}
    for name in pages.events.text:gmatch "\n| (`[^|]*) |" do
      for word in name:gmatch "`([%l_]+)`" do told[word] = word ~= "name" or nil end
    end
    local sources = assert(io.popen "cat src/engine/*.c")
    local engine = sources:read "a"
    sources:close()
    for name in engine:gmatch 'report_at%([^,()]+, [^,()]+, "([%l_]+)"' do events[name] = true end
    for value in engine:gmatch 'report%.name = ([^;]+);' do
      for name in value:gmatch '"([%l_]+)"' do events[name] = true end
    end
    assert.same(sorted(events), sorted(told))
    local body = read_file "src/lua/consumer.c":match "static int consumer_report%b()\n(%b{})"
    local fields = {}
    for name in body:gmatch '%(L, %-?%d*,? ?"([%l_]+)"' do fields[name] = true end
    local declared_fields = fields_of(pages, "kafka_history.event")
    for name in pairs(fields_of(pages, "kafka_history.log_line")) do declared_fields[name] = true end
    assert.same(sorted(fields), sorted(declared_fields))
  end)

  it("explains every code that the module itself gives", function()
    local page = read_file "doc/errors-and-retries.md"
    local sources = assert(io.popen "cat src/engine/*.c src/lua/*.c lua/kafka_history/*.lua")
    local text = sources:read "a"
    sources:close()
    local count = 0
    for _, pattern in ipairs {
      'kh_error_set%([^,]+, "(%u[%u_]+)"', 'kh_push_word%(L, "%l+", "(%u[%u_]+)"%)',
      'nil, "%l+", "(%u[%u_]+)"', 'fail%(consumer, shared, "(%u[%u_]+)"',
    } do
      for code in text:gmatch(pattern) do
        -- What is refused in a configuration raises.
        assert.is_truthy(code == "CONFIG" or page:find("`" .. code .. "`", 1, true), code)
        count = count + 1
      end
    end
    assert.is_true(count > 20)
  end)

  it("has the same exit statuses of the command as its manual page and its help", function()
    local function numbers(text, pattern)
      local found = {}
      for number in text:gmatch(pattern) do found[number] = true end
      return sorted(found)
    end
    local page = numbers(read_file "doc/command.md", "\n| (%d+) |")
    local man = read_file "doc/kafka-history.1":match "%.SH EXIT STATUS\n(.-)\n%.SH"
    assert.is_true(#page >= 6)
    assert.same(page, numbers("\n" .. man, "\n *(%d+)  "))
    local pipe = assert(io.popen "bin/kafka-history --help")
    local help = pipe:read "a":match "\nExit status:\n(.*)$"
    pipe:close()
    assert.same(page, numbers(help, "%f[%d](%d+) [%a-]"))
  end)

  it("names every part of the engine in its architecture", function()
    local architecture = read_file "doc/architecture.md"
    local list = assert(io.popen "ls src/engine/*.h")
    for name in list:lines() do
      local part = name:match "([%w_]+)%.h$"
      assert.is_truthy(architecture:find("`" .. part .. "`", 1, true), part)
    end
    list:close()
  end)

  it("has every option of the bar and no other", function()
    local known = {}
    local bar = read_file "lua/kafka_history/progress.lua"
    for name in bar:gmatch "options%.([%l_]+)" do known[name] = true end
    assert.same(sorted(known), sorted(fields_of(pages, "kafka_history.progress.options")))
  end)
end)
