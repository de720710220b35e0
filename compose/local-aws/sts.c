/* sts - GetCallerIdentity, AssumeRole, AssumeRoleWithWebIdentity. Which one stands in the form of the body. API version 2011-06-15. */
#include "common/runtime/runtime.h"
#include "compose/local-aws/auth.h"

#include <stdlib.h>
#include <string.h>

#define STS_XMLNS "https://sts.amazonaws.com/doc/2011-06-15/"
enum { LIFE_LEAST_S = 900, LIFE_MOST_S = 43200, LIFE_USUAL_S = 3600 };

static bool form_value(const struct request *r, const char *name, char *value, size_t size)
{
    struct request form = {.query = r->body.bytes ? r->body.bytes : (char[]){""}};
    return request_query(&form, name, value, size);
}

static void begin(struct request *r, const char *name)
{
    answer_xml(r, 200);
    text_addf(&r->out, "<%sResponse xmlns=\"" STS_XMLNS "\"><%sResult>", name, name);
}

static void end(struct request *r, const char *name)
{
    text_addf(&r->out, "</%sResult><ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></%sResponse>", name, r->id, name);
}

static void get_caller_identity(struct request *r)
{
    begin(r, "GetCallerIdentity");
    text_addf(&r->out, "<Arn>arn:aws:iam::%s:user/local</Arn>", r->app->options.account);
    text_add_element(&r->out, "UserId", r->auth.access_key);
    text_add_element(&r->out, "Account", r->app->options.account);
    end(r, "GetCallerIdentity");
}

/* How long the credentials live, in seconds; 0: refused. What is shorter than AWS allows passes: tests want to see them expire. */
static int read_life(struct request *r)
{
    char number[16];
    if (!form_value(r, "DurationSeconds", number, sizeof number)) {
        return LIFE_USUAL_S;
    }
    int life = atoi(number);
    if (life < 1 || life > LIFE_MOST_S) {
        answer_refuse(r, 400, "ValidationError", "DurationSeconds must be %d to %d", LIFE_LEAST_S, LIFE_MOST_S);
        return 0;
    }
    return life;
}

static void assume(struct request *r, const char *name, bool by_token)
{
    char role[2100];
    char session[80];
    char token[8192];
    char time[32];
    struct temporary t;
    int life = read_life(r);
    if (life == 0) {
        return;
    }
    if (!form_value(r, "RoleArn", role, sizeof role) || strncmp(role, "arn:aws", 7) != 0 ||
        !form_value(r, "RoleSessionName", session, sizeof session) || strlen(session) < 2) {
        answer_refuse(r, 400, "ValidationError", "RoleArn and RoleSessionName are needed");
        return;
    }
    if (by_token && (!form_value(r, "WebIdentityToken", token, sizeof token) || strlen(token) < 4)) {
        answer_refuse(r, 400, "InvalidIdentityToken", "The web identity token that was passed could not be validated");
        return;
    }
    auth_make_temporary(r->app, clock_wall_ms() + (int64_t)life * 1000, &t);
    text_time_iso(t.expires_ms, time);
    begin(r, name);
    text_add(&r->out, "<Credentials>");
    text_add_element(&r->out, "AccessKeyId", t.access_key);
    text_add_element(&r->out, "SecretAccessKey", t.secret_key);
    text_add_element(&r->out, "SessionToken", t.token);
    text_add_element(&r->out, "Expiration", time);
    text_add(&r->out, "</Credentials><AssumedRoleUser>");
    text_addf(&r->out, "<AssumedRoleId>LOCALROLE:");
    text_add_xml(&r->out, session);
    text_add(&r->out, "</AssumedRoleId><Arn>");
    text_add_xml(&r->out, role);
    text_add(&r->out, "</Arn></AssumedRoleUser>");
    end(r, name);
}

static void assume_role(struct request *r)
{
    assume(r, "AssumeRole", false);
}

static void assume_role_with_web_identity(struct request *r)
{
    assume(r, "AssumeRoleWithWebIdentity", true);
}

static const struct operation operations[] = {
    {"GetCallerIdentity", get_caller_identity, false, false},
    {"AssumeRole", assume_role, false, false},
    {"AssumeRoleWithWebIdentity", assume_role_with_web_identity, false, true},
};

const struct operation *sts_route(struct request *r)
{
    char action[64] = "";
    if (!r->body_is_there) {
        return &operations[0]; /* the body decides; asked again when it is there */
    }
    (void)form_value(r, "Action", action, sizeof action);
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        if (strcmp(action, operations[i].name) == 0) {
            return &operations[i];
        }
    }
    answer_refuse(r, 400, "InvalidAction", "Could not find this operation for version 2011-06-15");
    return NULL;
}
