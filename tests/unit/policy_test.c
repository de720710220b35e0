/*
 * policy: whom and what the receiver accepts, in tables. Guards a bug: AE titles with an inner space could not be listed, and a title with
 * spaces in front of it was another one.
 */
#include "receiver/association/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define CT "1.2.840.10008.5.1.4.1.1.2"
#define MR "1.2.840.10008.5.1.4.1.1.4"
#define TS "1.2.840.10008.1.2"

static struct config *load(const char *text)
{
    char home[] = "/tmp/policy_test.XXXXXX";
    char path[64];
    struct config *c = NULL;
    struct err e = {0};
    assert_non_null(mkdtemp(home));
    (void)snprintf(path, sizeof path, "%s/storescp.conf", home);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    if (config_load(&c, home, &e) != 0) {
        fail_msg("%s", e.text);
    }
    (void)unlink(path);
    (void)rmdir(home);
    return c;
}

static void titles(void **state)
{
    static const struct {
        const char *settings, *calling, *called;
        int answer;
    } rows[] = {
        {"", "ANY", "ANY", 0},
        {"", "", "", 0},
        {"require_called_ae_title = true\n", "ANY", "STORESCP", 0},
        {"require_called_ae_title = true\n", "ANY", "  STORESCP  ", 0},
        {"require_called_ae_title = true\n", "ANY", "STORESC", 0x107},
        {"require_called_ae_title = true\n", "ANY", "STORESCP2", 0x107},
        {"require_called_ae_title = true\n", "ANY", "storescp", 0x107},
        {"require_called_ae_title = true\n", "ANY", "", 0x107},
        {"require_called_ae_title = true\nae_title = ONE, TWO TWO ,THREE\n", "ANY", "TWO TWO", 0},
        {"require_called_ae_title = true\nae_title = ONE, TWO TWO ,THREE\n", "ANY", "TWO", 0x107},
        {"require_called_ae_title = true\nae_title = ONE, TWO TWO ,THREE\n", "ANY", "THREE", 0},
        {"require_called_ae_title = true\nae_title = ONE, TWO TWO ,THREE\n", "ANY", "ONE", 0},
        {"require_calling_ae_title = CT1, MR ROOM 2, US*, ?X\n", "MR ROOM 2", "ANY", 0},
        {"require_calling_ae_title = CT1, MR ROOM 2, US*, ?X\n", "ROOM", "ANY", 0x103},
        {"require_calling_ae_title = CT1, MR ROOM 2, US*, ?X\n", " CT1", "ANY", 0},
        {"require_calling_ae_title = CT1, MR ROOM 2, US*, ?X\n", "\tCT1", "ANY", 0x103}, /* its section would not be found */
        {"require_calling_ae_title = CT1, MR ROOM 2, US*, ?X\n", "US", "ANY", 0},
        {"require_calling_ae_title = CT1, MR ROOM 2, US*, ?X\n", "USONE", "ANY", 0},
        {"require_calling_ae_title = CT1, MR ROOM 2, US*, ?X\n", "DX", "ANY", 0},
        {"require_calling_ae_title = CT1, MR ROOM 2, US*, ?X\n", "X", "ANY", 0x103},
        {"require_calling_ae_title = CT1, MR ROOM 2, US*, ?X\n", "", "ANY", 0x103},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct policy_refusal why = {"", ""};
        struct config *c = load(rows[i].settings);
        assert_int_equal(policy_check(c, NULL), 0);
        if (policy_request(c, rows[i].calling, rows[i].called, &why) != rows[i].answer) {
            fail_msg("row %zu", i);
        }
        assert_int_equal(rows[i].answer != 0, why.reason[0] != '\0' && why.remedy[0] != '\0');
        config_free(&c);
    }
}

static int ask(const struct config *c, const char *ae, const char *sop_class, bool only_as_scp, const char *const *syntaxes, int count)
{
    struct policy_refusal why = {"", ""};
    struct scp_context context = {1, sop_class, syntaxes, count, only_as_scp};
    int chosen = policy_negotiate(c, config_for_ae(c, ae), &context, &why);
    assert_int_equal(chosen < 0, why.reason[0] != '\0' && why.remedy[0] != '\0');
    return chosen;
}

