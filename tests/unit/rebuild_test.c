/*
 * rebuild: every state that a lost database may have been in (docs/states.md, section "Rebuild"), with real spool files and a cloud made
 * of arrays: what is taken for imported, what is started, what is held; nothing twice, nothing lost. And: an empty database beside a full
 * spool is refused, a removed one takes no more writes, a rebuild that was cut off goes on.
 */
#include "common/runtime/runtime.h"
#include "control/rebuild/rebuild.h"
#include "tests/unit/array_cloud.h"
#include "tests/unit/stored_file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#define DAY 86400000LL

/* ---- the home ---------------------------------------------------------------------------------------------------------------- */

struct fixture {
    char home[64];
    struct state *state; /* for looking */
    char column[500];    /* what look() found */
    const char *wanted;
};

static void remove_tree(const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        (void)execlp("rm", "rm", "-rf", path, (char *)NULL);
        _exit(1);
    }
    (void)waitpid(child, NULL, 0);
}

static int set_up(void **out)
{
    struct fixture *f = calloc(1, sizeof *f);
    char path[128];
    memset(&aws, 0, sizeof aws);
    aws.fail_after = -1;
    (void)snprintf(f->home, sizeof f->home, "/tmp/rebuild_test.XXXXXX");
    if (!mkdtemp(f->home) || spool_prepare(f->home, NULL) != 0) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s/storescp.conf", f->home);
    FILE *file = fopen(path, "w");
    if (!file || fputs("dicom_bucket = in\ndatastore_id = 12345678901234567890123456789012\ns3_prefix = p\n", file) < 0 || fclose(file) != 0) {
        return -1;
    }
    *out = f;
    return 0;
}

static int tear_down(void **in)
{
    struct fixture *f = *in;
    state_close(&f->state);
    for (size_t i = 0; i < aws.object_count; i++) {
        bytes_clear(&aws.objects[i].content);
    }
    remove_tree(f->home);
    free(f);
    return 0;
}

/* An id of that time. */
static void make_id(int64_t ms, char out[27])
{
    static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
    id_new(out);
    for (int i = 9; i >= 0; i--, ms >>= 5) {
        out[i] = alphabet[ms & 31];
    }
}

static void file_path(const struct fixture *f, const char *room, const char *id, char path[200])
{
    (void)snprintf(path, 200, "%s/spool/%s/%s.dcm", f->home, room, id);
}

static bool has_file(const struct fixture *f, const char *room, const char *id)
{
    char path[200];
    file_path(f, room, id, path);
    return access(path, F_OK) == 0;
}

/* A spool file of a study, as the receiver makes it. */
static void receive(struct fixture *f, const char *study, int64_t received_ms, char id[27])
{
    struct spool_meta meta = {.sop_class_uid = "1.2.840.10008.5.1.4.1.1.2", .transfer_syntax_uid = "1.2.840.10008.1.2.1", .calling_ae = "CT1", .called_ae = "SCP"};
    struct spool_writer *w = NULL;
    struct bytes data = {0};
    struct err e = {0};
    make_id(received_ms, id);
    (void)snprintf(meta.id, sizeof meta.id, "%s", id);
    (void)snprintf(meta.sop_instance_uid, sizeof meta.sop_instance_uid, "%s.%u", study, random_u32());
    bytes_text(&data, 8, 0x16, "UI", meta.sop_class_uid);
    bytes_text(&data, 8, 0x18, "UI", meta.sop_instance_uid);
    bytes_text(&data, 8, 0x50, "SH", "ACC1");
    bytes_text(&data, 8, 0x60, "CS", "CT");
    bytes_text(&data, 0x20, 0xd, "UI", study);
    bytes_text(&data, 0x20, 0xe, "UI", "1.2.9");
    assert_int_equal(spool_begin(&w, f->home, &meta, &e), 0);
    assert_int_equal(spool_write(w, data.at, data.count, &e), 0);
    assert_int_equal(spool_finish(&w, received_ms, &meta, &e), 0);
    bytes_clear(&data);
}

