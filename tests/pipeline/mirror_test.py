#!/usr/bin/env python3
"""mirror_test BUILD_DIR - the job table of the commercial product, kept in a DynamoDB-compatible server (dynalite, from npm): every import job under
the product's own attribute names, all of them Strings; jobs from before the mirror too; never an older status over a newer one; what others have written
into an item stays; a server that is away or a table that is missing stops no import. Left out without node 18 or later, or without dynalite."""
import datetime
import hashlib
import http.client
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from aws import sign  # noqa: E402
from harness import Installation, TOP, check, clean_environment, free_port, main, make_study, run_tool, same, say, until  # noqa: E402
from make_dicom import study_uid  # noqa: E402
from node import need  # noqa: E402

TABLE = 'DicomImportJobTable'
NAMES = {'jobId', 'jobStatus', 'submittedAt', 'endedAt', 'inputS3Uri', 'outputS3Uri', 'datastoreId', 'dataAccessRoleArn', 'studyInstanceUID', 'seriesInstanceUID'}


class Dynalite:
    def __init__(self, node, directory):
        self.command = [node, os.path.join(directory, 'node_modules', 'dynalite', 'cli.js'), '--host', '127.0.0.1', '--createTableMs', '0']
        self.port, self.process = free_port(), None

    def start(self):
        self.process = subprocess.Popen([*self.command, '--port', str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment())
        until(self.answers, 20, 'dynalite answers')

    def answers(self):
        try:
            return self.call('ListTables')[0] == 200
        except OSError:
            return False

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def call(self, operation, **body):
        now = datetime.datetime.now(datetime.timezone.utc).strftime('%Y%m%dT%H%M%SZ')
        data = json.dumps(body).encode()
        headers = {'host': f'127.0.0.1:{self.port}', 'x-amz-date': now, 'x-amz-target': f'DynamoDB_20120810.{operation}', 'content-type': 'application/x-amz-json-1.0'}
        headers['authorization'] = sign('POST', '/', '', headers, hashlib.sha256(data).hexdigest(), 'dynamodb', now)[0]
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=10)
        try:
            connection.request('POST', '/', data, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b'{}')
        finally:
            connection.close()

    def make_table(self):
        status, answer = self.call('CreateTable', TableName=TABLE, KeySchema=[{'AttributeName': 'jobId', 'KeyType': 'HASH'}], BillingMode='PAY_PER_REQUEST',
                                   AttributeDefinitions=[{'AttributeName': 'jobId', 'AttributeType': 'S'}])
        check(status == 200, f'CreateTable: {status} {answer}')
        until(lambda: self.call('DescribeTable', TableName=TABLE)[1].get('Table', {}).get('TableStatus') == 'ACTIVE', 10, 'the table is there')

    def items(self):
        status, answer = self.call('Scan', TableName=TABLE)
        return {i['jobId']['S']: i for i in answer['Items']} if status == 200 else {}

    def set(self, job, name, value):
        status, answer = self.call('UpdateItem', TableName=TABLE, Key={'jobId': {'S': job}}, UpdateExpression='SET #n = :v', ExpressionAttributeNames={'#n': name},
                                   ExpressionAttributeValues={':v': {'S': value}})
        check(status == 200, f'UpdateItem: {status} {answer}')


class Mirrored(Installation):
    seed = 9900

    def send(self, count):
        Mirrored.seed += 1
        paths = make_study(os.path.join(self.work, f'study{Mirrored.seed}'), count, 2000, Mirrored.seed)
        code, output = run_tool('dcmsend', '--scan-directories', '127.0.0.1', str(self.port), os.path.dirname(paths[0]))
        same(code, 0, f'dcmsend ({output.strip()[-300:]})')
        return study_uid(Mirrored.seed)

    def job_of(self, study):
        return until(lambda: next(iter(self.query('SELECT jobId FROM import_job JOIN batch ON batch.id = import_job.batch WHERE study_uid = ? AND jobId IS NOT NULL',
                                                  study)), None), 20, 'its job has started')[0]

    def imported(self, study, count):
        until(lambda: self.one("SELECT count(*) FROM instance WHERE study_uid = ? AND state = 'imported'", study) == count, 20, f'{count} images are imported')