static void sop_classes(void **state)
{
    static const struct {
        const char *settings, *sop_class;
        bool accepted;
    } rows[] = {
        {"", "1.2.840.10008.1.1", true},
        {"", CT, true},
        {"", "1.2.840.10008.5.1.4.1.1.12.77", true},    /* retired */
        {"", "1.2.840.10008.5.1.4.34.7", true},         /* storage, though its neighbours are not */
        {"", "1.2.840.10008.5.1.1.30", true},           /* hardcopy */
        {"", "1.3.12.2.1107.5.9.1", true},              /* private */
        {"", "1.2.840.10008.5.1.4.1.2.1.1", false},     /* query */
        {"", "1.2.840.10008.5.1.4.31", false},          /* worklist */
        {"", "1.2.840.10008.5.1.4.34.6.1", false},      /* procedure step */
        {"", "1.2.840.10008.5.1.4.38.1", false},        /* hanging protocols belong to no patient */
        {"", "1.2.840.10008.5.1.1.9", false},           /* print */
        {"", "1.2.840.10008.3.1.2.3.3", false},         /* MPPS */
        {"", "", false},
        {"", "CTImageStorage", false},
        {"", "1..2", false},
        {"", "1.2.3.1234567890123456789012345678901234567890123456789012345678901", false},
        {"supported_sop_class_uids = " CT "\n", "1.2.840.10008.1.1", true},
        {"supported_sop_class_uids = " CT "\n", CT, true},
        {"supported_sop_class_uids = " CT "\n", CT ".1", false},
        {"supported_sop_class_uids = " CT "\n", MR, false},
        {"supported_sop_class_uids = 1.2.3, CTImageStorage ,MRImageStorage\n", CT, true},
        {"supported_sop_class_uids = 1.2.3, CTImageStorage ,MRImageStorage\n", MR, true},
        {"supported_sop_class_uids = 1.2.3, CTImageStorage ,MRImageStorage\n", "1.2.840.10008.5.1.4.1.1.2.1", false},
        {"supported_sop_class_uids = 1.2.840.10008.5.1.4.1.1.2*\n", "1.2.840.10008.5.1.4.1.1.2.1", true},
        {"supported_sop_class_uids = standard\n", CT, true},
        {"supported_sop_class_uids = standard\n", "1.3.12.2.1107.5.9.1", false},
        {"supported_sop_class_uids = Private\n", CT, false},
        {"supported_sop_class_uids = Private\n", "1.3.12.2.1107.5.9.1", true},
        {"supported_sop_class_uids = standard\n", "1.2.840.10008.5.1.4.1.2.1.1", false},
        {"supported_sop_class_uids = *\n", "1.2.840.10008.5.1.4.1.2.1.1", false},
        {"supported_sop_class_uids = UltrasoundImageStorage\n", "1.2.840.10008.5.1.4.1.1.6", false},
        {"supported_sop_class_uids = RETIRED_UltrasoundImageStorage\n", "1.2.840.10008.5.1.4.1.1.6", true},
        {"supported_sop_class_uids = UltrasoundImageStorageRetired\n", "1.2.840.10008.5.1.4.1.1.6", true},
        {"supported_sop_class_uids = UltrasoundImageStorageRetired\n", "1.2.840.10008.5.1.4.1.1.6.1", false},
        {"refused_sop_classes = private\n", CT, true},
        {"refused_sop_classes = private\n", "1.3.12.2.1107.5.9.1", false},
        {"refused_sop_classes = CTImageStorage, 1.3.*\n", CT, false},
        {"refused_sop_classes = CTImageStorage, 1.3.*\n", "1.3.12.2.1107.5.9.1", false},
        {"refused_sop_classes = *\n", "1.2.840.10008.1.1", true},
        {"supported_sop_class_uids = standard\nrefused_sop_classes = CTImageStorage\n", CT, false},
        {"supported_sop_class_uids = standard\nrefused_sop_classes = CTImageStorage\n", MR, true},
        {"supported_sop_class_uids = " CT "\n[ae PEER]\nsupported_sop_class_uids = " MR "\n", MR, true},
        {"supported_sop_class_uids = " CT "\n[ae PEER]\nsupported_sop_class_uids = " MR "\n", CT, false},
        {"supported_sop_class_uids = " CT "\n[ae P*]\nsupported_sop_class_uids =\n", MR, true},
        {"refused_sop_classes = private\n[ae PEER]\nrefused_sop_classes =\n", "1.3.12.2.1107.5.9.1", true},
        {"[ae OTHER]\nrefused_sop_classes = standard\n", CT, true},
    };
    static const char *const syntaxes[] = {TS};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config *c = load(rows[i].settings);
        struct err e = {0};
        if (policy_check(c, &e) != 0) {
            fail_msg("row %zu: %s", i, e.text);
        }
        if (ask(c, "PEER", rows[i].sop_class, false, syntaxes, 1) != (rows[i].accepted ? 0 : SCP_REFUSE_ABSTRACT_SYNTAX)) {
            fail_msg("row %zu", i);
        }
        config_free(&c);
    }
}

