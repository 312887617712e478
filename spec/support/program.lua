-- Programs that a spec starts, talks to and ends.

local program = {}

-- Of a program, in seconds: nothing that a spec runs may stay.
local limit_s = 60

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Starts a command whose stdout and stderr can be read line by line, and that can be sent signals.
function program.start(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = quote(word) end
  local line = ("echo $$; exec timeout %d %s 2>&1"):format(limit_s, table.concat(words, " "))
  local pipe = assert(io.popen(("{ sh -c %s; } 2>/dev/null; echo \"=$?\""):format(quote(line)), "r"))
  local started = { pid = pipe:read("*l"), lines = {} }

  function started.line()
    local text = pipe:read("*l")
    started.lines[#started.lines + 1] = text
    return text
  end

  function started.await(pattern)
    repeat
      local text = started.line()
      if not text then
        error(("no line with %q in\n%s"):format(pattern, table.concat(started.lines, "\n")), 2)
      end
    until text:find(pattern)
    return started.lines[#started.lines]
  end

  function started.signal(name)
    os.execute(("kill -%s %s"):format(name, started.pid))
  end

  -- Reads to the end; the exit status.
  function started.finish()
    while started.line() do end
    pipe:close()
    started.ended = true
    return tonumber(started.lines[#started.lines]:match("^=(%d+)$"))
  end

  -- Ends it if it still runs.
  function started.stop()
    if started.ended then return end
    started.signal "TERM"
    started.finish()
  end

  return started
end

return program
