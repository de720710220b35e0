/* share - see share.h. */
#include "uploader/share.h"

int share_of(int places, int most, int sending, int all_sending, int working)
{
    int part = places / (working > 0 ? working : 1);
    int left = places - (all_sending - sending);
    int share = left > part ? left : part;
    share = share > 0 ? share : 1;
    return share < most ? share : most;
}