/* The spool file lies under the batch's prefix too. */
static void upload(struct fixture *f, const char *batch, const char *id)
{
    char path[200];
    char chunk[4096];
    file_path(f, "obj", id, path);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(chunk, 1, sizeof chunk, file);
    (void)fclose(file);
    (void)snprintf(aws.objects[aws.object_count].key, sizeof aws.objects[0].key, "p/%s/%s.dcm", batch, id);
    bytes_add(&aws.objects[aws.object_count++].content, chunk, n);
}

static void set_job(struct cloud_job *job, const char *batch, const char *job_id, const char *status, int64_t submitted_ms)
{
    (void)snprintf(job->batch, sizeof job->batch, "%s", batch);
    (void)snprintf(job->job_id, sizeof job->job_id, "%s", job_id);
    (void)snprintf(job->status, sizeof job->status, "%s", status);
    job->submitted_ms = submitted_ms;
}

static void list_job(const char *batch, const char *job_id, const char *status, int64_t submitted_ms)
{
    set_job(&aws.listed[aws.listed_count++], batch, job_id, status, submitted_ms);
}

static void keep_results(const char *batch, const char *job_id, const char *text)
{
    struct cloud_job *job = &aws.folders[aws.folder_count];
    set_job(job, batch, job_id, "", 0);
    (void)snprintf(job->output_uri, sizeof job->output_uri, "s3://in/results/%s/x-DicomImport-%s/", batch, job_id);
    aws.texts[aws.folder_count++] = text;
}

static int run(struct fixture *f, bool spool_only)
{
    struct request q = {.home = f->home, .spool_only = spool_only};
    struct err e = {0};
    state_close(&f->state);
    q.config_is_bad = config_load(&q.config, f->home, &e) != 0;
    assert_false(q.config_is_bad);
    int code = command_rebuild(&q);
    config_free(&q.config);
    return code;
}

/* ---- looking ------------------------------------------------------------------------------------------------------------------ */

static int on_row(void *ctx, int columns, const char *const *names, const char *const *values)
{
    struct fixture *f = ctx;
    for (int i = 0; i < columns; i++) {
        if (strcmp(names[i], f->wanted) == 0) {
            (void)snprintf(f->column, sizeof f->column, "%s", values[i] ? values[i] : "-");
        }
    }
    return 0;
}

/* One column of one row of a report, "-" for null, "" if there is no row. */
static const char *look(struct fixture *f, const char *report, const char *id, const char *column)
{
    struct err e = {0};
    if (!f->state) {
        assert_int_equal(state_open_readonly(&f->state, f->home, &e), 0);
    }
    f->column[0] = '\0';
    f->wanted = column;
    assert_int_equal(state_report(f->state, report, id, 1, on_row, f, &e), 0);
    return f->column;
}

static void is_in(struct fixture *f, const char *id, const char *state, const char *batch)
{
    assert_string_equal(look(f, "instance", id, "state"), state);
    assert_string_equal(look(f, "instance", id, "batch"), batch ? batch : "-");
}

/* ---- tests ---------------------------------------------------------------------------------------------------------------------- */

