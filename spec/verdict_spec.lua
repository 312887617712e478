-- That support.verdict, which judges the logs of a group's members, finds each mistake that it is there
-- to find: logs made by hand.

local verdict = require "support.verdict"

-- A member whose log is told in short lines at 1, 2, 3, ... s: "+0 1" assigned partitions 0 and 1, "-0"
-- revoked, "!0" lost, "0@5" handled offset 5 of partition 0, "signal", "" nothing at this time.
local function member(name, lines)
  local self = { name = name, began = 0, entries = {}, look = function(self) return self end,
    describe = function() return name end }
  local names = { ["+"] = "assigned", ["-"] = "revoked", ["!"] = "revoked" }
  for at, line in ipairs(lines) do
    local entry
    local partition, offset = line:match "^(%d)@(%d)$"
    if partition then
      entry = { kind = "message", topic = "t", partition = tonumber(partition), offset = tonumber(offset) }
    elseif line == "signal" then
      entry = { kind = "event", name = "caught_up" }
      self.signal = self.signal or entry
    elseif line ~= "" then
      entry = { kind = "event", name = names[line:sub(1, 1)], lost = line:sub(1, 1) == "!", places = {} }
      for digit in line:gmatch "%d" do
        table.insert(entry.places, { topic = "t", partition = tonumber(digit) })
      end
    end
    if entry then
      entry.at = at
      table.insert(self.entries, entry)
    end
  end
  return self
end

-- Two partitions of two messages.
local whole = verdict.whole("t", { [0] = { low = 0, high = 2 }, { low = 0, high = 2 } })

local function finds(pattern, members, options)
  local ok, err = pcall(verdict.check, members, whole, options)
  assert.is_false(ok)
  assert.matches(pattern, err)
end

describe("the verdict on a group's logs", function()
  it("is that all is well, where each partition is handled once, by whoever has it", function()
    local result = verdict.check({
      member("a", { "+0 1", "0@0", "1@0", "-1", "0@1", "signal" }),
      member("b", { "+", "", "", "", "+1", "1@1", "signal" }),
    }, whole)
    assert.equal(0, #result.repeats)
    assert.equal(2, result.assignments)
  end)

  it("finds a message that is lost", function()
    finds("lost: of t:1 1 messages", { member("a", { "+0 1", "0@0", "1@0", "0@1" }) })
    assert.is_table(verdict.check({ member("a", { "+0 1", "0@0" }) }, whole, { partial = true }))
  end)

  it("finds a message that is left out, or comes in the wrong order", function()
    finds("t:0@1 handled by a first", { member("a", { "+0 1", "0@1" }) })
    finds("t:0@0 handled by a after offset 1", { member("a", { "+0", "0@0", "0@1", "0@0" }) })
    finds("t:1@1 handled by b first", { member("a", { "+0" }), member("b", { "", "+1", "1@1" }) })
  end)

  it("finds a message that is none", function()
    finds("no message of the log", { member("a", { "+0 1", "0@2" }) })
  end)

  it("finds a message of a partition that was revoked, or never assigned", function()
    finds("has not this partition", { member("a", { "+0", "0@0", "-0", "0@1" }) })
    finds("has not this partition", { member("a", { "+0", "1@0" }) })
  end)

  it("finds events that do not fit", function()
    finds("which it has\n", { member("a", { "+0", "+0 1" }) })
    finds("which it has not", { member("a", { "+0", "-1" }) })
    finds("twice", { member("a", { "+", "signal", "signal" }) })
  end)

  it("finds a message that comes again without a reason", function()
    finds("handled again by b.*killed", {
      member("a", { "+0 1", "0@0", "1@0", "1@1", "-0 1" }),
      member("b", { "", "", "", "", "", "+0", "0@0", "0@1" }),
    })
  end)

  it("allows it where the member that had it was killed or lost it, and shows it", function()
    local again = member("b", { "", "", "", "", "", "+0 1", "0@0", "0@1", "1@0", "1@1" })
    local killed = member("a", { "+0 1", "0@0" })
    killed.killed = true
    local result = verdict.check({ killed, again }, whole)
    assert.equal(1, #result.repeats)
    assert.same({ "t:0", 0, "a", "b" }, { result.repeats[1].name, result.repeats[1].offset,
      result.repeats[1].stay.member.name, result.repeats[1].again.member.name })
    result = verdict.check({ member("a", { "+0 1", "0@0", "!0 1" }), again }, whole)
    assert.same({ 1, 1 }, { #result.repeats, result.losses })
    -- Whoever has lost a partition may go on for a moment, until it is told.
    result = verdict.check({ member("a", { "+0", "", "", "0@0", "", "!0" }),
      member("b", { "", "+0 1", "0@0", "", "0@1", "1@0", "1@1" }) }, whole)
    assert.equal(1, #result.repeats)
  end)

  it("allows it not where the killed member had given the partition away before", function()
    local killed = member("a", { "+0 1", "0@0", "-0" })
    killed.killed = true
    finds("handled again", { killed, member("b", { "", "", "", "+0", "0@0", "0@1", "+1", "1@0", "1@1" }) })
  end)

  it("finds a signal that comes early, for what the member has", function()
    finds("early", { member("a", { "+0 1", "0@0", "0@1", "1@0", "signal", "1@1" }) })
    finds("early", { member("a", { "+0", "0@0", "+1", "0@1", "signal" }),
      member("b", { "", "", "", "", "", "", "" }) })
    assert.is_table(verdict.check({ member("a", { "+0 1", "0@0", "-0", "1@0", "1@1", "signal" }) }, whole,
      { partial = true }))
  end)

  it("holds members that begin at the start to their own order", function()
    local function both(lines)
      return { member("a", { "+0 1", "0@0", "0@1", "1@0", "1@1", "signal" }), member("b", lines) }
    end
    local own_start = { own_start = true }
    assert.is_table(verdict.check(both { "+0", "0@0", "-0", "+0", "0@1", "signal" }, whole, own_start))
    finds("t:0@1 handled by b", both { "+0", "0@1" }, own_start)
    finds("t:0@0 handled by b", both { "+0", "0@0", "-0", "+0", "0@0" }, own_start)
    finds("early", both { "+0", "0@0", "signal" }, own_start)
  end)
end)
