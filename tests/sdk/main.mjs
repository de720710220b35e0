// main.mjs - drives a running stand-in with the official AWS SDK for JavaScript and asserts on every answer.
// From the environment: ENDPOINT, ACCESS_KEY, SECRET_KEY, REGION, BUCKET, DATASTORE, DICOM_FILE (a legal image). Exit 0: all as it must be.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import * as s3 from '@aws-sdk/client-s3';
import * as ahi from '@aws-sdk/client-medical-imaging';
import * as sqs from '@aws-sdk/client-sqs';
import * as sts from '@aws-sdk/client-sts';

const { ENDPOINT, ACCESS_KEY, SECRET_KEY, REGION, BUCKET, DATASTORE, DICOM_FILE } = process.env;
const owner = { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY };
const usual = { endpoint: ENDPOINT, region: REGION, credentials: owner, maxAttempts: 1 };
const S3 = (more = {}) => new s3.S3Client({ ...usual, forcePathStyle: true, ...more });
const AHI = (more = {}) => new ahi.MedicalImagingClient({ ...usual, disableHostPrefix: true, ...more });
const STS = (more = {}) => new sts.STSClient({ ...usual, ...more });
const SQS = (more = {}) => new sqs.SQSClient({ ...usual, ...more });
const store = S3();
const imaging = AHI();
const put = (Key, Body, more = {}) => store.send(new s3.PutObjectCommand({ Bucket: BUCKET, Key, Body, ...more }));
const get = (Key, more = {}) => store.send(new s3.GetObjectCommand({ Bucket: BUCKET, Key, ...more }));
const bytesOf = async (answer) => Buffer.from(await answer.Body.transformToByteArray());
const md5 = (bytes) => createHash('md5').update(bytes).digest('hex');
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function refused(promise, name, status) {
  const error = await promise.then(() => assert.fail(`not refused, expected ${name}`), (e) => e);
  assert.equal(error.name, name, `${error.name}: ${error.message}`);
  if (status) assert.equal(error.$metadata.httpStatusCode, status);
  return error;
}

async function fault(rules) {
  const answer = await fetch(`${ENDPOINT}/_local/faults`, { method: rules ? 'POST' : 'DELETE', body: rules ? JSON.stringify(rules) : undefined });
  assert.ok(answer.ok, await answer.text());
}

// Signs with a clock that is off: the SDK takes its time from Date.
async function withClock(offsetMs, run) {
  const Real = Date;
  globalThis.Date = class extends Real {
    constructor(...a) { super(...(a.length ? a : [Real.now() + offsetMs])); }
    static now() { return Real.now() + offsetMs; }
  };
  try { return await run(); } finally { globalThis.Date = Real; }
}

