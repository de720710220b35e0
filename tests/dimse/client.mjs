// client - one association of dcmjs-dimse; what to do comes as JSON on standard input, what happened goes as JSON to the last line of standard output.
//   {"port", "calling", "called", "echo": n, "files": [...], "options": options of Client.send}
//   -> {"accepted", "contexts": [[abstract, result, syntax], ...], "identity_response": bool, "async": [invoked, performed], "statuses": [...],
//       "rejected": [result, source, reason], "error"}
import { readFileSync, writeSync } from 'node:fs';
import dcmjsDimse from 'dcmjs-dimse';

const { Client, requests } = dcmjsDimse;
const task = JSON.parse(readFileSync(0, 'utf8'));
const told = { accepted: false, statuses: [] };

const client = new Client();
const addRequest = request => {
  request.on('response', response => told.statuses.push(response.getStatus()));
  client.addRequest(request);
};
for (let i = 0; i < (task.echo ?? 0); i++) {
  addRequest(new requests.CEchoRequest());
}
for (const file of task.files ?? []) {
  addRequest(new requests.CStoreRequest(file));
}
client.on('associationAccepted', association => {
  told.accepted = true;
  told.identity_response = association.getNegotiateUserIdentityServerResponse();
  told.async = association.getNegotiateAsyncOps() ? [association.getMaxAsyncOpsInvoked(), association.getMaxAsyncOpsPerformed()] : null;
  told.contexts = association.getPresentationContexts().map(({ context }) =>
    [context.getAbstractSyntaxUid(), context.getResult(), context.getAcceptedTransferSyntaxUid() ?? null]);
});
client.on('associationRejected', r => {
  told.rejected = [r.result, r.source, r.reason];
});
client.on('networkError', e => {
  told.error = String(e.message ?? e);
});
client.on('closed', () => {
  writeSync(1, JSON.stringify(told));
  process.exit(0);
});
setTimeout(() => {
  told.error = 'still not closed after 30 s';
  writeSync(1, JSON.stringify(told));
  process.exit(1);
}, 30000).unref();
client.send('127.0.0.1', task.port, task.calling ?? 'DCMJS', task.called ?? 'STORESCP', task.options ?? {});
