#!/usr/bin/env python3
"""events_test BUILD_DIR - who is told of finished studies and refused instances hears it: once on a good day, in order, signed, without patient
data; later, under the same id and with the same bytes, when he was away, slow, angry, or when the importer died between telling and noting it.
Imports wait for nobody. And HealthImaging's events shorten the way to `imported` when looks at jobs are rare."""
import base64
import contextlib
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, beside, check, main, make_study, run_tool, same, say, until  # noqa: E402
from listener import Listener, Queue, valid  # noqa: E402
from make_dicom import study_uid  # noqa: E402

SECRET = b'\x01\x02 a key of the tests'


class Told(Installation):
    seed = 8800

    def send(self, count, seed=None, modality='CT'):
        """-> study UID; the same seed with a larger count: more images of the same study"""
        if seed is None:
            self.seed += 1
            seed = self.seed
        paths = make_study(os.path.join(self.work, f'study{seed}.{count}'), count, 2000, seed, modality)
        code, output = run_tool('dcmsend', '--scan-directories', '127.0.0.1', str(self.port), os.path.dirname(paths[0]))
        same(code, 0, f'dcmsend ({output.strip()[-300:]})')
        return study_uid(seed)

    def undelivered(self):
        return self.one('SELECT count(*) FROM outbox')

    def delivered(self, seconds=20):
        until(lambda: self.undelivered() == 0, seconds, 'nothing waits to be told')

    def imported(self, study, count, seconds=20):
        until(lambda: self.one("SELECT count(*) FROM instance WHERE study_uid = ? AND state IN ('imported', 'failed')", study) == count, seconds, f'{count} images have their end')

    def kill_importer(self):
        for stage, pid in self.living():
            if stage == 'importer':
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def good_day(it, hook, queue):
    study = it.send(3)
    until(lambda: hook.of(study), 20, 'the study is told')
    event, = hook.of(study)
    it.delivered()
    s = event['study']
    same((event['type'], event['source'], event['destination'], s['revision'], s['outcome']), ('study.finished', 'STORESCP', 'default', 1, 'complete'), 'the event')
    same({k: v for k, v in s['instances'].items() if v}, {'imported': 3}, 'its counts')
    same(s['jobs'], [r[0] for r in it.query('SELECT DISTINCT job_id FROM instance WHERE study_uid = ?', study)], 'its jobs')
    same([(x['id'], x['instances'], x['primary']) for x in s['image_sets']],
         it.query('SELECT image_set_id, count(*), is_primary FROM instance WHERE study_uid = ? GROUP BY 1', study), 'its image sets')
    bodies = queue.take()
    same([json.loads(b) for b in bodies], [event], 'the same event in the queue, once')
    for word in (b'SYNTHETIC', b'SYN-1', b'SYN' + study[-6:].encode(), b'20260102'):
        check(all(word not in body for _, _, body in hook.seen), f'an event holds patient data: {word}')
    say('ok: a finished study, once, on both ways, without patient data')
    it.send(4, it.seed)
    until(lambda: len(hook.of(study)) == 2, 20, 'the late image is told')
    late = hook.of(study)[1]['study']
    same((late['revision'], late['instances']['imported'], late['instances']['duplicate']), (2, 4, 3), 'the second revision')
    it.delivered()
    say('ok: a late image makes a second revision')


def elsewhere(it, hook):
    """A destination where nothing is imported has its own events."""
    study = it.send(2, modality='MR')
    until(lambda: hook.of(study), 20, 'the study is told')
    event, = hook.of(study)
    same((event['destination'], event['study']['outcome'], event['study']['jobs']), ('archive', 'complete', []), 'the event of another destination')
    same({k: v for k, v in event['study']['instances'].items() if v}, {'stored': 2}, 'its counts')
    it.delivered()
    say('ok: a study that is stored and not imported')


