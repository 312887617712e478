--- What is said when the handler fails: where, on which message, why, and how to run just that message again.

local failure = {}

-- As a word for the shell.
local function quote(text)
  if text:find "^[%w%-%._/:,=@+]+$" then return text end
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local secret = { "password", "secret", "ssl.key.pem", "jaas", "token", "oauthbearer.config" }

-- Passwords are not shown, not even to who has just typed them.
local function hide(property)
  local name = property:match "^[^=]*"
  for _, word in ipairs(secret) do
    if name:find(word, 1, true) then return name .. "=..." end
  end
  return property
end

--- The command that gives the handler one message only.
function failure.replay(options, topic, partition, offset)
  local words = { arg and arg[0] or "kafka-history" } -- luacheck: globals arg
  local function add(...)
    for _, word in ipairs { ... } do words[#words + 1] = quote(word) end
  end
  if options.embedded then add("--embedded", options.embedded) else add("-b", options.addresses) end
  add("-t", topic)
  for _, name in ipairs(options.config_files) do add("--config", name) end
  for _, property in ipairs(options.given_properties) do add("-X", hide(property)) end
  add("--from", ("%d:%d"):format(partition, offset), "--count", "1")
  if options.code then add("-e", options.code) end
  if options.file then add(options.file) end
  return table.concat(words, " ")
end

-- The frames of the handler's own code.
local function frames(trace)
  local own = {}
  for line in trace:gmatch "\t([^\n]+)" do
    if line:find "kafka_history/reader%.lua" or line:find "kafka_history/cli/" then break end
    if not line:find "^%[C%]" and not line:find "^%(%.%.%.tail" then own[#own + 1] = line end
  end
  return own
end

--- The lines about an error of read_history's, whose text begins with the message's place.
function failure.describe(options, text)
  local topic, partition, offset, cause = text:match "^HANDLER: (.-)%[(%d+)%]@(%d+): (.*)$"
  if not topic then return text end
  local reason, trace = cause:match "^(.-)\nstack traceback:(.*)$"
  local lines = { ("the handler failed at %s[%s], offset %s: %s"):format(topic, partition, offset,
    reason or cause) }
  for _, frame in ipairs(frames(trace or "")) do lines[#lines + 1] = "      " .. frame end
  lines[#lines + 1] = "  replay just this message: "
    .. failure.replay(options, topic, tonumber(partition), tonumber(offset))
  return table.concat(lines, "\n")
end

return failure