static void every_state_finds_its_place(void **in)
{
    struct fixture *f = *in;
    int64_t now = clock_wall_ms();
    char received[27], uploaded[27], partly[27], running[27], done[27], retried[27], refused[27], foreign[27], kept[27], gone[27];
    char open_batch[27], running_batch[27], done_batch[27], first[27], second[27], old[27], lost[27], swept[27], later[27], earlier[27];
    char old_one[27], lost_one[27], back[27], damaged[27];
    static char results[300];
    char path[200];
    /* received; validated only; a batch of which one object is up */
    receive(f, "1.2.1", now - 5000, received);
    receive(f, "1.2.1", now - 5000, uploaded);
    receive(f, "1.2.1", now - 5000, partly);
    make_id(now - 4000, open_batch);
    upload(f, open_batch, uploaded);
    /* a running job */
    receive(f, "1.2.2", now - 9000, running);
    make_id(now - 8000, running_batch);
    upload(f, running_batch, running);
    list_job(running_batch, "jobrunning", "IN_PROGRESS", now - 7000);
    /* imported, spool released */
    receive(f, "1.2.3", now - 90000, done);
    make_id(now - 80000, done_batch);
    upload(f, done_batch, done);
    list_job(done_batch, "jobdone", "COMPLETED", now - 70000);
    assert_int_equal(spool_release(f->home, done, NULL), 0);
    /* retried: the first batch's job failed, the second was not started */
    receive(f, "1.2.4", now - 90000, retried);
    make_id(now - 80000, first);
    make_id(now - 60000, second);
    upload(f, first, retried);
    upload(f, second, retried);
    list_job(first, "jobfirst", "FAILED", now - 70000);
    /* retried while the clock went back: the younger job has the smaller batch id */
    receive(f, "1.2.5", now - 90000, back);
    make_id(now - 60000, earlier);
    make_id(now - 80000, later);
    upload(f, earlier, back);
    upload(f, later, back);
    list_job(earlier, "jobearlier", "FAILED", now - 50000);
    list_job(later, "joblater", "COMPLETED", now - 40000);
    /* older than the list of jobs: with results, and without */
    receive(f, "1.2.6", now - 200 * DAY, old_one);
    make_id(now - 200 * DAY, old);
    upload(f, old, old_one);
    keep_results(old, "jobold", "");
    receive(f, "1.2.7", now - 200 * DAY, lost_one);
    make_id(now - 200 * DAY, lost);
    upload(f, lost, lost_one);
    /* the object was deleted from S3, the results name it */
    receive(f, "1.2.8", now - 90000, kept);
    make_id(now - 80000, swept);
    list_job(swept, "jobswept", "COMPLETED", now - 70000);
    (void)snprintf(results, sizeof results, "{broken\n{\"inputFile\":\"p/%s/%s.dcm\",\"importResponse\":{\"isPrimary\":True}}\n", swept, kept);
    keep_results(swept, "jobswept", results);
    /* quarantined; damaged; no file of ours */
    receive(f, "1.2.9", now - 1000, refused);
    assert_int_equal(spool_quarantine(f->home, refused, NULL), 0);
    receive(f, "1.2.9", now - 1000, damaged);
    file_path(f, "obj", damaged, path);
    int fd = open(path, O_WRONLY);
    assert_true(fd != -1 && lseek(fd, -1, SEEK_END) > 0 && write(fd, "x", 1) == 1);
    (void)close(fd);
    id_new(foreign);
    (void)snprintf(aws.objects[aws.object_count].key, sizeof aws.objects[0].key, "p/%s/%s.dcm", open_batch, foreign);
    bytes_add(&aws.objects[aws.object_count++].content, "nonsense", 8);
    (void)snprintf(aws.objects[aws.object_count++].key, sizeof aws.objects[0].key, "p/readme.txt");
    make_id(now, gone);

    assert_int_equal(run(f, false), EXIT_PROBLEM); /* there is something to look at */
    is_in(f, received, "received", NULL);
    is_in(f, partly, "received", NULL);
    is_in(f, uploaded, "uploaded", open_batch);
    assert_string_equal(look(f, "batch", open_batch, "state"), "closed");
    assert_string_equal(look(f, "batch", open_batch, "instance_count"), "1");
    is_in(f, running, "importing", running_batch);
    assert_string_equal(look(f, "batch", running_batch, "state"), "running");
    assert_string_equal(look(f, "instance", running, "job_id"), "jobrunning");
    assert_string_equal(look(f, "instance", running, "released_ms"), "-");
    is_in(f, done, "importing", done_batch);
    assert_string_not_equal(look(f, "instance", done, "released_ms"), "-");
    assert_string_equal(look(f, "instance", done, "study_uid"), "1.2.3");
    assert_string_equal(look(f, "instance", done, "accession_number"), "ACC1");
    assert_string_equal(look(f, "instance", done, "calling_ae"), "CT1");
    assert_string_equal(look(f, "instance", done, "etag"), "etag");
    is_in(f, retried, "uploaded", second);
    assert_string_equal(look(f, "batch", first, "state"), "done");
    assert_string_equal(look(f, "batch", second, "state"), "closed");
    is_in(f, back, "importing", later);
    is_in(f, old_one, "importing", old);
    assert_string_equal(look(f, "batch", old, "state"), "reconciling");
    assert_non_null(strstr(look(f, "batch", old, "outputS3Uri"), "x-DicomImport-jobold/"));
    is_in(f, lost_one, "failed", lost);
    assert_string_equal(look(f, "instance", lost_one, "error_code"), "IMPORT_RESULT_UNKNOWN");
    is_in(f, kept, "importing", swept);
    is_in(f, refused, "received", NULL);
    assert_true(has_file(f, "obj", refused));
    is_in(f, damaged, "quarantined", NULL);
    assert_string_equal(look(f, "instance", damaged, "error_code"), "SPOOL_FILE_DAMAGED");
    assert_true(has_file(f, "quarantine", damaged));
    assert_string_equal(look(f, "instance", foreign, "state"), "");
    assert_string_equal(look(f, "instance", gone, "state"), "");
    /* the next one refuses: there is a database */
    assert_int_equal(run(f, false), EXIT_PROBLEM);
    is_in(f, retried, "uploaded", second);
}

