#include "job.h"
#include "group.h"

#include <stdlib.h>

void kh_job_free(void *opaque)
{
    kh_job *job = opaque;

    kh_snapshot_clear(&job->snapshot);
    kh_description_clear(&job->description);
    if (job->assigned != NULL)
        rd_kafka_topic_partition_list_destroy(job->assigned);
    free(job);
}

/* --- making ----------------------------------------------------------------------------------- */

static kh_job *make(const kh_asker *asker, kh_job_kind kind)
{
    kh_job *job = calloc(1, sizeof *job);

    if (job == NULL)
        return NULL;
    job->kind = kind;
    job->asker = *asker;
    if (kh_snapshot_init(&job->snapshot, asker->config))
        return job;
    free(job);
    return NULL;
}

kh_job *kh_job_start(const kh_asker *asker)
{
    const kh_settings *settings = kh_config_settings(asker->config);
    kh_job *job = make(asker, KH_JOB_START);

    if (job == NULL)
        return NULL;
    job->snapshot.wants_stable = settings->target_is_stable && !settings->reads_uncommitted;
    job->snapshot.wants_time = settings->start_kind == KH_START_TIMESTAMP;
    job->snapshot.timestamp_ms = settings->start_number;
    return job;
}

/* Partitions that are known are asked about only when they are added. */
static void skip_known(kh_snapshot *snapshot, const kh_places *places)
{
    for (int i = 0; i < snapshot->topic_count; i++)
        snapshot->topics[i].known_count = places->topics[i].place_count;
}

static bool is_asked_about(const kh_place *place)
{
    return place->ask || (place->assigned && place->refused_by >= 0);
}

static bool add(kh_job *job, const kh_place *place)
{
    return kh_snapshot_add(&job->snapshot, place->topic, place->partition);
}

kh_job *kh_job_question(const kh_asker *asker, const kh_places *places)
{
    kh_job *job = make(asker, KH_JOB_ASK);

    if (job == NULL)
        return NULL;
    job->snapshot.wants_stable = !kh_config_settings(asker->config)->reads_uncommitted;
    job->snapshot.wants_ids = true;
    skip_known(&job->snapshot, places);
    for (int i = 0; i < places->count; i++)
        if (is_asked_about(&places->all[i]) && !add(job, &places->all[i])) {
            kh_job_free(job);
            return NULL;
        }
    return job;
}

kh_job *kh_job_assignment(const kh_asker *asker, const kh_places *places,
                          const rd_kafka_topic_partition_list_t *assigned, const kh_catchup *fresh)
{
    kh_job *job = make(asker, KH_JOB_ASSIGNMENT);

    if (job == NULL)
        return NULL;
    job->assigned = rd_kafka_topic_partition_list_copy(assigned);
    skip_known(&job->snapshot, places);
    for (int i = 0; i < assigned->cnt; i++) {
        int place = kh_places_named(places, assigned->elems[i].topic, assigned->elems[i].partition);
        bool is_known = place < 0 || (places->all[place].begun && !places->all[place].forgotten) ||
                        (fresh != NULL && kh_catchup_get(fresh, place).has_target);

        if (!is_known && !add(job, &places->all[place])) {
            kh_job_free(job);
            return NULL;
        }
    }
    return job;
}

kh_job *kh_job_description(const kh_asker *asker, int rebalances)
{
    kh_job *job = make(asker, KH_JOB_DESCRIPTION);

    if (job != NULL)
        job->rebalances = rebalances;
    return job;
}

/* --- doing ------------------------------------------------------------------------------------ */

/* Beginnings are asked for where nothing was committed, or commits do not count. */
static void ask_where_to_begin(kh_job *job, kh_helper *helper)
{
    bool wanted = kh_config_settings(job->asker.config)->from_beginning;

    job->refused = !kh_group_ask_committed(job->asker.rk, job->assigned, helper, &job->error);
    for (int i = 0; i < job->assigned->cnt; i++)
        wanted = wanted || job->assigned->elems[i].offset < 0;
    if (!job->refused && job->snapshot.partition_count > 0 && wanted)
        kh_snapshot_ask(&job->snapshot, &job->asker, helper);
}

void kh_job_do(kh_helper *helper, void *opaque)
{
    kh_job *job = opaque;

    switch (job->kind) {
    case KH_JOB_START:
        kh_snapshot_take(&job->snapshot, &job->asker, helper);
        break;
    case KH_JOB_ASK:
        kh_snapshot_ask(&job->snapshot, &job->asker, helper);
        break;
    case KH_JOB_ASSIGNMENT:
        ask_where_to_begin(job, helper);
        break;
    case KH_JOB_DESCRIPTION:
        kh_description_ask(&job->description, &job->asker, helper);
        break;
    }
}

/* --- the answer ------------------------------------------------------------------------------- */

int64_t kh_job_low(const kh_snapshot *asked, const kh_place *place, kh_catchup_partition known)
{
    for (int i = 0; i < asked->partition_count; i++)
        if (asked->partitions[i].topic == place->topic &&
            asked->partitions[i].partition == place->partition && asked->partitions[i].error == 0)
            return asked->partitions[i].low;
    return known.has_target ? known.low : -1;
}
