/* policy - see policy.h. */
#include "receiver/association/policy.h"

#include "receiver/address.h"

#include "common/dicom/uid.h"
#include "common/runtime/list.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ROOT "1.2.840.10008."
#define VERIFICATION ROOT "1.1"
enum { WORD_MAX = 256 };

/* Services of the standard that are no storage of patients' objects, by the beginning of their UIDs. Everything else, private and unknown, is
 * taken as storage. The last four are storage of what belongs to no patient: HealthImaging cannot import it. */
static const char *const other_services[] = {
    ROOT "5.1.4.1.2.", ROOT "5.1.4.31", ROOT "5.1.4.32", ROOT "5.1.4.33", ROOT "5.1.4.34", ROOT "5.1.4.37", ROOT "5.1.4.41", ROOT "5.1.1.",
    ROOT "3.1.2.",     ROOT "1.20.",    ROOT "1.9",      ROOT "1.40",     ROOT "1.42",     ROOT "5.1.4.38", ROOT "5.1.4.39", ROOT "5.1.4.43.",
    ROOT "5.1.4.44.",  ROOT "5.1.4.45."};
/* Storage classes among them: delivery instructions of radiotherapy, hardcopy images and stored prints. */
static const char *const storage_there[] = {ROOT "5.1.4.34.1", ROOT "5.1.4.34.7", ROOT "5.1.4.34.10",
                                            ROOT "5.1.1.27",   ROOT "5.1.1.29",   ROOT "5.1.1.30"};

