/* adapter - see adapter.h. The only C++ of the product. */
#include "common/dicom/adapter.h"

#include "common/dicom/wire.h"
#include "dcmtk/config/osconfig.h"
#include "dcmtk/dcmdata/dcuid.h"
#include "dcmtk/dcmnet/assoc.h"
#include "dcmtk/dcmnet/dcmtrans.h"
#include "dcmtk/oflog/oflog.h"
#include "dcmtk/ofstd/ofstd.h"

#include <cstdio>
#include <cstring>
#include <unistd.h>

namespace {

struct Session {
    int fd;
    const scp_config *config;
    const scp_ops *ops;
    void *ctx;
    T_ASC_Association *association;
    message_link link; /* what was negotiated, for the messages */
};

/* Answers each presentation context with what negotiate() says. */
OFCondition negotiate(Session &s)
{
    T_ASC_Parameters *params = s.association->params;
    const int count = ASC_countPresentationContexts(params);
    for (int i = 0; i < count; i++) {
        T_ASC_PresentationContext context;
        OFCondition cond = ASC_getPresentationContext(params, i, &context);
        if (cond.bad()) {
            return cond;
        }
        const char *syntaxes[DICOM_MAXTRANSFERSYNTAXES];
        const int offered = context.transferSyntaxCount;
        for (int k = 0; k < offered; k++) {
            syntaxes[k] = context.proposedTransferSyntaxes[k];
        }
        const int chosen = s.ops->negotiate(s.ctx, context.abstractSyntax, syntaxes, offered);
        if (chosen >= 0 && chosen < offered) {
            cond = ASC_acceptPresentationContext(params, context.presentationContextID, syntaxes[chosen]);
            message_context &told = s.link.contexts[context.presentationContextID];
            told.accepted = cond.good();
            OFStandard::strlcpy(told.abstract_syntax, context.abstractSyntax, sizeof told.abstract_syntax);
            OFStandard::strlcpy(told.transfer_syntax, syntaxes[chosen], sizeof told.transfer_syntax);
        } else {
            cond = ASC_refusePresentationContext(params, context.presentationContextID,
                                                 chosen == -1 ? ASC_P_ABSTRACTSYNTAXNOTSUPPORTED
                                                              : ASC_P_TRANSFERSYNTAXESNOTSUPPORTED);
        }
        if (cond.bad()) {
            return cond;
        }
    }
    return EC_Normal;
}

int reject(Session &s, int source, int reason, T_ASC_RejectParametersResult result)
{
    T_ASC_RejectParameters r;
    r.result = result;
    r.source = static_cast<T_ASC_RejectParametersSource>(source);
    r.reason = static_cast<T_ASC_RejectParametersReason>(source << 8 | reason);
    return ASC_rejectAssociation(s.association, &r).good() ? 0 : ERR_NETWORK;
}

int run(Session &s, T_ASC_Network *network, char *outcome, size_t size, struct err *e)
{
    OFCondition cond = ASC_receiveAssociation(network, &s.association, static_cast<long>(s.config->maximum_pdu_bytes));
    if (cond.bad()) {
        std::snprintf(outcome, size, "no association");
        return err_set(e, ERR_PROTOCOL, 0, "no association: %s", cond.text());
    }
    char calling[DUL_LEN_TITLE + 1] = "";
    char called[DUL_LEN_TITLE + 1] = "";
    char name[256] = "";
    ASC_getAPTitles(s.association->params, calling, sizeof calling, called, sizeof called, nullptr, 0);
    cond = ASC_getApplicationContextName(s.association->params, name, sizeof name);
    if (cond.bad() || std::strcmp(name, UID_StandardApplicationContext) != 0) {
        std::snprintf(outcome, size, "rejected");
        return reject(s, 1, 2, ASC_RESULT_REJECTEDPERMANENT);
    }
    const int refusal = s.ops->request(s.ctx, calling, called);
    if (refusal != 0) {
        std::snprintf(outcome, size, "rejected");
        return reject(s, refusal >> 8, refusal & 0xff, ASC_RESULT_REJECTEDPERMANENT);
    }
    cond = negotiate(s);
    if (cond.good()) {
        cond = ASC_acknowledgeAssociation(s.association);
    }
    if (cond.bad()) {
        ASC_abortAssociation(s.association);
        std::snprintf(outcome, size, "failed: %s", cond.text());
        return err_set(e, ERR_PROTOCOL, 0, "%s", cond.text());
    }
    s.link.peer_maximum_pdu = s.association->params->theirMaxPDUReceiveSize;
    const int rc = message_serve(&s.link, outcome, size, e);
    wire_say_goodbye(s.fd);
    return rc;
}

} // namespace

int scp_serve_fd(int fd, const struct scp_config *config, const struct scp_ops *ops, void *ctx, char *outcome, size_t outcome_size,
                 struct err *e)
{
    T_ASC_Network *network = nullptr;
    Session s = {fd, config, ops, ctx, nullptr, {}};
    s.link.transport = wire_transport(&s.fd);
    s.link.config = config;
    s.link.ops = ops;
    s.link.ops_ctx = ctx;
    int rc = ERR_PROTOCOL;
    try {
        OFLog::configure(OFLogger::OFF_LOG_LEVEL);
        dcmDisableGethostbyaddr.set(OFTrue);
        dcmSocketReceiveTimeout.set(config->network_timeout_s);
        dcmSocketSendTimeout.set(config->network_timeout_s);
        dcmExternalSocketHandle.set(fd);
        OFCondition cond = ASC_initializeNetwork(NET_ACCEPTOR, 0, config->acse_timeout_s, &network);
        if (cond.bad()) {
            std::snprintf(outcome, outcome_size, "failed: %s", cond.text());
            rc = err_set(e, ERR_PROTOCOL, 0, "%s", cond.text());
            close(fd);
        } else {
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
    return rc;
}