def failures(it, hook, queue):
    queue.take()
    it.fault({'operation': 'ImportFile', 'action': 'customer_error', 'times': 1})
    study = it.send(3)
    until(lambda: hook.of(study, 'study.finished'), 20, 'the study is told')
    it.fault()
    it.delivered()
    same([e['type'] for e in hook.of(study)], ['instance.failed', 'study.finished'], 'the order at the webhook')
    same([json.loads(b)['type'] for b in queue.take()], ['instance.failed', 'study.finished'], 'the order in the FIFO queue')
    failed, finished = hook.of(study)
    row = it.query("SELECT id, sop_instance_uid, error_code FROM instance WHERE study_uid = ? AND state = 'failed'", study)[0]
    same((failed['instance']['id'], failed['instance']['sop_instance_uid'], failed['instance']['code']), row, 'the failed instance')
    check('re-send' in failed['instance']['remedy'] and failed['instance']['sentence'], f'no remedy: {failed}')
    check('ordered fault' not in json.dumps([failed, finished]), 'words of the service about a file left the machine')
    same(finished['study']['outcome'], 'needs attention', 'the outcome')
    same([f['id'] for f in finished['study']['failures']], [row[0]], 'its failures')
    it.ctl('retry', row[0])
    until(lambda: len(hook.of(study, 'study.finished')) == 2, 20, 'the study is told again')
    same(hook.of(study)[-1]['study']['outcome'], 'complete', 'the outcome after the retry')
    it.delivered()
    say('ok: a failed image first, then its study; again when it was healed')


def trouble(it, hook, mode, code, who):
    """Nothing is lost, imports go on, and a person is told."""
    if mode == 'away':
        hook.close()
    else:
        hook.mode, hook.slow_s = mode, 1.5
    study = it.send(1)
    it.imported(study, 1)
    until(lambda: it.query('SELECT 1 FROM outbox WHERE error_code = ?', code), 20, f'{code} is noted')
    until(lambda: any('webhook' in w and code in w for w in it.status()['warnings']), 10, f'status tells of {code}')
    check(it.status()['events']['webhook']['waiting'] >= 1, 'status counts what waits')
    same(bool(it.log_lines('telling_waits', code)), who == 'a person', 'an alarm')
    if mode == 'away':
        begun = time.monotonic()
        it.imported(it.send(2), 2, 10)
        check(time.monotonic() - begun < 5, 'imports wait for the webhook')
        hook.open()
    hook.mode = 'ok'
    until(lambda: hook.of(study), 30, 'the study is told after all')
    it.delivered(30)
    ids = {i for i, e, _ in hook.seen if e.get('study', {}).get('study_instance_uid') == study}
    same(len(ids), 1, 'ids under which the study was told, in all attempts')
    same(len({b for i, _, b in hook.seen if i in ids}), 1, 'different bytes under one id')
    say(f'ok: {mode}: {code}, healed by {who}, told in the end under one id with the same bytes')


def refused_alone(it, hook):
    bad = it.send(1)
    hook.mode = lambda e: 422 if (e.get('study') or e['instance'])['study_instance_uid'] == bad else 200
    until(lambda: it.query("SELECT 1 FROM outbox WHERE error_code = 'EVENT_REFUSED'"), 20, 'the refusal is noted')
    good = it.send(1)
    until(lambda: hook.of(good), 20, 'another study is told all the same')
    check(not hook.of(bad), 'the refused one counts as told')
    hook.mode = 'ok'
    until(lambda: hook.of(bad), 30, 'the refused one is told when the listener is healed')
    it.delivered()
    say('ok: an event that is refused as such holds up no other study')


def killed(it, hook):
    """The listener has it, we do not know that: it hears it again under the same id, and never not at all."""
    hook.mode = 'hold'
    before = len(hook.seen)
    study = it.send(1)
    until(lambda: len(hook.seen) > before, 20, 'the listener has the event')
    it.kill_importer()
    hook.mode = 'ok'
    until(lambda: hook.of(study), 30, 'the event is told again')
    it.delivered()
    attempts = [(i, b) for i, e, b in hook.seen if e.get('study', {}).get('study_instance_uid') == study]
    check(len(attempts) >= 2 and len(set(attempts)) == 1, f'{len(attempts)} attempts, {len(set(attempts))} different')
    say('ok: killed between telling and noting: twice under the same id, with the same bytes')


def dropped(it, hook):
    """A person gives up what waits; what comes later is told."""
    hook.mode = 410
    it.send(1)
    until(lambda: it.query("SELECT 1 FROM outbox WHERE error_code = 'EVENT_LISTENER'"), 20, 'one waits')
    check('EVENT_LISTENER' in it.ctl('events') and json.loads(it.ctl('events', '--json'))['waiting'], '`events` lists it')
    it.ctl('events', 'drop', 'nobody', code=1)
    it.ctl('events', 'drop', 'webhook')
    same(it.one("SELECT count(*) FROM outbox WHERE target = 'webhook'"), 0, 'what waits after a person dropped it')
    hook.mode = 'ok'
    say('ok: a person may drop what waits')


