-- Defects that the tests of the decision must notice: each a name, what it breaks, a piece of
-- src/engine/catchup.c that occurs there exactly once, and what takes its place.
-- A guard whose loss cannot be noticed does not belong into the source, nor its mutation here.

return {
  -- rule 1: at the snapshot
  { "start at T is not done", "start >= history->target ||", "start > history->target ||" },
  { "start is no evidence", "history->evidence = start >= history->target || p->low",
    "history->evidence = p->low" },
  { "low at T is not done", "p->low >= history->target;", "p->low > history->target;" },
  { "low is no evidence", "start >= history->target || p->low >= history->target",
    "start >= history->target" },
  { "evidence is not looked at when assigned", [[
    note_progress(catchup, p);
    finish_if_done(turn, p);
}]], [[
    note_progress(catchup, p);
}]] },

  -- rules 2 and 3: messages
  { "a message is no evidence", [[
    if (offset + 1 >= history->target)
        give_evidence(turn, p);]], "" },
  { "only a message at T is evidence, T - 1 is not", "offset + 1 >= history->target",
    "offset >= history->target" },
  { "a message at T - 2 is evidence", "offset + 1 >= history->target",
    "offset + 2 >= history->target" },
  { "done when T - 1 arrives", "    if (offset < history->target)\n",
    "    if (offset < history->target - 1)\n" },
  { "a message at T must be handled", "    if (offset < history->target)\n",
    "    if (offset <= history->target)\n" },
  { "what arrived below T is not noted", "        history->unpassed = offset + 1;", "        ;" },
  { "the last history message need not be handled", "history->unpassed = offset + 1",
    "history->unpassed = offset" },
  { "done without evidence", "!history->pending || !history->evidence ||", "!history->pending ||" },
  { "done with a message unhandled", " || p->handled < history->unpassed ||", " ||" },
  { "handled one past the last is needed", "p->handled < history->unpassed",
    "p->handled <= history->unpassed" },
  { "what is handled completes nothing", [[
    note_progress(turn->catchup, p);
    finish_if_done(turn, p);
    ask_if_in_doubt]], [[
    note_progress(turn->catchup, p);
    ask_if_in_doubt]] },
  { "a message that comes again moves back", "    if (offset < p->arrived)\n        return;", "" },
  { "a message that is handled again moves back", "    if (offset + 1 > p->handled)\n", "" },
  { "a handler that came late vouches for a later message",
    "    if (offset >= p->arrived)\n        return;\n    if (offset + 1 > p->handled)",
    "    if (offset + 1 > p->handled)" },

  -- rule 4: end-of-partition and position
  { "end-of-partition is no evidence", [[
    if (offset >= p->history.target)
        give_evidence(turn, p);
    if (p]], [[
    if (p]] },
  { "end-of-partition at T is below T", "    if (offset >= p->history.target)\n",
    "    if (offset > p->history.target)\n" },
  { "end-of-partition at T - 1 completes", "    if (offset >= p->history.target)\n",
    "    if (offset >= p->history.target - 1)\n" },
  { "a position is no evidence", "p->history.pending && offset >= p->history.target)\n"
    .. "        give_evidence(turn, p);\n}\n\nstatic void on_reset",
    "false)\n        give_evidence(turn, p);\n}\n\nstatic void on_reset" },
  { "a position at T is below T", "p->history.pending && offset >= p->history.target)\n"
    .. "        give_evidence(turn, p);\n}\n\nstatic void on_reset",
    "p->history.pending && offset > p->history.target)\n"
    .. "        give_evidence(turn, p);\n}\n\nstatic void on_reset" },
  { "a position at T - 1 completes", "p->history.pending && offset >= p->history.target)\n"
    .. "        give_evidence(turn, p);\n}\n\nstatic void on_reset",
    "p->history.pending && offset >= p->history.target - 1)\n"
    .. "        give_evidence(turn, p);\n}\n\nstatic void on_reset" },

  -- rule 5: end-of-partition below T
  { "end-of-partition below T is the end", "    p->verify = true;\n    ask_if_in_doubt(turn, p);",
    "    give_evidence(turn, p);" },
  { "end-of-partition below T is not asked about", "    p->verify = true;\n    ask_if_in_doubt(turn, p);",
    "" },
  { "end-of-partition is asked about in a done partition",
    "    p->eof = offset;\n    if (!p->history.pending)\n        return;", "    p->eof = offset;" },
  { "the end is asked for while a message is unhandled",
    "(p->lost || p->verify) && !has_unhandled(p) &&", "(p->lost || p->verify) &&" },
  { "the end is not asked for again when the message is handled", [[
    finish_if_done(turn, p);
    ask_if_in_doubt(turn, p);]], [[
    finish_if_done(turn, p);]] },
  { "two questions at a time", "    if (p->asking)\n        return;", "" },
  { "asked before the second is over", "&& !has_unhandled(p) && p->ask_at_ms == NONE)",
    "&& !has_unhandled(p))" },
  { "an answer is believed while a message is unhandled", [[
    if (has_unhandled(p))
        return; /* more]], [[
    if (false)
        return; /* more]] },
  { "an end at T is below T", "pending && event->end < p->history.target;",
    "pending && event->end <= p->history.target;" },
  { "an end at T - 1 is not below T", "pending && event->end < p->history.target;",
    "pending && event->end < p->history.target - 1;" },
  { "the end concerns a done partition", "pending && event->end < p->history.target;",
    "event->end < p->history.target;" },
  { "an end at T leaves the doubt", "        p->verify = false;\n        p->below_since_ms = NONE;",
    "        p->below_since_ms = NONE;" },
  { "an end at T does not take the first sight back",
    "        p->verify = false;\n        p->below_since_ms = NONE;", "        p->verify = false;" },
  { "believed at first sight", "        *since_ms = now_ms;\n", "        *since_ms = 0;\n" },
  { "believed without the second between", "elapsed(now_ms, *since_ms) >= KH_CATCHUP_CONFIRM_MS &&",
    "elapsed(now_ms, *since_ms) > 0 &&" },
  { "believed after more than a second only",
    "elapsed(now_ms, *since_ms) >= KH_CATCHUP_CONFIRM_MS &&",
    "elapsed(now_ms, *since_ms) > KH_CATCHUP_CONFIRM_MS &&" },
  { "never asked a second time",
    "    ask_end_at(turn, p, later(now_ms, KH_CATCHUP_CONFIRM_MS));\n    return false;",
    "    return false;" },
  { "a question without an answer is not asked again",
    "        ask_end_at(turn, p, later(turn->catchup->now_ms, KH_CATCHUP_CONFIRM_MS));", "        ;" },
  { "a question without an answer is asked again in a done partition",
    "    if (p->history.pending || p->lost || p->gone_since_ms != NONE)\n        ask_end_at",
    "        ask_end_at" },
  { "an answer leaves the question open", "    p->asking = false;\n    p->gone_since_ms = NONE;",
    "    p->gone_since_ms = NONE;" },
  { "a failed question stays open",
    "    p->asking = false;\n    if (event->error == KH_ASK_GONE) {",
    "    if (event->error == KH_ASK_GONE) {" },
  { "the time of an answer does not count", "        note_time(turn->catchup, event->now_ms);\n"
    .. "        on_end_is", "        on_end_is" },
  { "the time of a failure does not count", "        note_time(turn->catchup, event->now_ms);\n"
    .. "        on_ask_error", "        on_ask_error" },
  { "the clock goes back", "    if (now_ms > catchup->now_ms)\n", "" },
  { "the waited time goes back", "    if (event->waited_ms > catchup->waited_ms)\n", "" },
  { "a question that is due is not asked", "p->ask_at_ms <= catchup->now_ms)\n        ask_end(turn, p);",
    "p->ask_at_ms <= catchup->now_ms)\n        p->ask_at_ms = NONE;" },

  -- truncation
  { "a truncation is not reported", [[
    act(turn, p,
        (kh_action){.type = KH_ACTION_TRUNCATED,
                    .offset = p->handled,
                    .target = p->history.target,
                    .end = end,
                    .gone = gone});]], "" },
  { "goes on after a truncation that ends reading", "        catchup->failed = true;", "        ;" },
  { "acts after the end of reading", "    if (turn->catchup->failed)\n        return;", "" },
  { "the signal is given after the end of reading", "catchup->caught_up || catchup->failed ||",
    "catchup->caught_up ||" },
  { "asks for ticks after the end of reading", "    if (catchup->failed ||\n"
    .. "        (catchup->look_at_ms == INT64_MAX", "    if (\n        (catchup->look_at_ms == INT64_MAX" },
  { "T stays after a truncation", "        p->history.target = end;", "        ;" },
  { "T changes after the signal", "    if (p->history.known && !catchup->caught_up)\n        p->history",
    "    if (p->history.known)\n        p->history" },
  { "T is given to a partition without one",
    "    if (p->history.known && !catchup->caught_up)\n        p->history",
    "    if (!catchup->caught_up)\n        p->history" },
  { "the old low stays after a truncation", "    p->low = low;\n", "" },
  { "no reading from low after a truncation", "    read_from(turn, p, low);\n}", "}" },
  { "reading on keeps what arrived", "    p->arrived = offset;\n", "" },
  { "reading on keeps what was handled",
    "        p->handled = offset;\n        p->history.unpassed = NONE;\n",
    "        p->history.unpassed = NONE;\n" },
  { "reading on waits for the old log's message",
    "        p->handled = offset;\n        p->history.unpassed = NONE;\n", "        p->handled = offset;\n" },
  { "reading on keeps the doubts",
    "    p->taken = offset;\n    forget_doubts(p);\n", "    p->taken = offset;\n" },
  { "reading on is no progress",
    "    p->taken = offset;\n    forget_doubts(p);\n    note_progress(turn->catchup, p);",
    "    p->taken = offset;\n    forget_doubts(p);" },
  { "reading on at T is not done", "p->history.pending && offset >= p->history.target)\n"
    .. "        give_evidence(turn, p);\n}\n\n/* --- events",
    "p->history.pending && offset > p->history.target)\n"
    .. "        give_evidence(turn, p);\n}\n\n/* --- events" },
  { "reading on at T - 1 is done", "p->history.pending && offset >= p->history.target)\n"
    .. "        give_evidence(turn, p);\n}\n\n/* --- events",
    "p->history.pending && offset >= p->history.target - 1)\n"
    .. "        give_evidence(turn, p);\n}\n\n/* --- events" },

  -- the position is lost
  { "a lost position is ignored", "    p->lost = true;\n    ask_if_in_doubt(turn, p);", "" },
  { "a first sight from before the loss counts",
    "    if (!p->lost)\n        p->below_since_ms = NONE;", "" },
  { "each report of the loss takes the first sight back",
    "    if (!p->lost)\n        p->below_since_ms = NONE;", "    p->below_since_ms = NONE;" },
  { "an answer from before the loss counts", "    if (p->lost && !p->asked_lost) {", "    if (false) {" },
  { "no new question after an answer from before the loss", [[
        ask_if_in_doubt(turn, p); /* the answer]], [[
        ; /* the answer]] },
  { "a gap is a truncation", "    if (p->lost && event->low > reached(p) && !end_moved_back) {",
    "    if (false) {" },
  { "a gap without a loss", "    if (p->lost && event->low > reached(p) && !end_moved_back) {",
    "    if (event->low > reached(p) && !end_moved_back) {" },
  { "low at the position is a gap", "event->low > reached(p) &&", "event->low >= reached(p) &&" },
  { "low one past the position is no gap", "event->low > reached(p) &&",
    "event->low > reached(p) + 1 &&" },
  { "a gap in a log that ends below T", "event->low > reached(p) && !end_moved_back)",
    "event->low > reached(p))" },
  { "a hole that was passed counts as a gap", "return p->eof > p->arrived ? p->eof : p->arrived;",
    "return p->arrived;" },
  { "a gap is not reported",
    "        act(turn, p, (kh_action){.type = KH_ACTION_GAP, .offset = reached(p), .to = event->low});\n",
    "" },
  { "a gap is not passed over", "        read_from(turn, p, event->low);\n        return;",
    "        return;" },
  { "a lost position whose log is long enough is ignored", "    if (!p->lost && !end_moved_back) {",
    "    if (!end_moved_back) {" },
  { "a loss is forgotten when the partition is done", "    if (!p->lost)\n        forget_doubts(p);",
    "    forget_doubts(p);" },
  { "doubts are kept when the partition is done", "    if (!p->lost)\n        forget_doubts(p);", "" },

  -- the topic is deleted
  { "a deleted topic is one without a leader", "    if (event->error == KH_ASK_GONE) {",
    "    if (false) {" },
  { "believed to be deleted at once",
    "        if (is_confirmed(turn, p, &p->gone_since_ms))\n", "" },
  { "believed to be deleted with a message unhandled", "KH_CATCHUP_CONFIRM_MS && !has_unhandled(p))",
    "KH_CATCHUP_CONFIRM_MS)" },
  { "an end does not take the deletion back",
    "    p->asking = false;\n    p->gone_since_ms = NONE;", "    p->asking = false;" },
  { "a message does not take the deletion back", "    p->gone_since_ms = NONE; /* there", "    /* there" },
  { "a deleted topic is never done",
    "        give_evidence(turn, p);\n        return;\n    }\n    p->taken",
    "        return;\n    }\n    p->taken" },
  { "a deleted topic is asked about for ever",
    "        forget_doubts(p);\n        give_evidence(turn, p);", "        give_evidence(turn, p);" },

  -- stalls
  { "a stall is never asked about", "    if (stalled_at_ms <= catchup->waited_ms) {", "    if (false) {" },
  { "a stall is asked about late", "    if (stalled_at_ms <= catchup->waited_ms) {",
    "    if (stalled_at_ms < catchup->waited_ms) {" },
  { "a done partition stalls", "    if (!p->history.pending || p->stall_pause_ms == INT64_MAX ||",
    "    if (p->stall_pause_ms == INT64_MAX ||" },
  { "stalls while a message is unhandled", "INT64_MAX || has_unhandled(p) ||\n", "INT64_MAX ||\n" },
  { "\"never\" is some time", "    if (!p->history.pending || p->stall_pause_ms == INT64_MAX ||",
    "    if (!p->history.pending ||" },
  { "pauses do not grow", ": p->stall_pause_ms * 2;", ": p->stall_pause_ms;" },
  { "pauses grow without limit", "? KH_CATCHUP_STALL_PAUSE_MAX_MS\n", "? p->stall_pause_ms * 2\n" },
  { "no pause at all", "doubled_ms > 0 ? doubled_ms : 1;", "doubled_ms;" },
  { "the next pause begins where the last one did", "        p->progress_at_ms = catchup->waited_ms;\n"
    .. "        p->stall_pause_ms = doubled", "        p->stall_pause_ms = doubled" },
  { "a stall hurries a question that is due", [[
        if (p->ask_at_ms == NONE)
            ask_end(turn, p);
        stalled]], [[
        ask_end(turn, p);
        stalled]] },
  { "progress does not count", "    p->progress_at_ms = catchup->waited_ms;\n    p->stall_pause_ms",
    "    p->stall_pause_ms" },
  { "progress leaves the long pause", "    p->stall_pause_ms = catchup->options.stall_timeout_ms;\n"
    .. "    p->diagnosing", "    if (p->stall_pause_ms == 0)\n        p->stall_pause_ms ="
    .. " catchup->options.stall_timeout_ms;\n    p->diagnosing" },
  { "a stall is reported in spite of progress", [[
    p->diagnosing = false;
    if (p->history.pending)
        catchup->look]], [[
    if (p->history.pending)
        catchup->look]] },
  { "every answer reports a stall", "    if (!p->diagnosing)\n        return;", "" },
  { "a stall is reported twice",
    "        return;\n    p->diagnosing = false;\n    act", "        return;\n    act" },
  { "a negative stall timeout", "    if (catchup->options.stall_timeout_ms < 0)\n"
    .. "        catchup->options.stall_timeout_ms = 0;", "" },
  { "cause: a truncation is not named",
    "        return KH_STALL_TRUNCATED;", "        return KH_STALL_UNKNOWN;" },
  { "cause: an end at T is truncated",
    "    if (end < p->history.target ||", "    if (end <= p->history.target ||" },
  { "cause: a topic made anew is not truncated", " || p->replaced)\n        return KH_STALL_TRUNCATED;",
    ")\n        return KH_STALL_TRUNCATED;" },
  { "cause: an open transaction is not named", "        return KH_STALL_OPEN_TRANSACTION;",
    "        return KH_STALL_UNKNOWN;" },
  { "cause: a transaction that was not reached", "    if (reached(p) >= stable)",
    "    if (stable < p->history.target)" },
  { "cause: a transaction must have been passed", "reached(p) >= stable)", "reached(p) > stable)" },
  { "cause: a follower lags without an end-of-partition", "p->eof != NONE && p->eof < stable",
    "p->eof < stable" },
  { "cause: end-of-partition outlives the next message",
    "    p->eof = NONE;\n    p->gone_since_ms = NONE; /*",
    "    p->gone_since_ms = NONE; /*" },
  { "cause: no leader is not named",
    "event->error == KH_ASK_NO_LEADER ? KH_STALL_NO_LEADER : KH_STALL_UNKNOWN", "KH_STALL_UNKNOWN" },
  { "cause: a deletion is not named", "report_stall(turn, p, KH_STALL_TOPIC_DELETED, NONE);",
    "report_stall(turn, p, KH_STALL_UNKNOWN, NONE);" },

  -- the assignment, the count, the signal
  { "the signal does not wait for the assignment", "catchup->failed || !catchup->settled ||",
    "catchup->failed ||" },
  { "settling gives no signal", "        release_if_all_done(&turn);", "        ;" },
  { "the signal is given twice",
    "    if (catchup->caught_up || catchup->failed ||", "    if (catchup->failed ||" },
  { "the signal does not wait for all partitions", " || catchup->pending_count > 0)", ")" },
  { "the signal leaves one partition out", "catchup->pending_count > 0)", "catchup->pending_count > 1)" },
  { "a partition is done twice", "    history->pending = false;\n    if (!p->lost)", "    if (!p->lost)" },
  { "a done partition is not counted off", "    turn->catchup->pending_count--;\n    act", "    act" },
  { "an assigned partition is not counted", "        catchup->pending_count++;", "        ;" },
  { "a revoked partition is not counted off", "        turn->catchup->pending_count--;\n    p->history",
    "        ;\n    p->history" },
  { "a revoked partition that was done is counted off",
    "    if (p->history.pending)\n        turn->catchup", "    turn->catchup" },
  { "a revoked partition stays pending",
    "    p->history.pending = false;\n    p->assigned", "    p->assigned" },
  { "a revoked partition stays assigned", "    p->assigned = false;\n", "" },
  { "revoking gives no signal", "    p->assigned = false;\n    release_if_all_done(turn);",
    "    p->assigned = false;" },
  { "assigned twice", "    if (p->assigned || start < 0)", "    if (start < 0)" },
  { "pending again after the signal", "history->known && !catchup->caught_up;\n    history",
    "history->known;\n    history" },
  { "a partition without T is waited for", "history->pending = history->known && !catchup->caught_up;",
    "history->pending = !catchup->caught_up;" },
  { "an old question blocks the new assignment", "    p->asking = false;\n    p->start = start;",
    "    p->start = start;" },
  { "a new assignment keeps what arrived", "    p->arrived = start;\n", "" },
  { "a new assignment keeps what was handled", "    p->handled = start;\n", "" },
  { "a new assignment keeps the doubts", "    forget_doubts(p);\n    history->unpassed = NONE;",
    "    history->unpassed = NONE;" },
  { "a new assignment waits for an old message", "    forget_doubts(p);\n    history->unpassed = NONE;",
    "    forget_doubts(p);" },
  { "a new assignment keeps the old evidence",
    "history->evidence = start >= history->target ||", "history->evidence |= start >= history->target ||" },
  { "a new assignment has no time of its own", [[
        catchup->pending_count++;
    note_progress(catchup, p);]], [[
        catchup->pending_count++;]] },
  { "a snapshot of an assigned partition",
    "    if (p->assigned || event->low < 0 ||", "    if (event->low < 0 ||" },

  -- bad events
  { "a negative low in a snapshot", "    if (p->assigned || event->low < 0 ||", "    if (p->assigned ||" },
  { "a negative T in a snapshot", " || event->target < 0)", ")" },
  { "a negative start", "    if (p->assigned || start < 0)", "    if (p->assigned)" },
  { "a negative offset", "return event->offset >= 0 && event->offset < INT64_MAX;",
    "return event->offset < INT64_MAX;" },
  { "an offset without a successor", "return event->offset >= 0 && event->offset < INT64_MAX;",
    "return event->offset >= 0;" },
  { "a negative low in an answer", "event->low >= 0 && event->end >= 0", "event->end >= 0" },
  { "a negative end in an answer", "event->low >= 0 && event->end >= 0", "event->low >= 0" },
  { "a negative stable end in an answer", " && event->stable >= 0", "" },
  { "a negative time of an answer", "event->stable >= 0 && event->now_ms >= 0;", "event->stable >= 0;" },
  { "a negative time of a failure", "    case KH_EVENT_ERROR:\n        return event->now_ms >= 0;",
    "    case KH_EVENT_ERROR:\n        return true;" },

  -- history that is kept
  { "what is kept is handled", "p->handled < history->unpassed", "p->taken < history->unpassed" },
  { "what is kept is unhandled", "    return p->taken < p->arrived;", "    return p->handled < p->arrived;" },
  { "what is handled is not taken", "    if (p->handled > p->taken)\n        p->taken = p->handled;\n", "" },
  { "what has not arrived is kept", "static void on_kept(const struct turn *turn, struct partition *p, "
    .. "int64_t offset)\n{\n    if (offset >= p->arrived)\n        return;\n",
    "static void on_kept(const struct turn *turn, struct partition *p, int64_t offset)\n{\n" },
  { "a gap forgets what was kept", "    if (!has_kept(p)) {\n", "    if (true) {\n" },
  { "a gap unhandles what was handled", "    if (!has_kept(p)) {\n", "    if (false) {\n" },
  { "what was kept outlives a log that was cut", "    p->taken = p->handled; /* nor", "    /* nor" },
  { "no question follows what is kept", "        p->taken = offset + 1;\n"
    .. "    note_progress(turn->catchup, p);\n    ask_if_in_doubt(turn, p);",
    "        p->taken = offset + 1;\n    note_progress(turn->catchup, p);" },
  { "an end below T is asked about when all is there",
    "    if (p->history.evidence) /* what is left", "    if (offset >= p->history.target) /* what is left" },
  { "what is kept is no progress",
    "        p->taken = offset + 1;\n    note_progress(turn->catchup, p);",
    "        p->taken = offset + 1;" },
  { "history that waits for the owner stalls",
    "        (p->history.evidence && !p->replaced))", "        false)" },
  { "a stall is told after the end of history",
    "        p->diagnosing = false; /* what is left", "        ; /* what" },
  { "a negative partition", "    if (event->partition < 0 ||", "    if (" },
  { "a partition that there is no room for", " || event->partition >= catchup->capacity ||", " ||" },
  { "a partition that is not assigned", "    else if (p->assigned)\n", "    else\n" },

  -- topics made anew
  { "a topic made anew needs a second answer", "    if (p->replaced) {\n", "    if (false) {\n" },
  { "a topic made anew completes the history", "history->unpassed || p->replaced)",
    "history->unpassed)" },
  { "a topic made anew is not asked about", "no more */\n    on_reset(turn, p);", "no more */" },
  { "an old topic's answer describes the new one",
    "    p->asked_lost = false; /* an answer that", "    /* an answer that" },
  { "a topic made anew stays so", "    p->replaced = false;\n", "" },
  { "evidence outlives the log", "    p->history.evidence = false;\n", "" },

  -- what the owner asks
  { "a crossing begins at T", "return history->pending && offset >= history->target - 1;",
    "return history->pending && offset >= history->target;" },
  { "a crossing in a done partition", "return history->pending && offset >= history->target - 1;",
    "return offset >= history->target - 1;" },
  { "only the clock's timer", "    return earlier_of(until_ms, until_waited_ms);", "    return until_ms;" },
  { "only the stall's timer", "    return earlier_of(until_ms, until_waited_ms);",
    "    return until_waited_ms;" },
  { "a tick forgets the clock's timer",
    "        catchup->look_at_ms = earlier_of(catchup->look_at_ms, p->ask_at_ms);", "        ;" },
  { "a tick forgets the stall's timer",
    "    catchup->look_at_waited_ms = earlier_of(catchup->look_at_waited_ms, stalled_at_ms);\n}", "}" },
  { "the clock's timer is not set",
    "    turn->catchup->look_at_ms = earlier_of(turn->catchup->look_at_ms, at_ms);\n", "" },
  { "the stall's timer is not set", "    if (p->history.pending)\n        catchup->look_at_waited_ms =",
    "    if (false)\n        catchup->look_at_waited_ms =" },
  { "a tick keeps an old clock's timer", "    catchup->look_at_ms = INT64_MAX;\n"
    .. "    catchup->look_at_waited_ms = INT64_MAX;\n    for",
    "    catchup->look_at_waited_ms = INT64_MAX;\n    for" },
  { "a tick keeps an old stall's timer", "    catchup->look_at_ms = INT64_MAX;\n"
    .. "    catchup->look_at_waited_ms = INT64_MAX;\n    for",
    "    catchup->look_at_ms = INT64_MAX;\n    for" },
  { "times overflow", "return time_ms > INT64_MAX - by_ms ? INT64_MAX : time_ms + by_ms;",
    "return (int64_t)((uint64_t)time_ms + (uint64_t)by_ms);" },
  { "more room forgets",
    "for (int i = catchup->capacity; i < count; i++)", "for (int i = 0; i < count; i++)" },
  { "room shrinks", "    if (count <= catchup->capacity)\n        return true;", "" },
}
