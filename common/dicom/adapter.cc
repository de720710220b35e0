/* adapter - see adapter.h. The only C++ of the product. */
#include "common/dicom/adapter.h"

#include "dcmtk/config/osconfig.h"
#include "dcmtk/dcmdata/dcdatset.h"
#include "dcmtk/dcmdata/dcdeftag.h"
#include "dcmtk/dcmdata/dcostrma.h"
#include "dcmtk/dcmdata/dcuid.h"
#include "dcmtk/dcmnet/assoc.h"
#include "dcmtk/dcmnet/dcmtrans.h"
#include "dcmtk/dcmnet/dimse.h"
#include "dcmtk/dcmnet/diutil.h"
#include "dcmtk/oflog/oflog.h"

#include <cstdio>
#include <cstring>
#include <unistd.h>

namespace {

/* Hands the data set's bytes to C. It always claims success: when the last PDV could not be written, DCMTK 3.6.7 would wait for one
 * more and dead-lock. The callee remembers the error and store_end tells it. */
class CallbackConsumer : public DcmConsumer {
  public:
    CallbackConsumer(const scp_ops *ops, void *ctx) : ops_(ops), ctx_(ctx) {}
    OFBool good() const override { return OFTrue; }
    OFCondition status() const override { return EC_Normal; }
    OFBool isFlushed() const override { return OFTrue; }
    offile_off_t avail() const override { return 1 << 30; }
    offile_off_t write(const void *bytes, offile_off_t count) override
    {
        ops_->store_write(ctx_, bytes, static_cast<size_t>(count));
        return count;
    }
    void flush() override {}

