/*
 * completeness - is all of a study here? Looked at once it has been quiet, in idle moments, one study at a time; the answer stands in `completeness` until
 * something of the study comes again. It says what is known to be missing and how that is known:
 *   gaps in the Instance Numbers (0020,0013) of a series, where they are consecutive and more of them are here than not;
 *   images that a storage commitment request names and that never came: the sender itself says that it sent them;
 *   images that its associations counted as stored and of which there is no row: the database was lost or put back from an older copy.
 * What an association of the study was refused, and one that was broken off, is told beside it. Numbers that stand twice, are missing or are none, and
 * numbers before the first and behind the last, prove nothing and are passed over.
 */
#ifndef STORESCP_STATE_COMPLETENESS_H
#define STORESCP_STATE_COMPLETENESS_H

#include "common/state/state.h"

/* Looks at up to limit studies of which nothing has come for quiet_ms; *looked counts them. Nothing while received instances wait to be judged: they may
 * belong to it. Costs an index look-up when there are none; several workers may do it at one time. */
int state_completeness_look(struct state *s, int64_t quiet_ms, int limit, int *looked, struct err *e);

#endif
