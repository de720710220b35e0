/* jobs - see jobs.h. */
#include "compose/local-aws/jobs.h"

#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "compose/local-aws/image_sets.h"
#include "compose/local-aws/job_run.h"
#include "compose/local-aws/sqs.h"
#include "compose/local-aws/text.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TICK_MS = 10 };

struct jobs {
    struct standin *app;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool running, stop;
    json_t *all;    /* in the order of their submission */
    json_t *by_id;  /* the same objects */
    json_t *tokens; /* client token -> the same objects */
    json_t *active; /* those that have not ended */
};

static const char *text_of(json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

/* ---- disk --------------------------------------------------------------------------------------------------------------------- */

static int save(struct jobs *j, json_t *job, struct err *e)
{
    char path[STORE_PATH];
    (void)snprintf(path, sizeof path, "%s/jobs/%013lld-%s.json", store_data(j->app->store),
                   (long long)json_integer_value(json_object_get(job, "submitted_ms")), text_of(job, "jobId"));
    return store_save_json(j->app->store, job, path, e);
}

/* Takes the reference. */
static void remember(struct jobs *j, json_t *job)
{
    (void)json_array_append(j->all, job);
    (void)json_object_set(j->by_id, text_of(job, "jobId"), job);
    (void)json_object_set(j->tokens, text_of(job, "clientToken"), job);
    if (strcmp(text_of(job, "jobStatus"), "COMPLETED") != 0 && strcmp(text_of(job, "jobStatus"), "FAILED") != 0) {
        (void)json_array_append(j->active, job);
    }
    json_decref(job);
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int load(struct jobs *j, struct err *e)
{
    char path[STORE_PATH];
    struct dirent **names = NULL;
    int rc = 0;
    (void)snprintf(path, sizeof path, "%s/jobs", store_data(j->app->store));
    int count = scandir(path, &names, NULL, compare_names);
    if (count < 0) {
        return err_set(e, err_from_errno(errno), errno, "cannot read %s", path);
    }
    for (int i = 0; i < count; i++) {
        if (names[i]->d_name[0] != '.' && rc == 0) {
            (void)snprintf(path, sizeof path, "%s/jobs/%s", store_data(j->app->store), names[i]->d_name);
            json_t *job = json_load_file(path, 0, NULL);
            if (job) {
                remember(j, job);
            } else {
                rc = err_set(e, ERR_PROTOCOL, 0, "%s is no job: remove it", path);
            }
        }
        free(names[i]);
    }
    free(names);
    return rc;
}

int jobs_open(struct jobs **out, struct standin *app, struct err *e)
{
    struct jobs *j = calloc(1, sizeof *j);
    if (!j) {
        return err_set(e, ERR_MEMORY, 0, "no memory for the jobs");
    }
    j->app = app;
    (void)pthread_mutex_init(&j->lock, NULL);
    (void)pthread_cond_init(&j->changed, NULL);
    j->all = json_array();
    j->by_id = json_object();
    j->tokens = json_object();
    j->active = json_array();
    int rc = load(j, e);
    if (rc != 0) {
        jobs_close(j);
        return rc;
    }
    *out = j;
    return 0;
}

void jobs_close(struct jobs *j)
{
    if (!j) {
        return;
    }
    if (j->running) {
        (void)pthread_mutex_lock(&j->lock);
        j->stop = true;
        (void)pthread_cond_signal(&j->changed);
        (void)pthread_mutex_unlock(&j->lock);
        (void)pthread_join(j->thread, NULL);
    }
    json_decref(j->all);
    json_decref(j->by_id);
    json_decref(j->tokens);
    json_decref(j->active);
    (void)pthread_cond_destroy(&j->changed);
    (void)pthread_mutex_destroy(&j->lock);
    free(j);
}

/* ---- the thread; the lock is held unless a function says otherwise -------------------------------------------------------------- */

static void set_status(struct jobs *j, json_t *job, const char *status, const char *message, int64_t ended_ms)
{
    struct err e = {0};
    (void)json_object_set_new(job, "jobStatus", json_string(status));
    if (message[0]) {
        (void)json_object_set_new(job, "message", json_string(message));
    }
    if (ended_ms > 0) {
        (void)json_object_set_new(job, "ended_ms", json_integer((json_int_t)ended_ms));
    }
    if (save(j, job, &e) != 0) {
        char text[700];
        log_error("job_not_saved", "job=%s detail=%s", text_of(job, "jobId"), log_text(e.text, text, sizeof text));
    }
    log_info("job", "job=%s status=%s", text_of(job, "jobId"), status);
    sqs_tell_of_job(j->app, job);
}

static void end_job(struct jobs *j, json_t *job, json_t *outcome)
{
    size_t place;
    json_t *other;
    set_status(j, job, text_of(outcome, "status"), text_of(outcome, "message"), json_integer_value(json_object_get(outcome, "ended_ms")));
    json_array_foreach(j->active, place, other) {
        if (other == job) {
            (void)json_array_remove(j->active, place);
            return;
        }
    }
}

/* Moves statuses on; -> a job whose time has come (borrowed), or NULL. */
static json_t *next_due(struct jobs *j, int64_t now_ms)
{
    size_t place;
    json_t *job;
    json_array_foreach(j->active, place, job) {
        int64_t age_ms = now_ms - json_integer_value(json_object_get(job, "submitted_ms"));
        if (age_ms >= j->app->options.job_ms / 4 && strcmp(text_of(job, "jobStatus"), "SUBMITTED") == 0) {
            set_status(j, job, "IN_PROGRESS", "", 0);
        }
        if (age_ms >= j->app->options.job_ms) {
            return job;
        }
    }
    return NULL;
}

static void *run(void *arg)
{
    struct jobs *j = arg;
    (void)pthread_mutex_lock(&j->lock);
    while (!j->stop) {
        json_t *job = next_due(j, clock_wall_ms());
        if (job) {
            json_t *copy = json_deep_copy(job);
            (void)pthread_mutex_unlock(&j->lock);
            json_t *outcome = image_sets_outcome(j->app->image_sets, text_of(copy, "jobId"));
            outcome = outcome ? outcome : job_run(j->app, copy);
            json_decref(copy);
            (void)pthread_mutex_lock(&j->lock);
            if (outcome) {
                end_job(j, job, outcome);
                json_decref(outcome);
                continue;
            }
        }
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        int64_t wait_ms = json_array_size(j->active) > 0 ? TICK_MS : 500;
        until.tv_nsec += (long)(wait_ms * 1000000);
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&j->changed, &j->lock, &until);
    }
    (void)pthread_mutex_unlock(&j->lock);
    return NULL;
}

int jobs_begin(struct jobs *j, struct err *e)
{
    int rc = pthread_create(&j->thread, NULL, run, j);
    j->running = rc == 0;
    return rc == 0 ? 0 : err_set(e, ERR_MEMORY, rc, "cannot start the thread of the jobs");
}

/* ---- from outside ------------------------------------------------------------------------------------------------------------------ */

/* What is told of a job; inner members stay inside. */
static json_t *told(json_t *job)
{
    json_t *copy = json_deep_copy(job);
    json_t *ended = json_object_get(job, "ended_ms");
    (void)json_object_del(copy, "clientToken");
    (void)json_object_del(copy, "body_hash");
    (void)json_object_del(copy, "submitted_ms");
    (void)json_object_del(copy, "ended_ms");
    (void)json_object_set_new(copy, "submittedAt", json_real((double)json_integer_value(json_object_get(job, "submitted_ms")) / 1000));
    if (ended) {
        (void)json_object_set_new(copy, "endedAt", json_real((double)json_integer_value(ended) / 1000));
    }
    return copy;
}

static json_t *make_job(json_t *request, const char *body_hash)
{
    char id[33];
    char output[2200];
    const char *uri = text_of(request, "outputS3Uri");
    json_t *job = json_deep_copy(request);
    text_random_hex(16, id);
    (void)snprintf(output, sizeof output, "%s%s%s-DicomImport-%s/", uri, uri[0] && uri[strlen(uri) - 1] == '/' ? "" : "/",
                   text_of(request, "datastoreId"), id);
    (void)json_object_set_new(job, "outputS3Uri", json_string(output));
    (void)json_object_set_new(job, "jobId", json_string(id));
    (void)json_object_set_new(job, "jobStatus", json_string("SUBMITTED"));
    (void)json_object_set_new(job, "submitted_ms", json_integer((json_int_t)clock_wall_ms()));
    (void)json_object_set_new(job, "body_hash", json_string(body_hash));
    return job;
}

int jobs_start(struct jobs *j, json_t *request, const char *body_hash, json_t **job, struct err *e)
{
    int rc = 0;
    (void)pthread_mutex_lock(&j->lock);
    json_t *found = json_object_get(j->tokens, text_of(request, "clientToken"));
    if (found && strcmp(text_of(found, "body_hash"), body_hash) != 0) {
        rc = err_set(e, ERR_AWS_CONFLICT, 0, "the client token was used with another request");
    } else if (!found && (int)json_array_size(j->active) >= j->app->options.jobs_max) {
        rc = err_set(e, ERR_AWS_QUOTA, 0, "%d import jobs are under way", j->app->options.jobs_max);
    } else if (!found) {
        found = make_job(request, body_hash);
        rc = found ? save(j, found, e) : err_set(e, ERR_MEMORY, 0, "no memory for a job");
        if (rc == 0) {
            remember(j, found);
            sqs_tell_of_job(j->app, found);
            (void)pthread_cond_signal(&j->changed);
        } else {
            json_decref(found);
        }
    }
    if (rc == 0) {
        *job = told(found);
    }
    (void)pthread_mutex_unlock(&j->lock);
    return rc;
}

json_t *jobs_get(struct jobs *j, const char *datastore, const char *id)
{
    (void)pthread_mutex_lock(&j->lock);
    json_t *job = json_object_get(j->by_id, id);
    json_t *copy = job && strcmp(text_of(job, "datastoreId"), datastore) == 0 ? told(job) : NULL;
    (void)pthread_mutex_unlock(&j->lock);
    return copy;
}

json_t *jobs_list(struct jobs *j, const char *datastore, const char *status, const char *after, int max, bool *more)
{
    json_t *list = json_array();
    bool begun = after[0] == '\0';
    *more = false;
    (void)pthread_mutex_lock(&j->lock);
    for (size_t i = json_array_size(j->all); i > 0 && !*more; i--) {
        json_t *job = json_array_get(j->all, i - 1);
        bool wanted = begun && strcmp(text_of(job, "datastoreId"), datastore) == 0 &&
                      (!status[0] || strcmp(text_of(job, "jobStatus"), status) == 0);
        if (wanted && (int)json_array_size(list) == max) {
            *more = true;
        } else if (wanted) {
            (void)json_array_append_new(list, told(job));
        }
        begun = begun || strcmp(text_of(job, "jobId"), after) == 0;
    }
    (void)pthread_mutex_unlock(&j->lock);
    return list;
}
