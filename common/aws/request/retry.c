/* retry - see retry.h. */
#include "common/aws/request/retry.h"
#include "common/runtime/err.h"

enum { TOKENS_MAX = 500, COST_TRANSIENT = 14, COST_THROTTLED = 5, GAIN = 1 };
enum { BASE_TRANSIENT_MS = 50, BASE_THROTTLED_MS = 1000, DELAY_MAX_MS = 20000, HINT_MAX_MS = 5000, DOUBLINGS_MAX = 16 };

void retry_bucket_fill(struct retry_bucket *b)
{
    b->tokens = TOKENS_MAX;
}

enum retry_kind retry_kind_of(int rc, bool out_of_time)
{
    switch (rc) {
    case ERR_AWS_THROTTLED:
        return RETRY_THROTTLED;
    case ERR_AWS_SERVER:
        return RETRY_TRANSIENT;
    case ERR_NETWORK:
    case ERR_TIMEOUT: /* RequestTimeout: the server's limit, not ours */
        return out_of_time ? RETRY_NOT : RETRY_TRANSIENT;
    default:
        return RETRY_NOT;
    }
}

int retry_take(struct retry_bucket *b, enum retry_kind kind)
{
    int cost = kind == RETRY_THROTTLED ? COST_THROTTLED : COST_TRANSIENT;
    if (kind == RETRY_NOT || b->tokens < cost) {
        return 0;
    }
    b->tokens -= cost;
    return cost;
}

void retry_give_back(struct retry_bucket *b, int cost)
{
    b->tokens += cost > 0 ? cost : GAIN;
    b->tokens = b->tokens > TOKENS_MAX ? TOKENS_MAX : b->tokens;
}

int64_t retry_delay_ms(enum retry_kind kind, int attempt, uint32_t random, int64_t server_ms)
{
    int doublings = attempt < 1 ? 0 : attempt - 1 > DOUBLINGS_MAX ? DOUBLINGS_MAX : attempt - 1;
    int64_t most = (int64_t)(kind == RETRY_THROTTLED ? BASE_THROTTLED_MS : BASE_TRANSIENT_MS) << doublings;
    most = most > DELAY_MAX_MS ? DELAY_MAX_MS : most;
    int64_t delay = most * random / UINT32_MAX;
    if (server_ms < 0) {
        return delay;
    }
    return server_ms < delay ? delay : server_ms > delay + HINT_MAX_MS ? delay + HINT_MAX_MS : server_ms;
}