/* Proposed in this order: JPEG baseline, Explicit VR, JPEG lossless, JPIP (not imported), one that nobody knows, H.264. */
static void transfer_syntaxes(void **state)
{
    static const char *const offered[] = {TS ".4.50", TS ".1", TS ".4.70", TS ".4.94", "1.2.3.4", TS ".4.102"};
    static const struct {
        const char *list;
        int first, chosen; /* of those from `first` on */
    } rows[] = {
        {"as-proposed", 0, 0},          {"as-proposed", 2, 2},
        {"as-proposed", 3, 5},          {"as-proposed", 4, 5},
        {"uncompressed", 0, 1},         {"uncompressed", 2, SCP_REFUSE_TRANSFER_SYNTAXES},
        {"lossless, lossy", 0, 2},      {"lossy, lossless", 0, 0},
        {"lossless, lossy", 3, SCP_REFUSE_TRANSFER_SYNTAXES},
        {"video", 0, 5},                {"VIDEO, uncompressed", 0, 5},
        {"JPEGLosslessSV1", 0, 2},      {"jpeglosslesssv1, ExplicitVRLittleEndian", 0, 2},
        {TS ".1, " TS ".4.50", 0, 1},   {TS ".4.*", 0, 0},
        {TS ".4.*", 4, 5},              {"RLELossless, as-proposed", 0, 0},
        {"RLELossless, *", 4, 4},       {"importable", 3, 5},
        {"1.2.3.4", 0, 4},              {TS ".4.5", 0, SCP_REFUSE_TRANSFER_SYNTAXES},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[200];
        (void)snprintf(text, sizeof text, "[ae PEER]\ntransfer_syntaxes = %s\n", rows[i].list);
        struct config *c = load(text);
        assert_int_equal(policy_check(c, NULL), 0);
        int chosen = ask(c, "PEER", CT, false, offered + rows[i].first, 6 - rows[i].first);
        if (chosen != (rows[i].chosen < 0 ? rows[i].chosen : rows[i].chosen - rows[i].first)) {
            fail_msg("row %zu: %d", i, chosen);
        }
        assert_int_equal(ask(c, "OTHER", CT, false, offered, 6), 0);
        assert_int_equal(ask(c, "PEER", "1.2.840.10008.1.1", false, offered, 6), 0); /* an echo has no data set */
        config_free(&c);
    }
    struct config *c = load("");
    static const char *const strange[] = {"", "Implicit", "1.2.3.4", "1.2.3.5"};
    assert_int_equal(ask(c, "PEER", CT, false, strange, 4), 2); /* kept as a blob, rather than refused */
    assert_int_equal(ask(c, "PEER", CT, false, strange, 2), SCP_REFUSE_TRANSFER_SYNTAXES);
    assert_int_equal(ask(c, "PEER", CT, false, strange, 0), SCP_REFUSE_TRANSFER_SYNTAXES);
    assert_int_equal(ask(c, "PEER", CT, true, offered, 6), SCP_REFUSE_USER);
    config_free(&c);
}

static void wrong_words(void **state)
{
    static const struct {
        const char *settings, *says[3];
    } rows[] = {
        {"supported_sop_class_uids = CTImageStorage, CTImagStorage\n", {"supported_sop_class_uids", "line 1", "\"CTImagStorage\""}},
        {"refused_sop_classes = everything\n", {"refused_sop_classes", "line 1", "everything"}},
        {"transfer_syntaxes = JPEG\n", {"transfer_syntaxes", "line 1", "\"JPEG\""}},
        {"transfer_syntaxes = ,\n", {"transfer_syntaxes", "line 1", "empty"}},
        {"ae_title = A, SEVENTEEN_LETTERS\n", {"ae_title", "line 1", "SEVENTEEN_LETTERS"}},
        {"ae_title = ,\n", {"ae_title", "line 1", "empty"}},
        {"require_calling_ae_title = A*, SEVENTEEN_LETTER*S\n", {"require_calling_ae_title", "line 1", "SEVENTEEN_LETTER*S"}},
        {"[ae A]\ntransfer_syntaxes = lossles\n", {"transfer_syntaxes", "line 2", "lossles"}},
        {"allowed_users = anna\n", {"allowed_users", "line 1", "require_user_identity is off"}},
        {"require_user_identity = passcode\nallowed_users = anna\n[ae A]\nrequire_user_identity = off\n",
         {"allowed_users", "line 2", "require_user_identity is off"}},
        {"[ae A]\nallowed_users = anna\n", {"allowed_users", "line 2", "require_user_identity is off"}},
        {"[ae A]\nrefused_sop_classes =\n[ae B]\nrefused_sop_classes = x\n", {"refused_sop_classes", "line 4", "\"x\""}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config *c = load(rows[i].settings);
        struct err e = {0};
        assert_int_equal(policy_check(c, &e), ERR_CONFIG);
        for (size_t k = 0; k < 3; k++) {
            if (!strstr(e.text, rows[i].says[k])) {
                fail_msg("row %zu: %s", i, e.text);
            }
        }
        config_free(&c);
    }
}

int main(void)
{
    (void)unsetenv("AE_TITLE");
    (void)unsetenv("SUPPORTED_SOP_CLASS_UIDS");
    (void)unsetenv("REQUIRE_CALLED_AE_TITLE");
    (void)unsetenv("REQUIRE_CALLING_AE_TITLE");
    const struct CMUnitTest tests[] = {cmocka_unit_test(titles), cmocka_unit_test(sop_classes), cmocka_unit_test(transfer_syntaxes),
                                       cmocka_unit_test(wrong_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
