// commitment - asks for storage commitment with dcmjs-dimse and hears the report; JSON on standard input, JSON on the last line of standard output.
//   {"port", "calling", "transaction", "references": [[class, instance], ...], "linger_ms": how long the association stays open,
//    "listen": port for reports on new associations, 0: none}
//   -> {"status", "reports": [{"where": "same"|"new", "type", "transaction", "committed": [...], "failed": {instance: reason}, "calling"}], "error"}
import { readFileSync, writeSync } from 'node:fs';
import dcmjsDimse from 'dcmjs-dimse';

const { Client, Dataset, Scp, Server, requests, responses, constants } = dcmjsDimse;
const task = JSON.parse(readFileSync(0, 'utf8'));
const told = { status: null, reports: [] };
const push = '1.2.840.10008.1.20.1';
const list = sequence => (sequence === undefined ? [] : Array.isArray(sequence) ? sequence : [sequence]);

const end = code => {
  writeSync(1, '\n' + JSON.stringify(told));
  process.exit(code);
};
setTimeout(() => {
  told.error = 'no report within 25 s';
  end(1);
}, 25000).unref();

const hear = (where, calling) => (request, callback) => {
  const elements = request.getDataset().getElements();
  const failed = {};
  for (const item of list(elements.FailedSOPSequence)) {
    failed[item.ReferencedSOPInstanceUID] = item.FailureReason;
  }
  told.reports.push({
    where, calling, type: request.getEventTypeId(), transaction: elements.TransactionUID, failed,
    committed: list(elements.ReferencedSOPSequence).map(item => item.ReferencedSOPInstanceUID),
  });
  const response = responses.NEventReportResponse.fromRequest(request);
  response.setStatus(constants.Status.Success);
  callback(response);
  setTimeout(() => end(0), 500);
};

class Listener extends Scp {
  associationRequested(association) {
    this.association = association;
    for (const { id } of association.getPresentationContexts()) {
      const context = association.getPresentationContext(id);
      context.setResult(context.getAbstractSyntaxUid() === push ? constants.PresentationContextResult.Accept
        : constants.PresentationContextResult.RejectAbstractSyntaxNotSupported, context.getTransferSyntaxUids()[0]);
    }
    this.sendAssociationAccept();
  }

  nEventReportRequest(request, callback) {
    hear('new', this.association.getCallingAeTitle())(request, callback);
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}
if (task.listen > 0) {
  new Server(Listener).listen(task.listen);
}

const request = new requests.NActionRequest(push, push + '.1', 1);
request.setDataset(new Dataset({
  TransactionUID: task.transaction,
  ReferencedSOPSequence: task.references.map(([sopClass, instance]) => ({ ReferencedSOPClassUID: sopClass, ReferencedSOPInstanceUID: instance })),
}));
request.on('response', response => {
  told.status = response.getStatus();
});
const client = new Client();
client.addRequest(request);
client.on('nEventReportRequest', hear('same', null));
client.on('networkError', e => {
  told.error = String(e.message ?? e);
});
client.send('127.0.0.1', task.port, task.calling, 'STORESCP', { associationLingerTimeout: task.linger_ms });
