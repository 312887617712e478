#include "meter.h"

#include <stdbool.h>

#define RATE_WINDOW_MS 500

void kh_meter_init(kh_meter *meter)
{
    *meter = (kh_meter){.began_ms = -1, .caught_up_ms = -1};
}

int64_t kh_meter_history(const kh_catchup *catchup, int count, int64_t *total)
{
    int64_t done = 0;

    *total = 0;
    for (int i = 0; i < count; i++) {
        kh_catchup_partition p = kh_catchup_get(catchup, i);
        int64_t begin = p.start > p.low ? p.start : p.low;
        int64_t length = p.has_target && p.target > begin ? p.target - begin : 0;
        int64_t passed = p.taken > begin ? p.taken - begin : 0;

        if (!p.assigned) /* another member's */
            continue;
        *total += length;
        done += p.pending && passed < length ? passed : length;
    }
    return done;
}

/* The old rate halves with each window that has passed, however many steps there were: one pause
 * does not look like the end, and a long one does. */
static double rate_lately(double old, int64_t count, int64_t span_ms)
{
    double now = (double)count * 1000 / (double)span_ms;
    double weight = old > 0 ? 1 : 0;

    for (int64_t left_ms = span_ms; left_ms >= RATE_WINDOW_MS && weight > 1e-6;
         left_ms -= RATE_WINDOW_MS)
        weight /= 2;
    return now + (old - now) * weight;
}

void kh_meter_note(kh_meter *meter, const kh_catchup *catchup, int count, int64_t now_ms)
{
    int64_t span_ms = now_ms - meter->noted_ms;
    int64_t total;
    int64_t done;

    if (meter->began_ms < 0 || span_ms < RATE_WINDOW_MS)
        return;
    done = kh_meter_history(catchup, count, &total);
    if (meter->noted_ms > 0) {
        meter->rate = rate_lately(meter->rate, meter->read - meter->noted_read, span_ms);
        meter->offset_rate = rate_lately(meter->offset_rate, done - meter->noted_offsets, span_ms);
    }
    meter->noted_ms = now_ms;
    meter->noted_read = meter->read;
    meter->noted_offsets = done;
}

int64_t kh_meter_elapsed_ms(const kh_meter *meter, int64_t now_ms)
{
    int64_t end_ms = meter->caught_up_ms >= 0 ? meter->caught_up_ms : now_ms;

    return meter->began_ms >= 0 ? end_ms - meter->began_ms : 0;
}

/* Before the first window is over: since the beginning. */
static double rate_so_far(const kh_meter *meter, int64_t count, int64_t now_ms)
{
    int64_t elapsed_ms = kh_meter_elapsed_ms(meter, now_ms);

    return elapsed_ms > 0 && meter->caught_up_ms < 0 ? (double)count * 1000 / (double)elapsed_ms
                                                     : 0;
}

double kh_meter_rate(const kh_meter *meter, int64_t now_ms, bool reading)
{
    int64_t silent_ms = now_ms - meter->noted_ms;

    if (meter->rate <= 0)
        return rate_so_far(meter, meter->read, now_ms);
    /* Where nothing comes there may be no step for long. */
    if (reading && silent_ms >= RATE_WINDOW_MS)
        return rate_lately(meter->rate, meter->read - meter->noted_read, silent_ms);
    return meter->rate;
}

double kh_meter_offset_rate(const kh_meter *meter, int64_t offsets_done, int64_t now_ms)
{
    return meter->rate > 0 ? meter->offset_rate : rate_so_far(meter, offsets_done, now_ms);
}
