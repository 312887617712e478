-- Reads Prometheus' text format 0.0.4, as strictly as it is described: whatever line is not of it, or at
-- the wrong place, is an error with that line.

local prometheus = {}

local types = { counter = true, gauge = true, histogram = true, summary = true, untyped = true }
local unescaped = { ["\\"] = "\\", ['"'] = '"', n = "\n" }

-- The labels that follow a name, from the place behind the "{": a table, and the place behind the "}".
local function read_labels(line, at)
  local labels = {}
  while line:sub(at, at) ~= "}" do
    local name, behind = line:match('^([%a_][%w_]*)="()', at)
    assert(name, "a label is expected")
    assert(labels[name] == nil, "a label comes twice: " .. name)
    local value = {}
    at = behind
    while line:sub(at, at) ~= '"' do
      local char = line:sub(at, at)
      assert(char ~= "", "a label's value does not end")
      if char == "\\" then
        at = at + 1
        char = assert(unescaped[line:sub(at, at)], "there is no such escape")
      end
      value[#value + 1] = char
      at = at + 1
    end
    labels[name] = table.concat(value)
    at = at + 1
    if line:sub(at, at) == "," then
      at = at + 1
    else
      assert(line:sub(at, at) == "}", "after a label a comma or the end is expected")
    end
  end
  return labels, at + 1
end

local function read_number(text)
  if text == "NaN" then return 0 / 0 end
  if text == "+Inf" then return math.huge end
  if text == "-Inf" then return -math.huge end
  assert(text:find "^[+-]?%d+%.?%d*[eE]?[+-]?%d*$", "no number: " .. text)
  return assert(tonumber(text), "no number: " .. text)
end

local function read_sample(line)
  local name, at = line:match "^([%a_:][%w_:]*)()"
  assert(name, "a metric's name is expected")
  local labels = {}
  if line:sub(at, at) == "{" then labels, at = read_labels(line, at + 1) end
  local value = line:match("^ (%S+)$", at)
  assert(value, "a value is expected")
  return { name = name, labels = labels, value = read_number(value) }
end

local function key_of(sample)
  local words = {}
  for name, value in pairs(sample.labels) do words[#words + 1] = ("%s=%q"):format(name, value) end
  table.sort(words)
  return sample.name .. "{" .. table.concat(words, ",") .. "}"
end

local function read_comment(line, metrics)
  local word, name, rest = line:match "^# (%u+) ([%a_:][%w_:]*) (.+)$"
  assert(word == "HELP" or word == "TYPE", "a comment that nobody needs")
  local metric = metrics[name] or { samples = {}, keys = {} }
  metrics[name] = metric
  assert(metric[word] == nil, "told twice")
  assert(#metric.samples == 0, "told after the first sample")
  if word == "TYPE" then assert(types[rest], "there is no such type") end
  metric[word] = rest
  return name
end

local function read_line(line, metrics, current)
  if line:find "^#" then return read_comment(line, metrics) end
  local sample = read_sample(line)
  local metric = metrics[sample.name]
  assert(metric and metric.TYPE, "a sample without a type")
  assert(metric.HELP, "a sample without help")
  assert(current == sample.name, "a sample apart from the others of its metric")
  local key = key_of(sample)
  assert(not metric.keys[key], "the same sample twice")
  metric.keys[key] = true
  if metric.TYPE == "counter" then
    assert(sample.name:find "_total$", "a counter is called so")
    assert(sample.value >= 0 and sample.value < math.huge, "a counter's value")
  end
  table.insert(metric.samples, sample)
  return current
end

-- The metrics by name: { TYPE =, HELP =, samples = array of { name =, labels =, value = } }.
function prometheus.parse(text)
  assert(text:find "\n$", "the last line has no end")
  local metrics, current = {}, nil
  for line in text:gmatch "(.-)\n" do
    local ok, result = pcall(read_line, line, metrics, current)
    if not ok then error(("%s\nin the line %s"):format(result, line), 2) end
    current = result
  end
  for name, metric in pairs(metrics) do assert(#metric.samples > 0, "no samples: " .. name) end
  return metrics
end

-- The value of the only sample of that name with these labels and no others; nil: there is none.
function prometheus.value(metrics, name, labels)
  local wanted = key_of { name = name, labels = labels or {} }
  for _, sample in ipairs(metrics[name] and metrics[name].samples or {}) do
    if key_of(sample) == wanted then return sample.value end
  end
end

return prometheus
