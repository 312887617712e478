-- Builds the small C programs and modules that specs need, for the Lua that runs the spec. The results
-- are in build/host, a name a configuration, so that specs may run side by side.

local compile = {}

local is_sanitized = package.cpath:find("sanitize", 1, true) ~= nil
local package_name = rawget(_G, "jit") and "luajit" or "lua5.4"
local flags = "-std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -O1 -g"

local function build(source, suffix, more)
  local name = source:match("([^/]+)%.c$")
  local kind = is_sanitized and "-sanitize" or ""
  local result = ("build/host/%s-%s%s%s"):format(name, package_name, kind, suffix)
  local line = ([[mkdir -p build/host &&
    ${CC:-cc} %s %s -o %s.$$ $(${PKG_CONFIG:-pkg-config} --cflags %s) %s && mv %s.$$ %s]])
    :format(flags, source, result, package_name, more, result, result)
  local done = os.execute(line)
  if done ~= true and done ~= 0 then error("cannot build " .. source, 2) end
  return result
end

-- The path of a program that may make Lua states, with the sanitizers where the module has them.
function compile.program(source)
  local sanitizers = is_sanitized and "-fsanitize=address,undefined" or ""
  return build(source, "", ("%s $(${PKG_CONFIG:-pkg-config} --libs %s)"):format(sanitizers, package_name))
end

-- The path of a module, for package.loadlib.
function compile.module(source)
  return build(source, ".so", "-shared -fPIC")
end

return compile