/* A job of which neither objects nor results are left may have imported what came before it. */
static void what_a_silent_job_may_have_had_is_held(void **in)
{
    struct fixture *f = *in;
    int64_t now = clock_wall_ms();
    char before[27], after[27], batch[27];
    receive(f, "1.2.1", now - 90000, before);
    receive(f, "1.2.1", now - 1000, after);
    make_id(now - 80000, batch);
    list_job(batch, "jobsilent", "COMPLETED", now - 70000);
    assert_int_equal(run(f, false), EXIT_PROBLEM);
    is_in(f, before, "received", NULL);
    assert_string_equal(look(f, "instance", before, "held"), "1");
    assert_non_null(strstr(look(f, "instance", before, "error_text"), "jobsilent"));
    is_in(f, after, "received", NULL);
    assert_string_equal(look(f, "instance", after, "held"), "0");
}

/* The story: retried into a second batch and imported there; then the second object was deleted from S3, the first one was not. By the
 * objects alone it stood under the first job, whose results send it into a third. */
static void a_deleted_object_is_found_in_the_younger_results(void **in)
{
    struct fixture *f = *in;
    int64_t now = clock_wall_ms();
    char id[27], first[27], second[27];
    static char results[2][200];
    receive(f, "1.2.1", now - 90000, id);
    make_id(now - 80000, first);
    make_id(now - 60000, second);
    upload(f, first, id);
    list_job(first, "jobfirst", "COMPLETED", now - 70000);
    list_job(second, "jobsecond", "COMPLETED", now - 50000);
    (void)snprintf(results[0], sizeof results[0], "{\"inputFile\":\"p/%s/%s.dcm\",\"exception\":{}}\n", first, id);
    (void)snprintf(results[1], sizeof results[1], "{\"inputFile\":\"p/%s/%s.dcm\",\"importResponse\":{}}\n", second, id);
    keep_results(first, "jobfirst", results[0]);
    keep_results(second, "jobsecond", results[1]);
    assert_int_equal(run(f, false), EXIT_FINE);
    is_in(f, id, "importing", second);
    assert_string_equal(look(f, "instance", id, "job_id"), "jobsecond");
    assert_string_equal(look(f, "batch", second, "state"), "running");
    assert_string_equal(look(f, "batch", second, "study_uid"), "1.2.1");
    assert_string_equal(look(f, "batch", first, "state"), "done");
}