def ended(db, job):
    return until(lambda: (lambda i: i if i and i.get('jobStatus') == {'S': 'COMPLETED'} else None)(db.items().get(job)), 20, f'job {job} is COMPLETED in the table')


def check_item(it, item):
    same([k for k, v in item.items() if list(v) != ['S']], [], 'attributes that are no String')
    same(set(item), NAMES, 'the names of the attributes')
    row = it.query('SELECT inputS3Uri, outputS3Uri, datastoreId, dataAccessRoleArn, submittedAt, endedAt FROM import_job WHERE jobId = ?', item['jobId']['S'])[0]
    same([item[n]['S'] for n in ('inputS3Uri', 'outputS3Uri', 'datastoreId', 'dataAccessRoleArn')], list(row[:4]), 'its values')
    for name, ms in (('submittedAt', row[4]), ('endedAt', row[5])):
        at = datetime.datetime.strptime(item[name]['S'], '%Y-%m-%dT%H:%M:%S.%f%z')
        same(round(at.timestamp() * 1000), ms, name)


def test(build):
    directory = os.path.join(TOP, 'tests', 'dynamodb')
    node = need(directory)
    db = Dynalite(node, directory)
    try:
        with Mirrored(build, 'mirror', {'batch_quiet_ms': 200, 'import_poll_ms': 100, 'events_call_ms': 1000},
                      aws_options=('--job-ms', '1200', '--start-per-second', '20')) as it:
            it.need_cloud()
            db.start()
            it.start()
            before = it.send(1)
            it.imported(before, 1)

            it.configure(dynamodb_table=TABLE, endpoint_url_dynamodb=f'http://127.0.0.1:{db.port}')
            it.ctl('reload')
            until(lambda: it.query("SELECT 1 FROM outbox WHERE error_code = 'AWS_NOT_FOUND'"), 20, 'the missing table is noted')
            check(any('dynamodb' in w and 'AWS_NOT_FOUND' in w and 'queue or table' in w for w in it.status()['warnings']), f'status does not tell: {it.status()["warnings"]}')
            db.make_table()
            study = it.send(2)
            it.imported(study, 2)
            say('ok: a table that is missing is told, and stops no import')
            check_item(it, ended(db, it.job_of(study)))
            same(db.items()[it.job_of(study)]['studyInstanceUID']['S'], study, 'the study of the job')
            ended(db, it.job_of(before))
            say('ok: every job under the names of the commercial product, those from before the mirror too')

            newer = it.send(1)
            job = it.job_of(newer)
            until(lambda: job in db.items(), 20, 'the job is in the table before it has ended')
            check(db.items()[job]['jobStatus']['S'] in ('SUBMITTED', 'IN_PROGRESS'), 'its status then')
            db.set(job, 'jobStatus', 'FAILED')
            it.imported(newer, 1)
            until(lambda: it.one("SELECT count(*) FROM outbox") == 0, 20, 'the mirror is done')
            same(db.items()[job]['jobStatus']['S'], 'FAILED', 'a status that had ended and was overwritten by another')
            say('ok: a status that has ended is not overwritten')

            db.stop()
            away = [it.send(1) for _ in range(2)]
            for one in away:
                it.imported(one, 1)
            same(it.one('SELECT count(*) FROM outbox'), 2, 'rows for two jobs, however often they changed')
            db.start()  # in memory: it has forgotten all
            db.make_table()
            db.set(it.job_of(away[0]), 'reviewed', 'yes')
            for one in away:
                ended(db, it.job_of(one))
            same(db.items()[it.job_of(away[0])].get('reviewed'), {'S': 'yes'}, 'what others wrote into the item')
            until(lambda: it.one('SELECT count(*) FROM outbox') == 0, 20, 'nothing waits')
            say('ok: away for a while: one row for each job, told in the end, and what others wrote stays')
            it.stop()
            it.check_invariants()
    finally:
        db.stop()


main(test)
