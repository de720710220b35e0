/* share - how many transfers one destination may have at one time, beside the others. Pure. */
#ifndef STORESCP_UPLOADER_SHARE_H
#define STORESCP_UPLOADER_SHARE_H

/* places: of all together; most: its own limit; sending: its transfers now; all_sending: of all; working: how many destinations have work, it among them.
 * At least an equal part and one, even when others have more than theirs: what they hold may hang. At most what the others leave. */
int share_of(int places, int most, int sending, int all_sending, int working);

#endif
