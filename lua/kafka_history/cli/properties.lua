--- A file of properties, as Kafka's tools and librdkafka's take them: name=value, a line each; lines
-- that begin with # or ! are comments.

local properties = {}

--- { name = value }; nil and what is wrong, with file and line.
function properties.read(name)
  local file, mistake = io.open(name, "r")
  if not file then return nil, mistake end
  local found, number = {}, 0
  local text = file:read "*a"
  file:close()
  if not text then return nil, name .. ": cannot be read" end
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do
    number = number + 1
    if line:find "%S" and not line:find "^%s*[#!]" then
      local key, value = line:match "^%s*([^=:%s]+)%s*[=:]%s*(.-)%s*$"
      -- Not the line itself, which may hold a password.
      if not key then return nil, ("%s:%d: expected a line name=value"):format(name, number) end
      found[key] = value
    end
  end
  return found
end

return properties
