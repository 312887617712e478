-- Members of a group that come and go at random, some of them killed or stopped for longer than their
-- session lasts, over a topic of 24 partitions that is written to all the time. Each member keeps a log of
-- what it has handled (support.member), and at the end all logs are judged together (support.verdict):
-- nothing lost, no member handles what it does not have, no reordering, and nothing again but what a member
-- had handled that was killed or had lost its membership. A member's signal comes when what was written
-- before it began is handled, of what it has.
--
-- KH_CHURN_SECONDS (120): how long members come and go. KH_CHURN_SEED (from the clock): what that is drawn
-- from. KH_CHURN_STRATEGY: a name of support.protocols, "eager" (the default), "cooperative", "consumer"; the
-- latter two need a librdkafka that has them: tools/spec 2.16.0/lua5.4:spec/faults/churn_spec.lua.

local chaos = require "support.chaos"
local kafka = require "support.kafka"
local member = require "support.member"
local protocols = require "support.protocols"
local system = require "system"
local verdict = require "support.verdict"

local PARTITIONS, MEMBERS, SESSION_MS = 24, 4, 6000
local COMMIT_INTERVAL, BATCH = 1, 100

local seconds = tonumber(os.getenv "KH_CHURN_SECONDS") or 120
local seed = tonumber(os.getenv "KH_CHURN_SEED") or math.floor(system.gettime() * 1000) % 1000000
local strategy = os.getenv "KH_CHURN_STRATEGY" or "eager"

local function note(format, ...)
  io.write("# ", format:format(...), "\n")
  io.flush()
end

local function between(least, most)
  return least + (most - least) * math.random()
end

local function find_protocol()
  for _, protocol in ipairs(protocols) do
    if protocol.name == strategy then return protocol end
  end
  error(("KH_CHURN_STRATEGY=%s: this librdkafka does not have it"):format(strategy))
end

-- How a member's life ends, in random order, then all again. One in three is killed, or stopped for about
-- as long as the session.
local endings = { "close", "close", "end", "kill", "close", "stall" }

local lives = {
  close = ("self:read { batch = %d } self:close()"):format(BATCH),
  ["end"] = ("self:read { batch = %d }"):format(BATCH),
}

