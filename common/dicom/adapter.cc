/* adapter - see adapter.h. The only C++ of the product. */
#include "common/dicom/adapter.h"

#include "common/dicom/associate.h"
#include "common/dicom/dictionary.h"
#include "common/dicom/patience.h"
#include "common/dicom/tls.h"
#include "common/dicom/wire.h"
#include "common/runtime/runtime.h"
#include "dcmtk/config/osconfig.h"
#include "dcmtk/dcmdata/dcdict.h"
#include "dcmtk/dcmdata/dctag.h"
#include "dcmtk/dcmdata/dcuid.h"
#include "dcmtk/dcmnet/assoc.h"
#include "dcmtk/dcmnet/dcmlayer.h"
#include "dcmtk/dcmnet/dcmtrans.h"
#include "dcmtk/oflog/oflog.h"
#include "dcmtk/ofstd/ofstd.h"

#include <cstdio>
#include <cstring>
#include <malloc.h>
#include <unistd.h>
#include <vector>

namespace {

struct Session {
    int fd;
    const scp_config *config;
    const scp_ops *ops;
    void *ctx;
    T_ASC_Association *association;
    message_link link; /* what was negotiated, for the messages */
    unsigned char *request; /* the association request as it came */
    unsigned long request_bytes;
    bool has_window;
    associate_window window; /* for the answer */
    mutable bool has_answered; /* DCMTK has sent something, or nobody is left to send it to */
};

/* Before the close, so that the peer gets our last PDU. */
void say_goodbye(const Session &s)
{
    if (s.config->tls) {
        tls_say_goodbye(s.config->tls);
    }
    wire_say_goodbye(s.fd);
}

/* DCMTK 3.6.7 just closes the connection when it cannot read an association request; PS3.8 section 9.2.3 (AA-1) wants an A-ABORT. Source
 * 2 is the service provider, reason 6 an invalid parameter. */
void abort_unanswered(const Session &s)
{
    static const unsigned char pdu[10] = {7, 0, 0, 0, 0, 4, 0, 0, 2, 6};
    if (!s.has_answered) {
        s.has_answered = true;
        if (s.link.transport.write(s.link.transport.ctx, pdu, sizeof pdu, 1000) == static_cast<ssize_t>(sizeof pdu)) {
            say_goodbye(s);
        }
    }
}

/* The bytes of DCMTK's answer, with the operations window that DCMTK cannot write. The vector lives until the answer has gone out. */
const void *with_window(const Session &s, const void *bytes, size_t &count, std::vector<unsigned char> &room)
{
    const unsigned char *pdu = static_cast<const unsigned char *>(bytes);
    s.has_answered = true;
    if (!s.has_window || count == 0) {
        return bytes;
    }
    room.assign(pdu, pdu + count);
    room.resize(count + ASSOCIATE_WINDOW_BYTES);
    const size_t longer = associate_add_window(room.data(), count, &s.window);
    if (longer == 0) { /* no A-ASSOCIATE-AC */
        return bytes;
    }
    count = longer;
    return room.data();
}

/* DCMTK's own connection, but for the answer. */
class PlainConnection : public DcmTCPConnection {
public:
    PlainConnection(int fd, const Session *session) : DcmTCPConnection(fd), session_(session) {}
    ssize_t write(void *bytes, size_t count) override
    {
        std::vector<unsigned char> room;
        size_t longer = count;
        const char *p = static_cast<const char *>(with_window(*session_, bytes, longer, room));
        for (size_t sent = 0; sent < longer;) {
            const ssize_t n = DcmTCPConnection::write(const_cast<char *>(p) + sent, longer - sent);
            if (n <= 0) {
                return n;
            }
            sent += static_cast<size_t>(n);
        }
        return static_cast<ssize_t>(count);
    }
    void close() override { closeTransportConnection(); }
    void closeTransportConnection() override
    {
        abort_unanswered(*session_);
        DcmTCPConnection::closeTransportConnection();
    }

private:
    const Session *session_;
};

/* DCMTK's view of a connection whose handshake is done: it reads the association request and writes its answer through this. What the
 * peer's request may take in all is acse_timeout_s. */
class SecureConnection : public DcmTransportConnection {
public:
    SecureConnection(int fd, const Session *session, const scp_config *config)
        : DcmTransportConnection(fd), fd_(fd), answering_(session), session_(config->tls), transport_(tls_transport(config->tls)),
          deadline_ms_(clock_mono_ms() + config->acse_timeout_s * 1000LL), network_ms_(config->network_timeout_s * 1000)
    {
    }
    ~SecureConnection() override { closeTransportConnection(); }
    OFCondition serverSideHandshake() override { return EC_Normal; }
    OFCondition clientSideHandshake() override { return EC_IllegalCall; }
    OFCondition renegotiate(const char *) override { return EC_IllegalCall; }
    ssize_t read(void *buffer, size_t size) override { return transport_.read(transport_.ctx, buffer, size, left()); }
    ssize_t write(void *bytes, size_t count) override
    {
        std::vector<unsigned char> room;
        size_t longer = count;
        const void *p = with_window(*answering_, bytes, longer, room);
        return transport_.write(transport_.ctx, p, longer, network_ms_) == static_cast<ssize_t>(longer) ? static_cast<ssize_t>(count) : -1;
    }
    void close() override { closeTransportConnection(); }
    void closeTransportConnection() override
    {
        if (fd_ != -1) {
            abort_unanswered(*answering_);
            ::close(fd_);
            fd_ = -1;
            setSocket(-1);
        }
    }
    unsigned long getPeerCertificateLength() override { return 0; }
    unsigned long getPeerCertificate(void *, unsigned long) override { return 0; }
    OFBool networkDataAvailable(int timeout_s) override
    {
        const int most = left();
        return tls_wait(session_, timeout_s < 0 || timeout_s > most / 1000 ? most : timeout_s * 1000);
    }
    OFBool isTransparentConnection() override { return OFFalse; }
    OFString &dumpConnectionParameters(OFString &text) override { return text = "TLS"; }

private:
    int left() const
    {
        const long long ms = deadline_ms_ - clock_mono_ms();
        return ms > 0 ? static_cast<int>(ms) : 0;
    }
    int fd_;
    const Session *answering_;
    tls_session *session_;
    message_transport transport_;
    long long deadline_ms_;
    int network_ms_;
};

class Layer : public DcmTransportLayer {
public:
    explicit Layer(const Session *session) : session_(session) {}
    DcmTransportConnection *createConnection(DcmNativeSocketType fd, OFBool) override
    {
        if (session_->config->tls) {
            return new SecureConnection(fd, session_, session_->config);
        }
        return new PlainConnection(fd, session_);
    }

private:
    const Session *session_;
};

/* What was proposed for one presentation context, as pointers into DCMTK's lists. ASC_getPresentationContext would give up at the
 * 51st transfer syntax. */
int collect(DUL_PRESENTATIONCONTEXT *context, const char **syntaxes)
{
    int count = 0;
    LST_HEAD **list = &context->proposedTransferSyntax;
    DUL_TRANSFERSYNTAX *t = static_cast<DUL_TRANSFERSYNTAX *>(*list ? LST_Head(list) : nullptr);
    if (t) {
        LST_Position(list, t);
    }
    for (; t && count < SCP_TRANSFER_SYNTAXES_MAX; t = static_cast<DUL_TRANSFERSYNTAX *>(LST_Next(list))) {
        syntaxes[count++] = t->transferSyntax;
    }
    return count;
}

/* Is a context with an id below accepted for this SOP class? */
bool accepted_below(const Session &s, const char *abstract_syntax, int below)
{
    for (int id = 0; id < below; id++) {
        if (s.link.contexts[id].accepted && std::strcmp(s.link.contexts[id].abstract_syntax, abstract_syntax) == 0) {
            return true;
        }
    }
    return false;
}

/* Accepts or refuses one context. The peer stays SCU: a proposed role SCP is turned down, and each SOP class gets one role item. */
OFCondition answer(Session &s, DUL_PRESENTATIONCONTEXT *context)
{
    const char *syntaxes[SCP_TRANSFER_SYNTAXES_MAX];
    T_ASC_Parameters *params = s.association->params;
    const T_ASC_PresentationContextID id = context->presentationContextID;
    const int offered = collect(context, syntaxes);
    const scp_context told = {id, context->abstractSyntax, syntaxes, offered, context->proposedSCRole == DUL_SC_ROLE_SCP};
    const int chosen = s.ops->negotiate(s.ctx, &told);
    if (chosen < 0 || chosen >= offered) {
        return ASC_refusePresentationContext(params, id,
                                             chosen == SCP_REFUSE_USER              ? ASC_P_USERREJECTION
                                             : chosen == SCP_REFUSE_ABSTRACT_SYNTAX ? ASC_P_ABSTRACTSYNTAXNOTSUPPORTED
                                                                                    : ASC_P_TRANSFERSYNTAXESNOTSUPPORTED);
    }
    const bool told_already = accepted_below(s, context->abstractSyntax, 256);
    message_context &kept = s.link.contexts[id];
    kept.accepted = true;
    OFStandard::strlcpy(kept.abstract_syntax, context->abstractSyntax, sizeof kept.abstract_syntax);
    OFStandard::strlcpy(kept.transfer_syntax, syntaxes[chosen], sizeof kept.transfer_syntax);
    const bool silent = told_already || associate_selects_no_role(s.request, s.request_bytes, context->abstractSyntax);
    return ASC_acceptPresentationContext(params, id, kept.transfer_syntax, silent ? ASC_SC_ROLE_DEFAULT : ASC_SC_ROLE_SCU);
}

/* Tells storage SCUs that asked what we are (PS3.4 table B.3-2): level 2, digital signatures not judged, no element coerced. One answer
 * for each SOP class. */
void answer_extended(Session &s)
{
    static const unsigned char information[6] = {2, 0, 0, 0, 0, 0};
    SOPClassExtendedNegotiationSubItemList *asked = nullptr;
    SOPClassExtendedNegotiationSubItemList *answers = nullptr;
    ASC_getRequestedExtNegList(s.association->params, &asked);
    for (int id = 0; asked && id < 256; id++) {
        const message_context &c = s.link.contexts[id];
        if (!c.accepted || accepted_below(s, c.abstract_syntax, id) || !s.ops->is_storage(s.ctx, c.abstract_syntax)) {
            continue;
        }
        OFListIterator(SOPClassExtendedNegotiationSubItem *) i = asked->begin();
        while (i != asked->end() && (*i)->sopClassUID != c.abstract_syntax) {
            ++i;
        }
        if (i != asked->end()) {
            if (!answers) { /* DCMTK frees the list and what it holds */
                answers = new SOPClassExtendedNegotiationSubItemList;
                ASC_setAcceptedExtNegList(s.association->params, answers);
            }
            SOPClassExtendedNegotiationSubItem *item = new SOPClassExtendedNegotiationSubItem;
            item->sopClassUID = c.abstract_syntax;
            item->serviceClassAppInfoLength = sizeof information;
            item->serviceClassAppInfo = new unsigned char[sizeof information];
            std::memcpy(item->serviceClassAppInfo, information, sizeof information);
            answers->push_back(item);
        }
    }
}

/* Answers each presentation context with what negotiate() says. PS3.8 section 9.3.2.2: at most 128, each id once and odd. */
OFCondition negotiate(Session &s)
{
    DUL_PRESENTATIONCONTEXT *contexts[SCP_CONTEXTS_MAX]; /* first all of them: DCMTK's lists have one cursor, and its searches move it */
    bool seen[256] = {};
    int count = 0;
    LST_HEAD **list = &s.association->params->DULparams.requestedPresentationContext;
    DUL_PRESENTATIONCONTEXT *context = static_cast<DUL_PRESENTATIONCONTEXT *>(*list ? LST_Head(list) : nullptr);
    if (context) {
        LST_Position(list, context);
    }
    for (; context; context = static_cast<DUL_PRESENTATIONCONTEXT *>(LST_Next(list))) {
        const unsigned id = context->presentationContextID;
        if (count == SCP_CONTEXTS_MAX || id % 2 == 0 || seen[id]) {
            return makeOFCondition(OFM_dcmnet, 1, OF_error, "the ids of the presentation contexts are not odd, unique and at most 128");
        }
        seen[id] = true;
        contexts[count++] = context;
    }
    if (count == 0) {
        return makeOFCondition(OFM_dcmnet, 1, OF_error, "no presentation context was proposed");
    }
    for (int i = 0; i < count; i++) {
        const OFCondition cond = answer(s, contexts[i]);
        if (cond.bad()) {
            return cond;
        }
    }
    answer_extended(s);
    return EC_Normal;
}

int reject(Session &s, const scp_decision &d)
{
    T_ASC_RejectParameters r;
    r.result = d.result == 2 ? ASC_RESULT_REJECTEDTRANSIENT : ASC_RESULT_REJECTEDPERMANENT;
    r.source = static_cast<T_ASC_RejectParametersSource>(d.source);
    r.reason = static_cast<T_ASC_RejectParametersReason>(d.source << 8 | d.reason);
    const bool sent = ASC_rejectAssociation(s.association, &r).good();
    say_goodbye(s);
    return sent ? 0 : ERR_NETWORK;
}

/* Asks request(); true when the association may go on. */
bool admit(Session &s, scp_decision &decision)
{
    T_ASC_Parameters *params = s.association->params;
    char calling[DUL_LEN_TITLE + 1] = "";
    char called[DUL_LEN_TITLE + 1] = "";
    char name[256] = "";
    ASC_getAPTitles(params, calling, sizeof calling, called, sizeof called, nullptr, 0);
    if (ASC_getApplicationContextName(params, name, sizeof name).bad() || std::strcmp(name, UID_StandardApplicationContext) != 0) {
        decision = {1, 1, 2, 0, 0};
        return false;
    }
    scp_identity identity = {};
    char *primary = nullptr;
    char *secondary = nullptr;
    Uint16 primary_bytes = 0;
    Uint16 secondary_bytes = 0;
    UserIdentityNegotiationSubItemRQ *asked = nullptr;
    ASC_getUserIdentRQ(params, &asked);
    if (asked) {
        asked->getPrimField(primary, primary_bytes);
        asked->getSecField(secondary, secondary_bytes);
        identity = {asked->getIdentityType(), asked->isPosResponseRequested(), primary, secondary, primary_bytes, secondary_bytes};
    }
    const scp_request request = {calling, called, params->theirImplementationClassUID, params->theirImplementationVersionName,
                                 asked ? &identity : nullptr, ASC_countPresentationContexts(params)};
    s.ops->request(s.ctx, &request, &decision);
    if (secondary) {
        explicit_bzero(secondary, secondary_bytes);
    }
    delete[] primary;
    delete[] secondary;
    if (decision.result == 0 && decision.identity_confirmed && asked && asked->isPosResponseRequested()) {
        params->DULparams.ackUserIdentNeg = new UserIdentityNegotiationSubItemAC; /* ASC_setIdentAC is declared, but not in the library */
    }
    if (decision.result == 0 && decision.operations_window > 1 && associate_read_window(s.request, s.request_bytes, &s.window)) {
        /* PS3.7 D.3.3.3: never more than was proposed, 0 is no limit. We ask for one thing at a time. */
        const unsigned most = static_cast<unsigned>(decision.operations_window);
        s.window.invoked = s.window.invoked == 0 || s.window.invoked > most ? most : s.window.invoked;
        s.window.performed = 1;
        s.has_window = true;
    }
    return decision.result == 0;
}

int run(Session &s, T_ASC_Network *network, char *outcome, size_t size, struct err *e)
{
    void *request = nullptr;
    patience_begin(s.fd, s.config->acse_timeout_s);
    OFCondition cond = ASC_receiveAssociation(network, &s.association, static_cast<long>(s.config->maximum_pdu_bytes), &request,
                                              &s.request_bytes, s.config->tls ? OFTrue : OFFalse);
    s.request = static_cast<unsigned char *>(request);
    patience_end();
    s.has_answered = s.has_answered || cond.good(); /* from here on the answers are ours */
    if (cond.bad()) {
        std::snprintf(outcome, size, "no association: %s", cond.text());
        return err_set(e, ERR_PROTOCOL, 0, "no association: %s", cond.text());
    }
    scp_decision decision = {};
    if (!admit(s, decision)) {
        std::snprintf(outcome, size, "rejected");
        return reject(s, decision);
    }
    cond = negotiate(s);
    if (cond.good()) {
        cond = ASC_acknowledgeAssociation(s.association);
    }
    if (cond.bad()) {
        ASC_abortAssociation(s.association);
        say_goodbye(s);
        std::snprintf(outcome, size, "failed: %s", cond.text());
        return err_set(e, ERR_PROTOCOL, 0, "%s", cond.text());
    }
    if (s.ops->negotiated) {
        s.ops->negotiated(s.ctx);
    }
    s.link.peer_maximum_pdu = s.association->params->theirMaxPDUReceiveSize;
    const int rc = message_serve(&s.link, outcome, size, e);
    say_goodbye(s);
    return rc;
}

} // namespace

