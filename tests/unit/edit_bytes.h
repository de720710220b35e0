/* edit_bytes - for tests of the element editor: a whole file in memory through a plan. */
#ifndef STORESCP_TESTS_EDIT_BYTES_H
#define STORESCP_TESTS_EDIT_BYTES_H

#include "common/dicom/edit.h"
#include "common/dicom/scan.h"
#include "tests/unit/stored_file.h"

static const unsigned char key[EDIT_KEY_BYTES] = "thirty-two bytes of a test's key";

static inline int collect(void *ctx, const void *bytes, size_t count, struct err *e)
{
    (void)e;
    bytes_add(ctx, bytes, count);
    return 0;
}

/* Applies rules to a whole file; *out is the whole new file with the old meta information. changes may be NULL. */
static inline int edit_bytes(const struct bytes *file, const char *rules, bool deidentify, struct bytes *out, struct edited *report, struct err *e)
{
    struct edit_plan *plan = NULL;
    struct edited edited;
    struct dicom_scan scan;
    memset(e, 0, sizeof *e);
    assert_int_equal(edit_plan_new(&plan, e), 0);
    edit_plan_key(plan, key);
    int rc = edit_plan_add(plan, rules, "test", e);
    rc = rc == 0 && deidentify ? edit_plan_deidentify(plan, e) : rc;
    if (rc != 0) {
        edit_plan_free(&plan);
        return rc;
    }
    int fd = bytes_fd(file);
    rc = edit_apply(fd, plan, &edited, e);
    if (rc == 0) {
        assert_int_equal(dicom_scan_fd(fd, &scan, e), 0);
        bytes_add(out, file->at, (size_t)scan.data_offset);
        assert_int_equal(edit_write(&edited, fd, collect, out, e), 0);
        assert_int_equal((int64_t)out->count - scan.data_offset, edited.bytes);
    }
    (void)close(fd);
    edit_plan_free(&plan);
    if (report && rc == 0) {
        *report = edited;
    } else {
        edit_clear(&edited);
    }
    return rc;
}

static inline void edit_ok(const struct bytes *file, const char *rules, struct bytes *out, struct edited *report)
{
    struct err e;
    int rc = edit_bytes(file, rules, false, out, report, &e);
    if (rc != 0) {
        print_message("%s: %s %s\n", rules, err_name(rc), e.text);
    }
    assert_int_equal(rc, 0);
}

#endif