describe("members of a group that come and go", function()
  local protocol, topic, group, directory, writer
  local all, present, left = {}, {}, {}

  setup(function()
    note("churn: %s, seed %d, %d s; again: make churn KH_CHURN_STRATEGY=%s KH_CHURN_SECONDS=%d "
      .. "KH_CHURN_SEED=%d", strategy, seed, seconds, strategy, seconds, seed)
    protocol = find_protocol()
    topic = kafka.create("churn", { partitions = PARTITIONS })
    group = protocol:group(SESSION_MS)
    directory = os.tmpname()
    os.remove(directory)
    assert(os.execute("mkdir " .. directory))
    writer = chaos.start("write", seconds + 200, kafka.addresses(), topic, PARTITIONS,
      directory .. "/acknowledged", directory .. "/stop")
    kafka.wait_until(function() return kafka.ends(topic)[PARTITIONS - 1].high > 0 end, 20, "the writer")
    math.randomseed(seed)
  end)

  teardown(function()
    if writer then writer:stop() end
    member.clean()
    if directory then os.execute("rm -r " .. directory) end
  end)

  -- At the start of its life: what is history for it, at least.
  local function targets()
    local found = {}
    for partition, of in pairs(kafka.ends(topic)) do found[topic .. ":" .. partition] = of.high end
    return found
  end

  local function come()
    if #left == 0 then
      for i, ending in ipairs(endings) do left[i] = ending end
    end
    local ending = table.remove(left, math.random(#left))
    local history = targets()
    local one = member.start { topics = topic, group = group, name = ("member %d"):format(#all + 1),
      config = { commit_interval = COMMIT_INTERVAL, options = protocol:options({}, SESSION_MS) },
      life = lives[ending] or lives.close, seconds = seconds + 200 }
    one.targets, one.ending = history, ending
    one.leave_at = system.monotime() + between(2, 25)
    all[#all + 1], present[one] = one, true
  end

  -- While a group waits for a dead member, a cooperative one that closes is not heard: closing takes its
  -- whole time then.
  local function stop(one)
    local began = system.monotime()
    one:stop()
    one.cut_off = strategy == "cooperative" and system.monotime() - began > 2.5
  end

  -- Its time is over. One that is stopped goes on after its session, and then lives on for a while.
  local function go(one)
    if one.ending == "kill" then
      one:kill()
    elseif one.ending == "stall" and not one.stalled_until then
      one:signal_process "STOP"
      one.stalled_until = system.monotime() + between(0.5, 2) * SESSION_MS / 1000
      one.leave_at = math.huge
      return
    else
      stop(one)
    end
    present[one] = nil
  end

  local function look_after(one)
    local now = system.monotime()
    if one.stalled_until and one.leave_at == math.huge and now > one.stalled_until then
      one:signal_process "CONT"
      one.leave_at = now + between(2, 10)
    elseif now > one.leave_at then
      go(one)
    end
  end

  local function count_present()
    local count = 0
    for _ in pairs(present) do count = count + 1 end
    return count
  end

  local function in_order()
    local list = {}
    for one in pairs(present) do list[#list + 1] = one end
    table.sort(list, function(a, b) return a.began < b.began end)
    return list
  end

  local function churn()
    local over, next_at = system.monotime() + seconds, 0
    while system.monotime() < over do
      if count_present() < MEMBERS and system.monotime() > next_at then
        come()
        next_at = system.monotime() + between(0.1, 3)
      end
      for _, one in ipairs(in_order()) do
        local status = one.process:status()
        if status then error(("%s has ended by itself, with status %d: %s"):format(one.name, status,
          one:finish().stderr), 0) end
        look_after(one)
      end
      assert(not writer:status(), "the writer has ended")
      system.sleep(0.05)
    end
  end

  -- Those that are stopped go on, the writer ends, and one more member reads what is left with the others.
  local function settle()
    for one in pairs(present) do
      if one.leave_at == math.huge then one:signal_process "CONT" end
    end
    assert(io.open(directory .. "/stop", "w")):close()
    local result = writer:finish()
    assert(result.status == 0, result.stderr)
    writer = nil
    come()
    for one in pairs(present) do one:wait_for_signal(60) end
    kafka.wait_until(function()
      local committed = kafka.committed(topic, group)
      for partition, of in pairs(kafka.ends(topic)) do
        if committed[partition] ~= of.high then return false end
      end
      return true
    end, 60, "all that was written to be committed")
    for one in pairs(present) do stop(one) end
  end

  local function summarize(result)
    local handled, kills, stalls, unheard, signals = 0, 0, 0, 0, 0
    for _, one in ipairs(all) do
      handled = handled + one.count
      if one.killed then kills = kills + 1 end
      if one.stalled_until then stalls = stalls + 1 end
      if one.cut_off then unheard = unheard + 1 end
      if one.signal then signals = signals + 1 end
    end
    local worst = 0
    for _, again in ipairs(result.repeats) do worst = math.max(worst, again.again.at - again.first.at) end
    note("%d members, %d killed, %d stopped for a while, %d not heard when they closed; %d assignments, "
      .. "%d losses of membership; %d signals", #all, kills, stalls, unheard, result.assignments,
      result.losses, signals)
    note("%d messages handled, %d of them again, at most %.1f s after the first time", handled,
      #result.repeats, worst)
    return handled, kills
  end

  it("lose nothing, reorder nothing, and repeat only what one had that was killed or lost it", function()
    churn()
    settle()
    local ends = kafka.ends(topic)
    local result = verdict.check(all, verdict.whole(topic, ends))
    local handled, kills = summarize(result)
    assert(#all >= MEMBERS, "nobody has come")
    if seconds >= 60 then assert(kills > 0, "nobody was killed") end
    assert(handled > 1000 * seconds, "the writer was not steady")
    for partition = 0, PARTITIONS - 1 do assert(ends[partition].high > 0) end
  end)
end)