  private:
    const scp_ops *ops_;
    void *ctx_;
};

class CallbackStream : public DcmOutputStream {
  public:
    explicit CallbackStream(CallbackConsumer *consumer) : DcmOutputStream(consumer) {}
};

struct Session {
    const scp_config *config;
    const scp_ops *ops;
    void *ctx;
    T_ASC_Association *association;
    char syntaxes[256][DUL_LEN_NAME + 1]; /* the accepted transfer syntax of each presentation context id */
};

/*
 * DCMTK 3.6.7 refuses every message on a context whose transfer syntax it does not know (HTJ2K, JPEG XL, deflated frames), though
 * it only passes the bytes on. So, once the peer has its answer, our copy of the accepted contexts names a syntax that DCMTK
 * knows, and the true one is kept in Session::syntaxes.
 */
void hide_in(Session &s, LST_HEAD **list)
{
    if (*list == nullptr) {
        return;
    }
    auto *context = reinterpret_cast<DUL_PRESENTATIONCONTEXT *>(LST_Head(list));
    (void)LST_Position(list, reinterpret_cast<LST_NODE *>(context));
    while (context != nullptr) {
        if (context->acceptedTransferSyntax[0] != '\0') {
            char *kept = s.syntaxes[context->presentationContextID];
            if (kept[0] == '\0') {
                OFStandard::strlcpy(kept, context->acceptedTransferSyntax, sizeof s.syntaxes[0]);
            }
            OFStandard::strlcpy(context->acceptedTransferSyntax, UID_LittleEndianExplicitTransferSyntax,
                                sizeof context->acceptedTransferSyntax);
        }
        context = reinterpret_cast<DUL_PRESENTATIONCONTEXT *>(LST_Next(list));
    }
}

void hide_syntaxes(Session &s)
{
    hide_in(s, &s.association->params->DULparams.acceptedPresentationContext);
    hide_in(s, &s.association->params->DULparams.requestedPresentationContext);
}

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

OFCondition echo(Session &s, T_ASC_PresentationContextID id, T_DIMSE_C_EchoRQ *request)
{
    return DIMSE_sendEchoResponse(s.association, id, request, STATUS_Success, nullptr);
}

OFCondition store(Session &s, T_ASC_PresentationContextID id, T_DIMSE_C_StoreRQ *request)
{
    T_ASC_PresentationContext context;
    OFCondition cond = ASC_findAcceptedPresentationContext(s.association->params, id, &context);
    if (cond.bad()) {
        return cond;
    }
    scp_store told = {request->AffectedSOPClassUID, request->AffectedSOPInstanceUID, s.syntaxes[id]};
    char comment[65] = "";
    uint16_t status = 0;
    if (std::strcmp(context.abstractSyntax, request->AffectedSOPClassUID) != 0) {
        status = SCP_CLASS_MISMATCH;
        std::snprintf(comment, sizeof comment, "SOP class is not that of the presentation context");
    } else {
        status = s.ops->store_begin(s.ctx, &told);
        if (status != 0) {
            std::snprintf(comment, sizeof comment, "out of resources; send again later");
        }
    }
    T_ASC_PresentationContextID data_id = id;
    if (status != 0) {
        DIC_UL bytes = 0;
        DIC_UL pdvs = 0;
        cond = DIMSE_ignoreDataSet(s.association, DIMSE_NONBLOCKING, s.config->dimse_timeout_s, &bytes, &pdvs);
    } else {
        CallbackConsumer consumer(s.ops, s.ctx);
        CallbackStream stream(&consumer);
        cond = DIMSE_receiveDataSetInFile(s.association, DIMSE_NONBLOCKING, s.config->dimse_timeout_s, &data_id, &stream, nullptr,
                                          nullptr);
        if (cond.good() && data_id != id) {
            cond = makeDcmnetCondition(DIMSEC_INVALIDPRESENTATIONCONTEXTID, OF_error, "data set came on another presentation context");
        }
        status = s.ops->store_end(s.ctx, cond.good() ? 1 : 0, comment);
    }
    if (cond.bad()) {
        return cond;
    }
    T_DIMSE_C_StoreRSP response;
    std::memset(&response, 0, sizeof response);
    response.MessageIDBeingRespondedTo = request->MessageID;
    response.DimseStatus = status;
    response.DataSetType = DIMSE_DATASET_NULL;
    OFStandard::strlcpy(response.AffectedSOPClassUID, request->AffectedSOPClassUID, sizeof response.AffectedSOPClassUID);
    OFStandard::strlcpy(response.AffectedSOPInstanceUID, request->AffectedSOPInstanceUID, sizeof response.AffectedSOPInstanceUID);
    response.opts = O_STORE_AFFECTEDSOPCLASSUID | O_STORE_AFFECTEDSOPINSTANCEUID;
    DcmDataset detail;
    if (status != 0 && comment[0] != '\0') {
        detail.putAndInsertString(DCM_ErrorComment, comment);
    }
    return DIMSE_sendStoreResponse(s.association, id, request, &response, status != 0 ? &detail : nullptr);
}

/* One message after the other until the peer ends the association. */
OFCondition serve(Session &s)
{
    for (;;) {
        T_DIMSE_Message message;
        T_ASC_PresentationContextID id = 0;
        DcmDataset *detail = nullptr;
        OFCondition cond =
            DIMSE_receiveCommand(s.association, DIMSE_NONBLOCKING, s.config->network_timeout_s, &id, &message, &detail);
        delete detail;
        if (cond.bad()) {
            return cond;
        }
        if (message.CommandField == DIMSE_C_ECHO_RQ) {
            cond = echo(s, id, &message.msg.CEchoRQ);
        } else if (message.CommandField == DIMSE_C_STORE_RQ) {
            cond = store(s, id, &message.msg.CStoreRQ);
        } else {
            cond = makeDcmnetCondition(DIMSEC_BADCOMMANDTYPE, OF_error, "the operation is neither C-ECHO nor C-STORE");
        }
        if (cond.bad()) {
            return cond;
        }
    }
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
    if (cond.good()) {
        hide_syntaxes(s);
        cond = serve(s);
    }
    if (cond == DUL_PEERREQUESTEDRELEASE) {
        ASC_acknowledgeRelease(s.association);
        std::snprintf(outcome, size, "released");
        return 0;
    }
    if (cond == DUL_PEERABORTEDASSOCIATION) {
        std::snprintf(outcome, size, "aborted");
        return 0;
    }
    ASC_abortAssociation(s.association);
    std::snprintf(outcome, size, "failed: %s", cond.text());
    return err_set(e, ERR_PROTOCOL, 0, "%s", cond.text());
}

} // namespace

int scp_serve_fd(int fd, const struct scp_config *config, const struct scp_ops *ops, void *ctx, char *outcome, size_t outcome_size,
                 struct err *e)
{
    T_ASC_Network *network = nullptr;
    Session s = {config, ops, ctx, nullptr, {}};
    int rc = ERR_PROTOCOL;
    try {
        OFLog::configure(OFLogger::OFF_LOG_LEVEL);
        dcmDisableGethostbyaddr.set(OFTrue);
        dcmEnableAutomaticInputDataCorrection.set(OFFalse); /* UIDs of the command stay as sent */
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
            ASC_dropSCPAssociation(s.association, 1);
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