const char *scp_name_of_uid(const char *uid)
{
    return dcmFindNameOfUID(uid);
}

const char *scp_uid_of_name(const char *name)
{
    return dcmFindUIDFromName(name);
}

int dictionary_is_there(void)
{
    return dcmDataDict.isDictionaryLoaded() ? 1 : 0;
}

int dictionary_vr(unsigned group, unsigned element, char vr[3])
{
    const DcmTag tag(static_cast<Uint16>(group), static_cast<Uint16>(element));
    const DcmVR known(DcmVR(tag.getEVR()).getValidEVR()); /* "US or SS" is US */
    const bool is_known = tag.getEVR() != EVR_UNKNOWN && tag.getEVR() != EVR_UN && tag.getEVR() != EVR_UNKNOWN2B;
    (void)snprintf(vr, 3, "%s", is_known ? known.getValidVRName() : "UN");
    return is_known ? 1 : 0;
}

int dictionary_find(const char *keyword, unsigned *group, unsigned *element)
{
    DcmTag tag;
    if (DcmTag::findTagFromName(keyword, tag).bad()) {
        return 0;
    }
    *group = tag.getGroup();
    *element = tag.getElement();
    return 1;
}

int scp_serve_fd(int fd, const struct scp_config *config, const struct scp_ops *ops, void *ctx, char *outcome, size_t outcome_size,
                 struct err *e)
{
    T_ASC_Network *network = nullptr;
    Session s = {fd, config, ops, ctx, nullptr, {}, nullptr, 0, false, {}, false};
    Layer layer(&s);
    s.link.transport = config->tls ? tls_transport(config->tls) : wire_transport(&s.fd);
    s.link.config = config;
    s.link.ops = ops;
    s.link.ops_ctx = ctx;
    int rc = ERR_PROTOCOL;
    try {
        OFLog::configure(OFLogger::OFF_LOG_LEVEL);
        dcmDisableGethostbyaddr.set(OFTrue);
        dcmAssociatePDUSizeLimit.set(SCP_REQUEST_BYTES_MAX);
        dcmSocketReceiveTimeout.set(config->network_timeout_s);
        dcmSocketSendTimeout.set(config->network_timeout_s);
        dcmExternalSocketHandle.set(fd);
        OFCondition cond = ASC_initializeNetwork(NET_ACCEPTOR, 0, config->acse_timeout_s, &network);
        if (cond.bad()) {
            std::snprintf(outcome, outcome_size, "failed: %s", cond.text());
            rc = err_set(e, ERR_PROTOCOL, 0, "%s", cond.text());
            close(fd);
        } else {
            ASC_setTransportLayer(network, &layer, 0);
            rc = run(s, network, outcome, outcome_size, e);
        }
        if (s.association) {
            ASC_destroyAssociation(&s.association);
        }
        if (network) {
            ASC_dropNetwork(&network);
        }
    } catch (...) {
        std::snprintf(outcome, outcome_size, "failed: exception in the protocol library");
        rc = err_set(e, ERR_PROTOCOL, 0, "exception in the protocol library");
    }
    delete[] reinterpret_cast<char *>(s.request);
    malloc_trim(0); /* the lists of a large request take a hundred times its size */
    return rc;
}