static void one_that_was_cut_off_goes_on(void **in)
{
    struct fixture *f = *in;
    int64_t now = clock_wall_ms();
    char ids[3][27], batch[27];
    struct state *s = NULL;
    struct err e = {0};
    make_id(now - 2000, batch);
    for (size_t i = 0; i < 3; i++) {
        receive(f, "1.2.1", now - 3000, ids[i]);
        upload(f, batch, ids[i]);
    }
    aws.fail_after = 2;
    assert_int_equal(run(f, false), EXIT_PROBLEM);
    assert_true(rebuild_is_unfinished(f->home));
    assert_int_equal(state_open(&s, f->home, &e), ERR_SCHEMA); /* no stage may work on the half of it */
    assert_non_null(strstr(e.text, "rebuild"));
    aws.fail_after = -1;
    assert_int_equal(run(f, false), EXIT_FINE);
    assert_false(rebuild_is_unfinished(f->home));
    for (size_t i = 0; i < 3; i++) {
        is_in(f, ids[i], "uploaded", batch);
    }
    state_close(&f->state);
    assert_int_equal(state_open(&s, f->home, &e), 0);
    state_close(&s);
}

/* Two batches that were never started hold one instance: both would import it. A person is told which object to delete. */
static void an_instance_in_two_unstarted_batches_is_said(void **in)
{
    struct fixture *f = *in;
    int64_t now = clock_wall_ms();
    char id[27], first[27], second[27];
    receive(f, "1.2.1", now - 3000, id);
    make_id(now - 2000, first);
    make_id(now - 1000, second);
    upload(f, first, id);
    upload(f, second, id);
    assert_int_equal(run(f, false), EXIT_PROBLEM);
    assert_string_equal(look(f, "instance", id, "state"), "uploaded");
    const char *batch = look(f, "instance", id, "batch"); /* the object of the other one is to be deleted */
    assert_true(strcmp(batch, first) == 0 || strcmp(batch, second) == 0);
}

/* Two small studies had one batch and one job: it is no study's batch afterwards, either. */
static void a_shared_batch_is_shared_again(void **in)
{
    struct fixture *f = *in;
    int64_t now = clock_wall_ms();
    char shared[27], own[27], first[27], second[27], third[27];
    make_id(now - 9000, shared);
    make_id(now - 8000, own);
    receive(f, "1.2.1", now - 9000, first);
    receive(f, "1.2.2", now - 9000, second);
    receive(f, "1.2.3", now - 8000, third);
    upload(f, shared, first);
    upload(f, shared, second);
    upload(f, own, third);
    list_job(shared, "jobS", "IN_PROGRESS", now - 5000);
    assert_int_equal(run(f, false), EXIT_FINE);
    is_in(f, first, "importing", shared);
    is_in(f, second, "importing", shared);
    assert_string_equal(look(f, "batch", shared, "study_uid"), "-");
    assert_string_equal(look(f, "batch", shared, "studies"), "2");
    assert_string_equal(look(f, "batch", own, "study_uid"), "1.2.3");
}

