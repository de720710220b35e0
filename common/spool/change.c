/*
 * change - files that element rules changed: the switch from what the sender sent to the changed one, and back. See spool.h.
 *
 * Between two steps of the switch the instance has its file under its name in obj/, or original/ has what the sender sent, so that nothing is lost whichever
 * step was the last; a name in original/ is what says that obj/ may not be what the sender sent. The head of a changed file says "changed" (0002,0102):
 * original/ that is only a second name of an unchanged file is recognised without a database.
 */
#include "common/runtime/runtime.h"
#include "common/spool/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int sync_room(const char *home, const char *room, struct err *e)
{
    char directory[SPOOL_PATH_MAX];
    spool_path(directory, home, room, "", "");
    return directory_sync(directory, e);
}

int spool_is_changed(const char *home, const char *id)
{
    char path[SPOOL_PATH_MAX];
    spool_path(path, home, "original", id, ".dcm");
    return access(path, F_OK) == 0;
}

int spool_change_switch(const char *home, const char *id, struct err *e)
{
    char current[SPOOL_PATH_MAX];
    char original[SPOOL_PATH_MAX];
    char changed[SPOOL_PATH_MAX];
    spool_path(current, home, "obj", id, ".dcm");
    spool_path(original, home, "original", "", "");
    spool_path(changed, home, "changed", id, ".dcm");
    int rc = directory_make(original, e);
    spool_path(original, home, "original", id, ".dcm");
    if (rc == 0 && linkat(AT_FDCWD, current, AT_FDCWD, original, 0) == -1) { /* one that stands there already would mean that obj/ is not the sender's */
        rc = err_set(e, err_from_errno(errno), errno, "link of %s", original);
    }
    rc = rc ? rc : sync_room(home, "original", e);
    if (rc == 0 && rename(changed, current) == -1) {
        rc = err_set(e, err_from_errno(errno), errno, "rename of %s", changed);
    }
    return rc ? rc : sync_room(home, "obj", e);
}

int spool_change_undo(const char *home, const char *id, struct err *e)
{
    char path[SPOOL_PATH_MAX];
    char original[SPOOL_PATH_MAX];
    int rc = 0;
    spool_path(path, home, "changed", id, ".dcm");
    if (unlink(path) == -1 && errno != ENOENT) {
        return err_set(e, err_from_errno(errno), errno, "unlink of %s", path);
    }
    if (!spool_is_changed(home, id)) {
        return 0;
    }
    spool_path(original, home, "original", id, ".dcm");
    spool_path(path, home, "quarantine", id, ".dcm");
    bool is_set_aside = access(path, F_OK) == 0;
    if (!is_set_aside) {
        spool_path(path, home, "obj", id, ".dcm");
    }
    /* rename() of two names of one file does nothing and keeps both: then the second name just goes */
    if (rename(original, path) == -1 || (unlink(original) == -1 && errno != ENOENT)) {
        rc = err_set(e, err_from_errno(errno), errno, "rename of %s", original);
    }
    return rc ? rc : sync_room(home, is_set_aside ? "quarantine" : "obj", e);
}

int spool_read_received(const char *home, const char *id, int verify, struct spool_meta *meta, struct err *e)
{
    return spool_read_room(home, spool_is_changed(home, id) ? "original" : NULL, id, verify, meta, e);
}
