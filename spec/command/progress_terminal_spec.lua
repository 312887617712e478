-- kafka_history.progress on a pseudo-terminal, as a person sees it: resized, without colours, dumb; and
-- beside a consumer that reads.
local child = require "support.child"
local terminal = require "support.terminal"

-- Draws what a consumer would say, again and again, until it is killed or told to finish.
local drawing = [[
  local progress = require "kafka_history.progress"
  local system = require "system"
  local bar = progress.new { interval = 0 }
  local messages = 0
  while true do
    messages = messages + 1
    bar { progress = function()
      return { state = "reading", messages = messages, rate = 45678, eta = 61, fraction = 0.5, lag = 0,
        partitions = { { topic = "t", partition = 0, target = 10, position = messages } } }
    end }
    system.sleep(0.05)
  end
]]

-- Each state of the line that was drawn, without what is not seen.
local function lines_of(text)
  local lines = {}
  for line in text:gmatch("[^\r\n]+") do
    line = line:gsub("\27%[[%d;]*%a", "")
    if line ~= "" then lines[#lines + 1] = line end
  end
  return lines
end

local function longest(lines)
  local length = 0
  for _, line in ipairs(lines) do length = math.max(length, #line) end
  return length
end

local function draw(environment, columns, steps)
  steps[#steps + 1] = "kill:TERM"
  local text, status = terminal.lua(drawing, environment, { columns = columns, steps = steps })
  assert.equal(128 + 15, status, text)
  return text
end

describe("a progress bar on a terminal", function()
  it("takes its width, the last column left free, and has colours", function()
    local text = draw("TERM=xterm NO_COLOR= COLUMNS=", 130, { "await:to go" })
    local lines = lines_of(text)
    assert.matches("^%[=+> *%]  50%% 1 message, 45 678/s, 1m01s left, 1 of 1 partition to go$", lines[1])
    assert.is_true(longest(lines) < 130)
    assert.matches("\27%[32m=", text)
    assert.is_nil(text:find("\n", 1, true))
  end)

  it("follows the terminal when that is resized", function()
    local text = draw("TERM=xterm NO_COLOR=1 COLUMNS=", 60, {
      "await:messages", "resize:130", "await:to go", "resize:30", "await:\27[J", "await:50%", "await:\r",
    })
    local wide = text:find("to go", 1, true)
    local narrow = text:find("\r\27[J", 1, true)
    assert.is_true(longest(lines_of(text:sub(1, text:find("messages", 1, true)))) < 60)
    assert.is_true(wide < narrow)
    local last = lines_of(text:sub(narrow))
    assert.is_true(#last >= 1)
    assert.is_true(longest(last) < 30, table.concat(last, "\n"))
  end)

  it("has no colours where NO_COLOR is set", function()
    local text = draw("TERM=xterm NO_COLOR=1 COLUMNS=", 100, { "await:45 678/s" })
    assert.is_nil(text:find("\27[32m", 1, true))
    assert.matches("%[=+> *%]  50%%", text)
  end)

  it("believes COLUMNS", function()
    local lines = lines_of(draw("TERM=xterm NO_COLOR=1 COLUMNS=44", 130, { "await:50%", "await:50%" }))
    assert.is_true(longest(lines) < 44)
  end)

  it("is plain lines where TERM is dumb", function()
    local text = draw("TERM=dumb COLUMNS=", 100, { "await:2 messages, 45 678/s, 1m01s left" })
    assert.is_nil(text:find("\27", 1, true))
    assert.matches("^ 50%%, 1 message, [^\r\n]*to go\r\n", text)
  end)

  -- A follower lacks the last message, until it is told to have it when the wait was seen.
  it("tells what a consumer waits for, and then the verdict", function()
    local text, status = terminal.lua([[
      local history = require "kafka_history"
      local broker = require "kafka_history.broker".new { topics = { t = 1 }, brokers = 2 }
      assert(broker:produce("t", "1"))
      assert(broker:produce("t", "2"))
      assert(broker:follower("t", 0, 2))
      assert(broker:follower_watermarks("t", 0, 0, 0))
      local bar = require "kafka_history.progress".new()
      local told
      local consumer = assert(history.new {
        addresses = broker:addresses(), topics = "t", stall_timeout = 0.3,
        options = { ["fetch.wait.max.ms"] = 10 },
        on_event = function(event)
          bar:note(event)
          told = told or event.name == "stalled"
        end,
      })
      assert(consumer:read_history(function() end, {
        stop_at = "caught_up", timeout = 15, tick = 0.05,
        on_tick = function(of)
          bar(of)
          if told == true then
            told = "passed on"
            assert(broker:follower_watermarks("t", 0, nil, nil))
          end
        end,
      }))
      bar:finish(consumer)
      consumer:close()
      broker:close()
    ]], "TERM=xterm NO_COLOR=1 COLUMNS=", { columns = 120, steps = { "await:stalled: unknown, t[0]" } })
    assert.equal(0, status, text)
    assert.matches("%[=+>? *%]  50%% 1 message, stalled: unknown, t%[0%]", text)
    assert.matches("\r\27%[Kcaught up: 2 messages of 1 partition in %d+%.%d s %(%d+/s%)\r\n$", text)
  end)

  it("is none where stderr is a file", function()
    local result = child.run((drawing:gsub("while true do", "for _ = 1, 3 do")))
    assert.same({ 0, "" }, { result.status, result.stdout })
    assert.is_nil(result.stderr:find("[\27\r]"))
    assert.matches("^ 50%%, 1 message, ", result.stderr)
  end)
end)