bool policy_is_storage(const char *sop_class_uid)
{
    if (strcmp(sop_class_uid, VERIFICATION) == 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof storage_there / sizeof storage_there[0]; i++) {
        if (strcmp(sop_class_uid, storage_there[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof other_services / sizeof other_services[0]; i++) {
        if (strncmp(sop_class_uid, other_services[i], strlen(other_services[i])) == 0) {
            return false;
        }
    }
    return true;
}

/* ---- words of the lists ---------------------------------------------------------------------------------------------------- */

static bool is_pattern(const char *word)
{
    return strspn(word, "0123456789.*?") == strlen(word);
}

/* The name of a retired class as DCMTK has it, made from the one of PS3.6, which ends in "Retired". */
static bool retired_name(const char *word, char out[WORD_MAX + 16])
{
    size_t length = strlen(word);
    size_t end = strlen("Retired");
    if (length <= end || strcasecmp(word + length - end, "Retired") != 0) {
        return false;
    }
    (void)snprintf(out, WORD_MAX + 16, "RETIRED_%.*s", (int)(length - end), word);
    return true;
}

/* name: DCMTK's, NULL when it knows none. */
static bool class_fits(const char *word, const char *uid, const char *name)
{
    char retired[WORD_MAX + 16];
    if (is_pattern(word)) {
        return config_fits(word, uid);
    }
    bool ours = strncmp(uid, ROOT, strlen(ROOT)) == 0;
    if (strcasecmp(word, "standard") == 0 || strcasecmp(word, "private") == 0) {
        return ours == (strcasecmp(word, "standard") == 0);
    }
    return name && (strcasecmp(word, name) == 0 || (retired_name(word, retired) && strcasecmp(retired, name) == 0));
}

static bool class_listed(const char *list, const char *uid)
{
    char word[WORD_MAX];
    const char *name = scp_name_of_uid(uid);
    while (list_next(&list, word, sizeof word)) {
        if (class_fits(word, uid, name)) {
            return true;
        }
    }
    return false;
}

static const struct {
    const char *word;
    enum dicom_ts_family family;
} families[] = {{"uncompressed", DICOM_TS_UNCOMPRESSED}, {"lossless", DICOM_TS_LOSSLESS}, {"lossy", DICOM_TS_LOSSY}, {"video", DICOM_TS_VIDEO}};
enum { FAMILY_COUNT = sizeof families / sizeof families[0] };

static bool syntax_fits(const char *word, const char *uid)
{
    const struct dicom_ts *ts = dicom_ts_find(uid);
    if (is_pattern(word)) {
        return config_fits(word, uid);
    }
    if (!ts) {
        return false;
    }
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        if (strcasecmp(word, families[i].word) == 0) {
            return ts->family == families[i].family;
        }
    }
    return strcasecmp(word, "importable") == 0 ? ts->imported : strcasecmp(word, ts->keyword) == 0;
}

/* ---- are they words? --------------------------------------------------------------------------------------------------------- */

static bool is_class_word(const char *word)
{
    char retired[WORD_MAX + 16];
    return is_pattern(word) || strcasecmp(word, "standard") == 0 || strcasecmp(word, "private") == 0 || scp_uid_of_name(word) ||
           (retired_name(word, retired) && scp_uid_of_name(retired));
}

static bool is_syntax_word(const char *word)
{
    for (size_t i = 0; i < FAMILY_COUNT; i++) {
        if (strcasecmp(word, families[i].word) == 0) {
            return true;
        }
    }
    return is_pattern(word) || strcasecmp(word, "importable") == 0 || strcasecmp(word, "as-proposed") == 0 || dicom_ts_find_keyword(word);
}

/* A title, or a pattern of titles: '*' may stand for nothing. */
static bool is_title_word(const char *word)
{
    size_t stars = 0;
    for (const char *p = word; *p; p++) {
        stars += *p == '*';
    }
    return strlen(word) - stars <= 16 && (strchr(word, '*') || dicom_ae_is_legal(word));
}

static bool is_any_word(const char *word)
{
    return word[0] != '\0';
}

static const struct {
    enum config_key key;
    bool (*is_word)(const char *word);
    const char *what;
} lists[] = {
    {CFG_AE_TITLE, dicom_ae_is_legal, "an AE title"},
    {CFG_REQUIRE_CALLING_AE_TITLE, is_title_word, "an AE title or a pattern of AE titles"},
    {CFG_SUPPORTED_SOP_CLASS_UIDS, is_class_word, "a UID, the name of a SOP class, or one of standard and private"},
    {CFG_REFUSED_SOP_CLASSES, is_class_word, "a UID, the name of a SOP class, or one of standard and private"},
    {CFG_TRANSFER_SYNTAXES, is_syntax_word,
     "a UID, the keyword of a transfer syntax, or one of uncompressed, lossless, lossy, video, importable and as-proposed"},
    {CFG_ALLOWED_USERS, is_any_word, "a user"},
};

static int check_list(size_t i, const char *list, const char *origin, bool may_be_empty, struct err *e)
{
    char word[WORD_MAX];
    const char *name = config_describe(lists[i].key)->name;
    bool any = false;
    while (list_next(&list, word, sizeof word)) {
        any = true;
        if (!lists[i].is_word(word)) {
            return err_set(e, ERR_CONFIG, 0, "%s (%s): \"%.80s\" is not %s", name, origin, word, lists[i].what);
        }
    }
    return any || may_be_empty ? 0 : err_set(e, ERR_CONFIG, 0, "%s (%s) is empty", name, origin);
}

/* A list of users that nobody is asked for would keep nobody out. section NULL: who has none. */
static int check_users(const struct config *config, const struct config_section *section, struct err *e)
{
    const char *value = config_text(config, CFG_ALLOWED_USERS);
    const char *origin = config_origin(config, CFG_ALLOWED_USERS);
    (void)(section && config_section_sets(section, CFG_ALLOWED_USERS, &value, &origin));
    if (!value[0] || strcmp(config_text_for(config, section, CFG_REQUIRE_USER_IDENTITY), "off") != 0) {
        return 0;
    }
    return err_set(e, ERR_CONFIG, 0, "allowed_users (%s) names users, and require_user_identity is off there, so everybody could send: set it to passcode",
                   origin);
}

/* Where commitment reports go, for everybody and in each section; empty is allowed. */
static int check_addresses(const struct config *config, struct err *e)
{
    struct address to;
    struct err why = {0};
    const char *text = config_text(config, CFG_COMMITMENT_ADDRESS);
    const char *origin = config_origin(config, CFG_COMMITMENT_ADDRESS);
    bool is_good = !text[0] || address_parse(text, &to, &why) == 0;
    for (size_t k = 0; is_good && config_section_at(config, k); k++) {
        if (config_section_sets(config_section_at(config, k), CFG_COMMITMENT_ADDRESS, &text, &origin)) {
            is_good = !text[0] || address_parse(text, &to, &why) == 0;
        }
    }
    return is_good ? 0 : err_set(e, ERR_CONFIG, 0, "%s: %s", origin, why.text);
}

int policy_check(const struct config *config, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof lists / sizeof lists[0]; i++) {
        bool may_be_empty = config_describe(lists[i].key)->minimum == 0;
        rc = check_list(i, config_text(config, lists[i].key), config_origin(config, lists[i].key), may_be_empty, e);
        for (size_t k = 0; rc == 0 && config_section_at(config, k); k++) {
            const char *value;
            const char *origin;
            if (config_section_sets(config_section_at(config, k), lists[i].key, &value, &origin)) {
                rc = check_list(i, value, origin, may_be_empty, e);
            }
        }
    }
    rc = rc == 0 ? check_users(config, NULL, e) : rc;
    for (size_t k = 0; rc == 0 && config_section_at(config, k); k++) {
        rc = check_users(config, config_section_at(config, k), e);
    }
    return rc ? rc : check_addresses(config, e);
}

/* ---- associations ---------------------------------------------------------------------------------------------------------------- */

int policy_request(const struct config *config, const char *calling, const char *called, struct policy_refusal *why)
{
    const char *only = config_text(config, CFG_REQUIRE_CALLING_AE_TITLE);
    char own[20];
    bool ours = !config_bool(config, CFG_REQUIRE_CALLED_AE_TITLE);
    bool nearly = false;
    const char *bare = called + strspn(called, " ");
    for (const char *at = config_text(config, CFG_AE_TITLE); !ours && list_next(&at, own, sizeof own);) {
        size_t length = strlen(own);
        bool ends = strlen(bare) >= length && bare[length + strspn(bare + length, " ")] == '\0';
        ours = ends && strncmp(bare, own, length) == 0;
        nearly = nearly || (ends && strncasecmp(bare, own, length) == 0);
    }
    if (!ours) {
        (void)snprintf(why->reason, sizeof why->reason, "the called AE title is %s",
                       nearly ? "one of ours but for capital and small letters" : "none of ours");
        (void)snprintf(why->remedy, sizeof why->remedy, "correct it on the sender, add it to ae_title, or set require_called_ae_title = false");
        return 1 << 8 | 7; /* called AE title not recognized */
    }
    if (only[0] && !list_fits(only, calling)) {
        (void)snprintf(why->reason, sizeof why->reason, "the calling AE title may not send here");
        (void)snprintf(why->remedy, sizeof why->remedy, "add it to require_calling_ae_title");
        return 1 << 8 | 3; /* calling AE title not recognized */
    }
    return 0;
}

/* ---- presentation contexts --------------------------------------------------------------------------------------------------------- */

/* HealthImaging keeps what it cannot decode as a blob, with a warning; refusing it would help nobody. */
static int as_proposed(const struct scp_context *context)
{
    int first = SCP_REFUSE_TRANSFER_SYNTAXES;
    for (int i = 0; i < context->transfer_syntax_count; i++) {
        const struct dicom_ts *ts = dicom_ts_find(context->transfer_syntaxes[i]);
        if (ts && ts->imported) {
            return i;
        }
        if (first < 0 && dicom_uid_is_legal(context->transfer_syntaxes[i])) {
            first = i;
        }
    }
    return first;
}

static int choose(const char *list, const struct scp_context *context)
{
    char word[WORD_MAX];
    int chosen = SCP_REFUSE_TRANSFER_SYNTAXES;
    while (chosen < 0 && list_next(&list, word, sizeof word)) {
        if (strcasecmp(word, "as-proposed") == 0) {
            chosen = as_proposed(context);
        }
        for (int i = 0; chosen < 0 && i < context->transfer_syntax_count; i++) {
            if (dicom_uid_is_legal(context->transfer_syntaxes[i]) && syntax_fits(word, context->transfer_syntaxes[i])) {
                chosen = i;
            }
        }
    }
    return chosen;
}

static int refuse(struct policy_refusal *why, int how, const char *reason, const char *remedy)
{
    (void)snprintf(why->reason, sizeof why->reason, "%s", reason);
    (void)snprintf(why->remedy, sizeof why->remedy, "%s", remedy);
    return how;
}

int policy_negotiate(const struct config *config, const struct config_section *section, const struct scp_context *context,
                     struct policy_refusal *why)
{
    const char *uid = context->abstract_syntax;
    const char *only = config_text_for(config, section, CFG_SUPPORTED_SOP_CLASS_UIDS);
    const char *not = config_text_for(config, section, CFG_REFUSED_SOP_CLASSES);
    if (!dicom_uid_is_legal(uid)) {
        return refuse(why, SCP_REFUSE_ABSTRACT_SYNTAX, "the abstract syntax is no UID", "correct the sender");
    }
    bool commitment = strcmp(uid, COMMITMENT_CLASS) == 0;
    if (commitment && class_listed(not, uid)) {
        return refuse(why, SCP_REFUSE_ABSTRACT_SYNTAX, "the SOP class is refused", "take it out of refused_sop_classes");
    }
    if (strcmp(uid, VERIFICATION) != 0 && !commitment) {
        if (!policy_is_storage(uid)) {
            return refuse(why, SCP_REFUSE_ABSTRACT_SYNTAX, "only verification, storage commitment and storage of what belongs to a study are served here",
                          "no setting accepts it: point the sender's other services elsewhere");
        }
        if (only[0] && !class_listed(only, uid)) {
            return refuse(why, SCP_REFUSE_ABSTRACT_SYNTAX, "the SOP class is not accepted", "add it to supported_sop_class_uids");
        }
        if (class_listed(not, uid)) {
            return refuse(why, SCP_REFUSE_ABSTRACT_SYNTAX, "the SOP class is refused", "take it out of refused_sop_classes");
        }
    }
    if (context->only_as_scp) {
        return refuse(why, SCP_REFUSE_USER, "the peer wants to be SCP, and so do we", "no setting accepts it: correct the sender's roles");
    }
    /* what is not stored but read here comes in an encoding that is read here */
    int chosen = choose(commitment                        ? "1.2.840.10008.1.2.1, 1.2.840.10008.1.2"
                        : strcmp(uid, VERIFICATION) == 0 ? "*"
                                                         : config_text_for(config, section, CFG_TRANSFER_SYNTAXES), context);
    if (chosen < 0 && commitment) {
        return refuse(why, chosen, "storage commitment needs implicit or explicit VR little endian", "no setting accepts it: correct the sender");
    }
    if (chosen < 0) {
        return refuse(why, chosen, "none of its transfer syntaxes is accepted", "add one of them to transfer_syntaxes");
    }
    return chosen;
}