/* The story: state.db lay on a volume that was not mounted; the pipeline began a new one and sent the whole spool a second time. */
static void an_empty_database_beside_a_full_spool_is_refused(void **in)
{
    struct fixture *f = *in;
    struct state *s = NULL;
    struct err e = {0};
    char id[27];
    char path[200];
    assert_int_equal(state_open(&s, f->home, &e), 0); /* a new home */
    receive(f, "1.2.1", clock_wall_ms(), id);
    struct state_received r = {.sop_class_uid = "1", .sop_instance_uid = "2", .transfer_syntax_uid = "3"};
    (void)snprintf(r.id, sizeof r.id, "%s", id);
    (void)snprintf(path, sizeof path, "%s/state/state.db", f->home);
    assert_int_equal(unlink(path), 0);
    /* who has the removed one open promises nothing any more */
    assert_int_equal(state_add_received(s, &r, 1, &e), ERR_DATABASE);
    assert_non_null(strstr(e.text, "removed"));
    state_close(&s);
    assert_int_equal(state_open(&s, f->home, &e), ERR_SCHEMA);
    assert_int_not_equal(access(path, F_OK), 0);
    /* settings that are missing in this shell do not make a rebuild forget the cloud */
    (void)snprintf(path, sizeof path, "%s/storescp.conf", f->home);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(run(f, false), EXIT_PROBLEM);
    assert_int_equal(aws.opened, 0);
    assert_false(rebuild_is_unfinished(f->home));
    assert_int_equal(run(f, true), EXIT_FINE);
    is_in(f, id, "received", NULL);
}

/* Each bucket is read once, a batch belongs to the data store that knows its job, else to where its sender's images go, else to whose bucket it lies in. */
static void several_destinations_find_theirs(void **in)
{
    struct fixture *f = *in;
    int64_t now = clock_wall_ms();
    char here[27], known[27], routed[27], elsewhere[27];
    char here_batch[27], known_batch[27], routed_batch[27], elsewhere_batch[27];
    char path[128];
    static const char other_store[] = "abcdefabcdefabcdefabcdefabcdef12";
    (void)snprintf(path, sizeof path, "%s/storescp.conf", f->home);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    assert_true(fprintf(file,
                        "[destination known]\ndatastore_id = %s\nfor_calling_ae = XA*\n[destination elsewhere]\ndicom_bucket = other\nfor_calling_ae = MR*\n"
                        "[destination routed]\nfor_modality = CT\nfor_called_ae = SCP\n[destination archive]\ndestination_kind = s3\ndicom_bucket = cold\n",
                        other_store) > 0);
    assert_int_equal(fclose(file), 0);
    receive(f, "1.2.1", now - 9000, here);
    make_id(now - 8000, here_batch);
    upload(f, here_batch, here);
    list_job(here_batch, "jobhere", "COMPLETED", now - 7000);
    receive(f, "1.2.2", now - 9000, known);
    make_id(now - 8000, known_batch);
    upload(f, known_batch, known);
    list_job(known_batch, "jobknown", "COMPLETED", now - 7000);
    aws.stores[1] = other_store;
    receive(f, "1.2.3", now - 9000, routed);
    make_id(now - 8000, routed_batch);
    upload(f, routed_batch, routed);
    receive(f, "1.2.4", now - 9000, elsewhere);
    make_id(now - 8000, elsewhere_batch);
    upload(f, elsewhere_batch, elsewhere);
    (void)snprintf(aws.objects[aws.object_count - 1].bucket, sizeof aws.objects[0].bucket, "other");
    assert_int_equal(run(f, false), EXIT_FINE);
    assert_string_equal(look(f, "instance", here, "destination"), "default");
    assert_string_equal(look(f, "instance", known, "destination"), "known");
    assert_string_equal(look(f, "batch", known_batch, "destination"), "known");
    assert_string_equal(look(f, "instance", routed, "destination"), "routed");
    assert_string_equal(look(f, "instance", elsewhere, "destination"), "elsewhere");
    assert_string_equal(look(f, "batch", elsewhere_batch, "state"), "closed");
    assert_string_equal(look(f, "batch", here_batch, "state"), "running");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_state_finds_its_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_silent_job_may_have_had_is_held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_deleted_object_is_found_in_the_younger_results, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_was_cut_off_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_instance_in_two_unstarted_batches_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_shared_batch_is_shared_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_database_beside_a_full_spool_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(several_destinations_find_theirs, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