const tests = {
  async 'objects: put, head, get, range, conditions, delete'() {
    const body = Buffer.from('some bytes of an object');
    const done = await put('sdk/one object+&=é.txt', body, { Metadata: { batch: 'b1' }, ContentType: 'text/x-one' });
    assert.equal(done.ETag, `"${md5(body)}"`);
    assert.ok(done.ChecksumCRC32);
    const head = await store.send(new s3.HeadObjectCommand({ Bucket: BUCKET, Key: 'sdk/one object+&=é.txt', ChecksumMode: 'ENABLED' }));
    assert.deepEqual([head.ContentLength, head.ContentType, head.Metadata.batch, head.ChecksumCRC32], [body.length, 'text/x-one', 'b1', done.ChecksumCRC32]);
    assert.ok(Math.abs(head.LastModified - new Date()) < 60000);
    assert.deepEqual(await bytesOf(await get('sdk/one object+&=é.txt')), body);
    const part = await get('sdk/one object+&=é.txt', { Range: 'bytes=5-9' });
    assert.equal((await bytesOf(part)).toString(), 'bytes');
    assert.equal(part.ContentRange, `bytes 5-9/${body.length}`);
    await refused(get('sdk/one object+&=é.txt', { Range: 'bytes=500-' }), 'InvalidRange', 416);
    await refused(put('sdk/one object+&=é.txt', 'other', { IfNoneMatch: '*' }), 'PreconditionFailed', 412);
    await store.send(new s3.DeleteObjectCommand({ Bucket: BUCKET, Key: 'sdk/one object+&=é.txt' }));
    await refused(get('sdk/one object+&=é.txt'), 'NoSuchKey', 404);
    await refused(store.send(new s3.HeadObjectCommand({ Bucket: BUCKET, Key: 'sdk/none' })), 'NotFound', 404);
    await put('sdk/new', 'x', { IfNoneMatch: '*' });
  },

  async 'checksums: each kind by value and by stream, and wrong ones'() {
    const body = Buffer.alloc(300000, 'checksum');
    for (const kind of ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256']) {
      const plain = await put(`sdk/sum/${kind}`, body, { ChecksumAlgorithm: kind });
      assert.ok(plain[`Checksum${kind}`], kind);
      const stream = await put(`sdk/sum/stream-${kind}`, Readable.from([body.subarray(0, 100000), body.subarray(100000)]), { ChecksumAlgorithm: kind, ContentLength: body.length });
      assert.equal(stream[`Checksum${kind}`], plain[`Checksum${kind}`]);
      assert.deepEqual(await bytesOf(await get(`sdk/sum/stream-${kind}`, { ChecksumMode: 'ENABLED' })), body);
    }
    await put('sdk/sum/check', '123456789', { ChecksumCRC64NVME: 'rosUhgp5mIg=' }); // the published check value ae8b14860a799888
    await put('sdk/sum/check', '123456789', { ChecksumCRC32C: '4waSgw==' });
    await put('sdk/sum/check', '123456789', { ChecksumCRC32: 'y/Q5Jg==' });
    for (const wrong of [{ ChecksumCRC32C: 'AAAAAA==' }, { ChecksumCRC32: 'AAAAAA==' }, { ChecksumCRC64NVME: 'AAAAAAAAAAA=' },
      { ChecksumSHA256: createHash('sha256').update('no').digest('base64') }, { ContentMD5: createHash('md5').update('no').digest('base64') }]) {
      await refused(put('sdk/sum/never', 'yes', wrong), 'BadDigest', 400);
    }
    await refused(get('sdk/sum/never'), 'NoSuchKey', 404);
  },

  async 'listing: prefix, delimiter, pages'() {
    for (let i = 0; i < 25; i++) await put(`sdk/list/${i % 5}/${String(i).padStart(3, '0')}`, `${i}`);
    const list = (more) => store.send(new s3.ListObjectsV2Command({ Bucket: BUCKET, ...more }));
    const folders = await list({ Prefix: 'sdk/list/', Delimiter: '/' });
    assert.deepEqual(folders.CommonPrefixes.map((p) => p.Prefix), [0, 1, 2, 3, 4].map((n) => `sdk/list/${n}/`));
    assert.equal(folders.KeyCount, 5);
    const seen = [];
    for await (const page of s3.paginateListObjectsV2({ client: store, pageSize: 4 }, { Bucket: BUCKET, Prefix: 'sdk/list/' })) {
      assert.ok(page.Contents.length <= 4);
      seen.push(...page.Contents.map((o) => o.Key));
    }
    assert.equal(seen.length, 25);
    assert.deepEqual(seen, [...seen].sort());
    const two = [];
    for await (const page of s3.paginateListObjectsV2({ client: store, pageSize: 2 }, { Bucket: BUCKET, Prefix: 'sdk/list/', Delimiter: '/' })) two.push(...page.CommonPrefixes.map((p) => p.Prefix));
    assert.equal(two.length, 5);
    assert.equal((await list({ Prefix: 'sdk/list/', StartAfter: 'sdk/list/4/014' })).KeyCount, 2);
    assert.equal((await list({ Prefix: 'sdk/none/' })).KeyCount, 0);
    await put('sdk/list2/a <&> "b".dcm', 'x');
    assert.equal((await list({ Prefix: 'sdk/list2/' })).Contents[0].Key, 'sdk/list2/a <&> "b".dcm');
    await refused(list({ ContinuationToken: 'broken' }), 'InvalidArgument', 400);
    await refused(store.send(new s3.ListObjectsV2Command({ Bucket: 'no-such-bucket' })), 'NoSuchBucket', 404);
  },

  async 'buckets: create, head, list, delete'() {
    await store.send(new s3.CreateBucketCommand({ Bucket: 'sdk-bucket' }));
    await store.send(new s3.HeadBucketCommand({ Bucket: 'sdk-bucket' }));
    assert.ok((await store.send(new s3.ListBucketsCommand({}))).Buckets.some((b) => b.Name === 'sdk-bucket'));
    await refused(store.send(new s3.CreateBucketCommand({ Bucket: 'sdk-bucket' })), 'BucketAlreadyOwnedByYou', 409);
    await store.send(new s3.PutObjectCommand({ Bucket: 'sdk-bucket', Key: 'a', Body: 'a' }));
    await refused(store.send(new s3.DeleteBucketCommand({ Bucket: 'sdk-bucket' })), 'BucketNotEmpty', 409);
    await store.send(new s3.DeleteObjectCommand({ Bucket: 'sdk-bucket', Key: 'a' }));
    await store.send(new s3.DeleteBucketCommand({ Bucket: 'sdk-bucket' }));
    await refused(store.send(new s3.HeadBucketCommand({ Bucket: 'sdk-bucket' })), 'NotFound', 404);
    await refused(put('a', 'a', { ExpectedBucketOwner: '999999999999' }), 'AccessDenied', 403);
  },

  async 'options: encryption, KMS keys, storage class, tags, owner'() {
    const id = '01234567-89ab-cdef-0123-456789abcdef';
    const head = (Key) => store.send(new s3.HeadObjectCommand({ Bucket: BUCKET, Key }));
    assert.equal((await put('sdk/opt/plain', 'x')).ServerSideEncryption, 'AES256');
    const kms = await put('sdk/opt/kms', 'x', { ServerSideEncryption: 'aws:kms', SSEKMSKeyId: id, BucketKeyEnabled: true, StorageClass: 'STANDARD_IA', Tagging: 'a=1&b=x%20y',
      SSEKMSEncryptionContext: Buffer.from('{"site":"north"}').toString('base64'), ExpectedBucketOwner: '123456789012' });
    assert.deepEqual([kms.ServerSideEncryption, kms.BucketKeyEnabled], ['aws:kms', true]);
    assert.match(kms.SSEKMSKeyId, new RegExp(`^arn:aws:kms:${REGION}:[0-9]{12}:key/${id}$`));
    assert.notEqual(kms.ETag, `"${md5('x')}"`); // not of what was sent
    const seen = await head('sdk/opt/kms');
    assert.deepEqual([seen.ServerSideEncryption, seen.SSEKMSKeyId, seen.BucketKeyEnabled, seen.StorageClass], ['aws:kms', kms.SSEKMSKeyId, true, 'STANDARD_IA']);
    assert.equal((await get('sdk/opt/kms')).TagCount, 2);
    assert.equal((await put('sdk/opt/dsse', 'x', { ServerSideEncryption: 'aws:kms:dsse', SSEKMSKeyId: 'alias/images' })).ServerSideEncryption, 'aws:kms:dsse');
    for (const [more, name] of [[{ ServerSideEncryption: 'ROT13' }, 'InvalidEncryptionAlgorithmError'], [{ SSEKMSKeyId: id }, 'InvalidArgument'],
      [{ ServerSideEncryption: 'aws:kms', SSEKMSKeyId: 'alias/missing' }, 'KMS.NotFoundException'], [{ ServerSideEncryption: 'aws:kms', SSEKMSKeyId: 'nonsense' }, 'KMS.NotFoundException'],
      [{ ServerSideEncryption: 'aws:kms', SSEKMSEncryptionContext: 'bm8=' }, 'InvalidArgument'], [{ StorageClass: 'COLD' }, 'InvalidStorageClass'],
      [{ Tagging: 'a=1&a=2' }, 'InvalidArgument'], [{ Tagging: Array.from({ length: 11 }, (_, i) => `k${i}=v`).join('&') }, 'InvalidArgument'],
      [{ ExpectedBucketOwner: '12' }, 'InvalidBucketOwnerAWSAccountID']]) {
      await refused(put('sdk/opt/never', 'x', more), name, 400);
    }
    await refused(put('sdk/opt/never', 'x', { ExpectedBucketOwner: '999999999999' }), 'AccessDenied', 403);
    await refused(get('sdk/opt/never'), 'NoSuchKey', 404);
    // in parts: asked for at the beginning, told at the beginning and at the end
    const Key = 'sdk/opt/parts';
    const begun = await store.send(new s3.CreateMultipartUploadCommand({ Bucket: BUCKET, Key, ServerSideEncryption: 'aws:kms', SSEKMSKeyId: id, StorageClass: 'GLACIER_IR', Tagging: 'a=1' }));
    assert.deepEqual([begun.ServerSideEncryption, begun.SSEKMSKeyId], ['aws:kms', kms.SSEKMSKeyId]);
    const { UploadId } = begun;
    const { ETag } = await store.send(new s3.UploadPartCommand({ Bucket: BUCKET, Key, UploadId, PartNumber: 1, Body: 'all of it' }));
    const complete = (more) => store.send(new s3.CompleteMultipartUploadCommand({ Bucket: BUCKET, Key, UploadId, MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] }, ...more }));
    await put(Key, 'in the way');
    await refused(complete({ IfNoneMatch: '*' }), 'PreconditionFailed', 412);
    await store.send(new s3.DeleteObjectCommand({ Bucket: BUCKET, Key }));
    assert.equal((await complete({ IfNoneMatch: '*' })).ServerSideEncryption, 'aws:kms');
    const whole = await head(Key);
    assert.deepEqual([whole.ServerSideEncryption, whole.StorageClass, whole.ContentLength], ['aws:kms', 'GLACIER_IR', 9]);
    await refused(store.send(new s3.CreateMultipartUploadCommand({ Bucket: BUCKET, Key, StorageClass: 'COLD' })), 'InvalidStorageClass', 400);
  },

  async 'multipart: parts, listings, complete, abort'() {
    const parts = [Buffer.alloc(5 << 20, 'a'), Buffer.alloc(5 << 20, 'b'), Buffer.from('the end')];
    const Key = 'sdk/multipart';
    const begun = await store.send(new s3.CreateMultipartUploadCommand({ Bucket: BUCKET, Key, Metadata: { kind: 'multi' }, ChecksumAlgorithm: 'CRC32C' }));
    const UploadId = begun.UploadId;
    const etags = [];
    for (const [i, Body] of parts.entries()) {
      const done = await store.send(new s3.UploadPartCommand({ Bucket: BUCKET, Key, UploadId, PartNumber: i + 1, Body, ChecksumAlgorithm: 'CRC32C' }));
      assert.equal(done.ETag, `"${md5(Body)}"`);
      etags.push({ PartNumber: i + 1, ETag: done.ETag, ChecksumCRC32C: done.ChecksumCRC32C });
    }
    assert.deepEqual((await store.send(new s3.ListPartsCommand({ Bucket: BUCKET, Key, UploadId }))).Parts.map((p) => p.Size), parts.map((p) => p.length));
    assert.ok((await store.send(new s3.ListMultipartUploadsCommand({ Bucket: BUCKET }))).Uploads.some((u) => u.UploadId === UploadId));
    const complete = (Parts) => store.send(new s3.CompleteMultipartUploadCommand({ Bucket: BUCKET, Key, UploadId, MultipartUpload: { Parts } }));
    await refused(complete([etags[1], etags[0]]), 'InvalidPartOrder', 400);
    await refused(complete([{ ...etags[0], ETag: '"00000000000000000000000000000000"' }]), 'InvalidPart', 400);
    await refused(complete([etags[2] && { ...etags[2] }, { PartNumber: 4, ETag: '"x"' }]), 'EntityTooSmall', 400);
    const done = await complete(etags);
    const expected = createHash('md5').update(Buffer.concat(parts.map((p) => Buffer.from(md5(p), 'hex')))).digest('hex');
    assert.equal(done.ETag, `"${expected}-3"`);
    assert.match(done.ChecksumCRC32C, /-3$/);
    const back = await get(Key);
    assert.deepEqual(await bytesOf(back), Buffer.concat(parts));
    assert.equal(back.Metadata.kind, 'multi');
    await refused(complete(etags), 'NoSuchUpload', 404);
    const other = await store.send(new s3.CreateMultipartUploadCommand({ Bucket: BUCKET, Key: 'sdk/aborted' }));
    const which = { Bucket: BUCKET, Key: 'sdk/aborted', UploadId: other.UploadId };
    await store.send(new s3.UploadPartCommand({ ...which, PartNumber: 1, Body: 'x' }));
    await store.send(new s3.AbortMultipartUploadCommand(which));
    await refused(store.send(new s3.ListPartsCommand(which)), 'NoSuchUpload', 404);
    await refused(get('sdk/aborted'), 'NoSuchKey', 404);
  },

  async 'refusals: secret, key, clock, region'() {
    const wrong = { accessKeyId: ACCESS_KEY, secretAccessKey: 'wrong' };
    const nobody = { accessKeyId: 'AKIANOBODY', secretAccessKey: SECRET_KEY };
    const list = new s3.ListBucketsCommand({});
    const datastore = new ahi.GetDatastoreCommand({ datastoreId: DATASTORE });
    const who = new sts.GetCallerIdentityCommand({});
    await refused(S3({ credentials: wrong }).send(list), 'SignatureDoesNotMatch', 403);
    await refused(S3({ credentials: nobody }).send(list), 'InvalidAccessKeyId', 403);
    await refused(S3({ region: 'eu-west-1' }).send(list), 'AuthorizationHeaderMalformed', 400);
    await refused(AHI({ credentials: wrong }).send(datastore), 'InvalidSignatureException', 403);
    await refused(AHI({ credentials: nobody }).send(datastore), 'UnrecognizedClientException', 403);
    await refused(STS({ credentials: wrong }).send(who), 'SignatureDoesNotMatch', 403);
    await refused(STS({ credentials: nobody }).send(who), 'InvalidClientTokenId', 403);
    for (const offset of [-16 * 60000, 16 * 60000]) {
      await withClock(offset, () => refused(S3().send(list), 'RequestTimeTooSkewed', 403));
      await withClock(offset, () => refused(AHI().send(datastore), 'InvalidSignatureException', 403));
    }
    await withClock(14 * 60000, () => S3().send(list));
    // with a second attempt the SDK heals its clock by the Date of the answer
    await withClock(-3600000, () => S3({ maxAttempts: 3 }).send(list));
  },

  async 'credentials by STS, and their end'() {
    assert.equal((await STS().send(new sts.GetCallerIdentityCommand({}))).Account, '123456789012');
    const role = { RoleArn: 'arn:aws:iam::123456789012:role/local', RoleSessionName: 'test' };
    const of = (c) => ({ accessKeyId: c.AccessKeyId, secretAccessKey: c.SecretAccessKey, sessionToken: c.SessionToken });
    const assumed = (await STS().send(new sts.AssumeRoleCommand({ ...role, DurationSeconds: 900 }))).Credentials;
    assert.ok(Math.abs(assumed.Expiration - Date.now() - 900000) < 60000);
    await S3({ credentials: of(assumed) }).send(new s3.ListBucketsCommand({}));
    await AHI({ credentials: of(assumed) }).send(new ahi.GetDatastoreCommand({ datastoreId: DATASTORE }));
    const web = (await STS().send(new sts.AssumeRoleWithWebIdentityCommand({ ...role, WebIdentityToken: 'some.token', DurationSeconds: 1 }))).Credentials;
    await sleep(1100);
    await refused(S3({ credentials: of(web) }).send(new s3.ListBucketsCommand({})), 'ExpiredToken', 400);
    await refused(AHI({ credentials: of(web) }).send(new ahi.GetDatastoreCommand({ datastoreId: DATASTORE })), 'ExpiredTokenException', 403);
    await refused(S3({ credentials: { ...of(assumed), sessionToken: 'forged' } }).send(new s3.ListBucketsCommand({})), 'InvalidToken', 400);
  },

  async 'import job: start, token, follow, results'() {
    const file = await readFile(DICOM_FILE);
    await put('sdk/in/b1/first.dcm', file);
    await put('sdk/in/b1/broken.dcm', 'no image');
    const request = { datastoreId: DATASTORE, clientToken: 'sdk-token-1', jobName: 'sdk-b1', dataAccessRoleArn: 'arn:aws:iam::123456789012:role/local',
      inputS3Uri: `s3://${BUCKET}/sdk/in/b1/`, outputS3Uri: `s3://${BUCKET}/sdk/out/` };
    const start = (more) => imaging.send(new ahi.StartDICOMImportJobCommand({ ...request, ...more }));
    const started = await start();
    assert.equal(started.jobStatus, 'SUBMITTED');
    assert.ok(Math.abs(started.submittedAt - new Date()) < 60000);
    assert.equal((await start()).jobId, started.jobId);
    await refused(start(), 'ThrottlingException', 429);
    await sleep(1100);
    await refused(start({ jobName: 'other' }), 'ConflictException', 409);
    let job;
    for (let i = 0; i < 100; i++) {
      job = (await imaging.send(new ahi.GetDICOMImportJobCommand({ datastoreId: DATASTORE, jobId: started.jobId }))).jobProperties;
      if (job.jobStatus === 'COMPLETED') break;
      await sleep(100);
    }
    assert.equal(job.jobStatus, 'COMPLETED');
    assert.ok(job.endedAt >= job.submittedAt);
    assert.equal(job.outputS3Uri, `s3://${BUCKET}/sdk/out/${DATASTORE}-DicomImport-${started.jobId}/`);
    const folder = job.outputS3Uri.slice(`s3://${BUCKET}/`.length);
    const manifest = JSON.parse(await (await get(`${folder}job-output-manifest.json`)).Body.transformToString()).jobSummary;
    assert.deepEqual([manifest.numberOfScannedFiles, manifest.numberOfImportedFiles, manifest.numberOfFilesWithCustomerError, manifest.numberOfFilesWithServerError], [2, 1, 1, 0]);
    const success = JSON.parse(await (await get(`${folder}SUCCESS/success.ndjson`)).Body.transformToString());
    const failure = JSON.parse(await (await get(`${folder}FAILURE/failure.ndjson`)).Body.transformToString());
    assert.equal(success.inputFile, 'sdk/in/b1/first.dcm');
    assert.match(success.importResponse.imageSetId, /^[0-9a-f]{32}$/);
    assert.equal(failure.exception.message, 'DICOM attribute TransferSyntaxUID does not exist');
    const set = await imaging.send(new ahi.GetImageSetCommand({ datastoreId: DATASTORE, imageSetId: success.importResponse.imageSetId }));
    assert.equal(set.versionId, '1');
    const listed = await imaging.send(new ahi.ListDICOMImportJobsCommand({ datastoreId: DATASTORE, jobStatus: 'COMPLETED', maxResults: 1 }));
    assert.deepEqual([listed.jobSummaries[0].jobId, listed.jobSummaries[0].jobName], [started.jobId, 'sdk-b1']);
    await refused(imaging.send(new ahi.GetDICOMImportJobCommand({ datastoreId: DATASTORE, jobId: 'f'.repeat(32) })), 'ResourceNotFoundException', 404);
    await refused(imaging.send(new ahi.GetDatastoreCommand({ datastoreId: 'f'.repeat(32) })), 'ResourceNotFoundException', 404);
    await sleep(1100);
    await refused(start({ clientToken: 'sdk-2', dataAccessRoleArn: 'arn:aws:iam::1:user/x123456789' }), 'ValidationException', 400);
    const datastore = (await imaging.send(new ahi.GetDatastoreCommand({ datastoreId: DATASTORE }))).datastoreProperties;
    assert.equal(datastore.datastoreStatus, 'ACTIVE');
    assert.equal((await imaging.send(new ahi.ListDatastoresCommand({}))).datastoreSummaries[0].datastoreId, DATASTORE);
    const found = await imaging.send(new ahi.SearchImageSetsCommand({ datastoreId: DATASTORE, searchCriteria: { filters: [{ operator: 'EQUAL', values: [{ DICOMPatientId: 'SYN-1' }] }] } }));
    assert.equal(found.imageSetsMetadataSummaries[0].imageSetId, success.importResponse.imageSetId);
  },

  async 'queues: send, receive, delete, order and doubles of a FIFO queue, events of import jobs'() {
    const queues = SQS();
    const ask = (Command, more) => queues.send(new Command(more));
    const { QueueUrl } = await ask(sqs.CreateQueueCommand, { QueueName: 'sdk' });
    assert.equal((await ask(sqs.GetQueueUrlCommand, { QueueName: 'sdk' })).QueueUrl, QueueUrl);
    const sent = await ask(sqs.SendMessageCommand, { QueueUrl, MessageBody: 'one é' });
    const [one] = (await ask(sqs.ReceiveMessageCommand, { QueueUrl, WaitTimeSeconds: 1, VisibilityTimeout: 1, MaxNumberOfMessages: 10 })).Messages; // the SDK checks MD5OfBody
    assert.deepEqual([one.MessageId, one.Body], [sent.MessageId, 'one é']);
    assert.equal((await ask(sqs.ReceiveMessageCommand, { QueueUrl })).Messages, undefined);
    const [again] = (await ask(sqs.ReceiveMessageCommand, { QueueUrl, WaitTimeSeconds: 3 })).Messages;
    assert.deepEqual([again.MessageId, again.Attributes.ApproximateReceiveCount], [sent.MessageId, '2']);
    await ask(sqs.DeleteMessageCommand, { QueueUrl, ReceiptHandle: again.ReceiptHandle });
    const left = (await ask(sqs.GetQueueAttributesCommand, { QueueUrl, AttributeNames: ['All'] })).Attributes;
    assert.deepEqual([left.ApproximateNumberOfMessages, left.ApproximateNumberOfMessagesNotVisible], ['0', '0']);
    const fifo = (await ask(sqs.CreateQueueCommand, { QueueName: 'sdk.fifo', Attributes: { FifoQueue: 'true' } })).QueueUrl;
    for (const [MessageGroupId, text] of [['a', '1'], ['b', '2'], ['a', '3'], ['a', '3']]) {
      await ask(sqs.SendMessageCommand, { QueueUrl: fifo, MessageBody: text, MessageGroupId, MessageDeduplicationId: `d${text}` });
    }
    const first = (await ask(sqs.ReceiveMessageCommand, { QueueUrl: fifo, MaxNumberOfMessages: 1 })).Messages;
    const second = (await ask(sqs.ReceiveMessageCommand, { QueueUrl: fifo, MaxNumberOfMessages: 10 })).Messages;
    assert.deepEqual([first.map((m) => m.Body), second.map((m) => m.Body)], [['1'], ['2']]);
    await ask(sqs.DeleteMessageCommand, { QueueUrl: fifo, ReceiptHandle: first[0].ReceiptHandle });
    assert.deepEqual((await ask(sqs.ReceiveMessageCommand, { QueueUrl: fifo, MaxNumberOfMessages: 10 })).Messages.map((m) => m.Body), ['3']);
    const events = (await ask(sqs.GetQueueUrlCommand, { QueueName: 'job-events' })).QueueUrl;
    const told = (await ask(sqs.ReceiveMessageCommand, { QueueUrl: events, MaxNumberOfMessages: 10 })).Messages.map((m) => JSON.parse(m.Body));
    assert.deepEqual(told.slice(0, 3).map((e) => e['detail-type']), ['Import Job Submitted', 'Import Job In Progress', 'Import Job Completed']);
    assert.deepEqual([told[2].source, told[2].detail.jobName, told[2].detail.jobStatus, told[2].detail.datastoreId], ['aws.medical-imaging', 'sdk-b1', 'COMPLETED', DATASTORE]);
    await refused(ask(sqs.SendMessageCommand, { QueueUrl: QueueUrl + 'x', MessageBody: 'x' }), 'QueueDoesNotExist', 400);
    await refused(ask(sqs.DeleteMessageCommand, { QueueUrl, ReceiptHandle: 'x' }), 'ReceiptHandleIsInvalid', 400);
    await refused(SQS({ credentials: { ...owner, secretAccessKey: 'wrong' } }).send(new sqs.SendMessageCommand({ QueueUrl, MessageBody: 'x' })), 'InvalidSignatureException', 403);
  },

  async 'ordered faults: errors that the SDK heals, lost answers, wrong answers'() {
    await fault([{ operation: 'PutObject', key: 'sdk/slow', times: 2, action: 'error', status: 503, code: 'SlowDown' }]);
    await refused(put('sdk/slow', 'x'), 'SlowDown', 503);
    await S3({ maxAttempts: 3 }).send(new s3.PutObjectCommand({ Bucket: BUCKET, Key: 'sdk/slow', Body: 'x' }));
    await fault([{ operation: 'PutObject', key: 'sdk/lost', times: 1, action: 'reset_after' }]);
    await assert.rejects(put('sdk/lost', 'kept'));
    assert.equal((await bytesOf(await get('sdk/lost'))).toString(), 'kept');
    await fault([{ operation: 'GetObject', key: 'sdk/lost', times: 1, action: 'wrong_etag' }]);
    assert.equal((await get('sdk/lost')).ETag, `"${'0'.repeat(32)}"`);
    await fault([{ operation: 'ListBuckets', times: 1, action: 'expired_token' }]);
    await refused(store.send(new s3.ListBucketsCommand({})), 'ExpiredToken', 400);
    await fault(null);
    await store.send(new s3.ListBucketsCommand({}));
  },
};

let failed = 0;
for (const [name, run] of Object.entries(tests)) {
  try {
    await run();
    console.log(`ok   ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${error.stack}`);
  }
}
process.exit(failed ? 1 : 0);
