--- Checks what a method is given: every mistake is an error() that names the key, what was given and
-- what is allowed, at the caller's line.

local core = require "kafka_history.core"

local options = {}

local function describe(value)
  if type(value) == "string" then return ("string %q"):format(value) end
  if type(value) == "number" or type(value) == "boolean" then
    return type(value) .. " " .. tostring(value)
  end
  return value == nil and "nil" or "a " .. type(value)
end

function options.callable(value)
  if type(value) == "function" then return true end
  local metatable = getmetatable(value)
  return type(metatable) == "table" and type(metatable.__call) == "function"
end

local function is_integer(value)
  return type(value) == "number" and value == math.floor(value) and value - value == 0
end

-- Without holes and without other keys.
local function is_array(value)
  if type(value) ~= "table" then return false end
  local count = 0
  for key in pairs(value) do
    if not is_integer(key) then return false end
    count = count + 1
  end
  return count > 0 and count == #value
end

-- Each kind: a test, and how to say what is allowed.
local kinds = {
  seconds = {
    test = function(value) return type(value) == "number" and value >= 0 end,
    allowed = "a number of seconds, 0 or more",
  },
  pause = {
    test = function(value) return type(value) == "number" and value > 0 and value - value == 0 end,
    allowed = "a number of seconds above 0",
  },
  batch = {
    test = function(value) return is_integer(value) and value >= 1 and value <= 10000 end,
    allowed = "a whole number from 1 to 10000",
  },
  bytes = {
    test = function(value) return type(value) == "number" and value >= 1 end,
    allowed = "a number of bytes, 1 or more",
  },
  latest = {
    test = function(value) return type(value) == "boolean" or value == "tombstones" end,
    allowed = 'true, false or "tombstones"',
  },
  stop_at = {
    test = function(value) return value == "caught_up" end,
    allowed = '"caught_up"',
  },
  callback = {
    test = options.callable,
    allowed = "a function",
  },
  fields = {
    test = is_array,
    allowed = 'an array of names of a message\'s fields, as in { "key", "value" }',
  },
}

-- What may be meant by a key that is none of those: `; did you mean "stop_at"?`, or "".
local function suggest(word, allowed)
  if type(word) ~= "string" then return "" end
  local names = {}
  for name in pairs(allowed) do names[#names + 1] = name end
  return core.near(word, names)
end

local function refuse(method, level, format, ...)
  error(("%s: " .. format):format(method, ...), level + 1)
end

--- Raises unless `given` is nil or a table that fits `allowed` (key = kind).
-- @param method for the message, as in "read_history"
-- @param level of the caller's caller, as error() counts from here
function options.check(method, given, allowed, level)
  if given == nil then return {} end
  if type(given) ~= "table" then
    refuse(method, level + 1, "expected a table of options, got %s", describe(given))
  end
  for key, value in pairs(given) do
    local kind = allowed[key]
    if not kind then
      refuse(method, level + 1, "there is no option %s%s", describe(key), suggest(key, allowed))
    end
    if kinds[kind] and not kinds[kind].test(value) then
      refuse(method, level + 1, "%s: expected %s, got %s", key, kinds[kind].allowed, describe(value))
    end
  end
  return given
end

--- The policy for failing handlers: "stop", "skip", a table { retry, backoff } or a function.
function options.check_policy(method, policy, level)
  local allowed = '"stop", "skip", { retry = n, backoff = seconds } or a function'
  if policy == nil or policy == "stop" or policy == "skip" then return end
  if type(policy) == "table" and not options.callable(policy) then
    for key in pairs(policy) do
      if key ~= "retry" and key ~= "backoff" then
        refuse(method, level + 1, "on_error: there is no key %s; expected %s", describe(key), allowed)
      end
    end
    if not is_integer(policy.retry) or policy.retry < 0 then
      refuse(method, level + 1, "on_error: retry: expected a whole number, 0 or more, got %s",
        describe(policy.retry))
    end
    if policy.backoff ~= nil and not (kinds.seconds.test(policy.backoff)
        and policy.backoff < math.huge) then
      refuse(method, level + 1, "on_error: backoff: expected %s, got %s", kinds.seconds.allowed,
        describe(policy.backoff))
    end
  elseif not options.callable(policy) then
    refuse(method, level + 1, "on_error: expected %s, got %s", allowed, describe(policy))
  end
end

--- The numbers that the C half knows fields by.
function options.field_numbers(method, fields, numbers, level)
  if fields == nil then return nil end
  local found = {}
  for i, name in ipairs(fields) do
    if numbers[name] == nil then
      refuse(method, level + 1, "fields: a message has no field %s%s", describe(name), suggest(name, numbers))
    end
    found[i] = numbers[name]
  end
  if #found > 8 then refuse(method, level + 1, "fields: expected at most 8 names, got %d", #found) end
  return found
end

options.describe = describe

return options