def hints(build):
    """Looks at jobs every 20 s only: an event makes the difference. Whatever else comes into the queue does no harm."""
    with Told(build, 'hints', {'batch_quiet_ms': 300, 'import_poll_ms': 20000, 'import_poll_hinted_ms': 20000}, aws_options=('--job-ms', '1000', '--events', 'hints')) as it:
        it.need_cloud()
        queue = Queue(it.aws_port, 'hints')
        it.configure(hints_sqs_queue_url=queue.url)
        allowed = [s for s in json.loads(it.ctl('doctor', '--policy', '--json'))['destinations'][0]['credentials']['Statement'] if 'sqs:ReceiveMessage' in s['Action']]
        same([s['Resource'] for s in allowed], [['arn:aws:sqs:us-east-1:123456789012:hints']], 'what the policy allows')
        it.start()
        event = {'version': '0', 'source': 'aws.medical-imaging', 'detail-type': 'Import Job Completed', 'detail': {'jobId': 'f' * 32, 'jobName': 'x', 'jobStatus': 'COMPLETED'}}
        for text in ('', '{', 'null', '[]', '"x"', '{"source": 1}', json.dumps(dict(event, detail=None)), json.dumps(dict(event, detail={'jobId': '../..'})),
                     json.dumps(event), json.dumps({'Type': 'Notification', 'Message': '{'}), 'x' * 300000, json.dumps(dict(event, source='aws.s3'))):
            if text:
                queue.send(text)
        begun = time.monotonic()
        study = it.send(2)
        it.imported(study, 2, 15)
        took = time.monotonic() - begun
        check(took < 10, f'imported after {took:.1f} s in spite of events')
        until(lambda: queue.counts() == (0, 0), 15, 'every message is deleted')
        check(it.one('SELECT count(*) FROM import_job WHERE hinted_ms IS NOT NULL') == 1, 'no hint was noted')
        queue.send(json.dumps(event))
        it.imported(it.send(1), 1, 15)
        it.fault({'operation': 'ReceiveMessage', 'action': 'error', 'status': 403, 'code': 'AccessDeniedException'})
        it.ctl('reload')
        until(lambda: any('without hints' in w and 'AWS_ACCESS_DENIED' in w for w in it.status()['warnings']), 15, 'status tells that the queue refuses us')
        it.fault()
        until(lambda: not it.status()['warnings'], 30, 'and that it takes us again')
        it.stop()
        it.check_invariants()
        say(f'ok: imported after {took:.1f} s with looks every 20 s; what is no event of ours does no harm')


@contextlib.contextmanager
def told(build, name):
    with Listener(SECRET) as hook, Told(build, name, {'batch_quiet_ms': 200, 'events_quiet_ms': 400, 'events_call_ms': 1000, 'import_poll_ms': 100}, {'importer': 2},
                                        aws_options=('--job-ms', '100', '--start-per-second', '20', '--queue', 'told.fifo')) as it:
        it.need_cloud()
        queue = Queue(it.aws_port, 'told.fifo')
        it.sections = {'destination archive': {'for_modality': 'MR', 'destination_kind': 's3', 's3_prefix': 'archive'}}
        it.configure(events_webhook_url=hook.url, events_webhook_secret='whsec_' + base64.b64encode(SECRET).decode(), events_sqs_queue_url=queue.url)
        it.start()
        yield it, hook, queue
        same(hook.bad, [], 'requests that were not as docs/events.md says')
        for body in queue.take():
            valid(json.loads(body))
        it.stop()
        same(it.one('SELECT count(*) FROM outbox WHERE owner IS NOT NULL'), 0, 'claims of the outbox after SIGTERM')
        it.check_invariants()


def good_and_bad(build):
    with told(build, 'events') as (it, hook, queue):
        good_day(it, hook, queue)
        elsewhere(it, hook)
        failures(it, hook, queue)
        killed(it, hook)
        dropped(it, hook)


def troubles(build):
    with told(build, 'events-trouble') as (it, hook, _):
        for words in (('away', 'NETWORK', 'itself'), (503, 'EVENT_LISTENER_BUSY', 'itself'), ('slow', 'TIMEOUT', 'itself'), (410, 'EVENT_LISTENER', 'a person')):
            trouble(it, hook, *words)
        refused_alone(it, hook)


def test(build):
    beside(lambda: good_and_bad(build), lambda: troubles(build), lambda: hints(build))


main(test)
