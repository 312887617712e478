-- A bound on the time of every test: a process beside the specs that waits for the end of the test.
-- A test that runs longer is interrupted as if by Ctrl-C, so that it fails where it hangs; what does
-- not listen to that is killed.
--
--     before_each(watchdog.start)
--     after_each(watchdog.stop)

local watchdog = {}

local limit_s = 30

local script = [[
pid=$PPID; limit=
while :; do
    if [ -n "$limit" ]; then IFS= read -r -t "$limit" line; else IFS= read -r line; fi
    result=$?
    if [ $result -gt 128 ]; then
        echo "a test runs for more than $limit s: interrupted" >&2
        kill -INT $pid
        IFS= read -r -t 5 line
        if [ $? -gt 128 ]; then echo "it does not end: killed" >&2; kill -KILL $pid; exit; fi
    elif [ $result -ne 0 ]; then
        exit
    fi
    limit=$line
done
]]

local dog

local function tell(line)
  if not dog then
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write(script)
    file:close()
    -- exec, so that the parent of the script is this process. Its own file is gone once it runs.
    dog = assert(io.popen(("exec bash -c \"$(cat %s; rm %s)\""):format(name, name), "w"))
    dog:setvbuf("no")
  end
  dog:write(line, "\n")
end

function watchdog.start() tell(limit_s) end

function watchdog.stop() tell("") end

return watchdog
