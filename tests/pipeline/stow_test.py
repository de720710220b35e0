#!/usr/bin/env python3
"""stow_test BUILD_DIR - destination_kind = dicomweb with HealthImaging's StoreDICOM, played by the stand-in: what is stored is byte for byte what lies in the
spool, lost answers and killed uploaders store nothing twice, every kind of refusal does what it should. (orthanc_test has a server that is none of ours.)"""
import hashlib
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, make_study, run_tool, same, say, until  # noqa: E402
from stowing import KEEP, send, settled, status_of_uploader  # noqa: E402
import scu  # noqa: E402

def spool_hashes(it):
    hashes = {}
    for instance, sop in it.query("SELECT id, sop_instance_uid FROM instance WHERE state = 'stored'"):
        with open(os.path.join(it.home, 'spool', 'obj', instance + '.dcm'), 'rb') as f:
            hashes[sop] = hashlib.sha256(f.read()).hexdigest()
    return hashes


def stored_once(it):
    """Every instance that is `stored` was stored by the service with these bytes, and none of them twice."""
    lines = it.aws_log('stores.log')
    same({sop: sha for _, sop, _, sha in lines if sop in spool_hashes(it)}, spool_hashes(it), 'what was stored and what lies in the spool')
    again = [line for line in it.aws_log('imports.log') if line[5] == 'again']
    same(again, [], 'versions made by repeats')


def is_stored(it):
    send(it, 1, 12)
    settled(it, {'stored': 12})
    stored_once(it)
    location = it.one("SELECT location FROM instance WHERE state = 'stored' LIMIT 1")
    check(re.fullmatch(rf'http://127\.0\.0\.1:{it.aws_port}/datastore/\w+/studies/[0-9.]+/series/[0-9.]+/instances/[0-9.]+', location), f'location: {location}')
    same(it.one('SELECT count(*) FROM batch'), 0, 'batches')
    policy = it.ctl('doctor', '--policy')
    check('medical-imaging:StoreDICOM' in policy and 's3:' not in policy, f'storescpctl doctor --policy: {policy}')
    why = it.ctl('why', it.one('SELECT id FROM instance LIMIT 1'))
    check(' stored' in why, f'storescpctl why: {why}')


def lost_answers(it):
    it.fault({'operation': 'StoreDICOM', 'action': 'reset_after', 'times': 3}, {'operation': 'StoreInstance', 'action': 'drop_result', 'times': 2})
    before = it.count('stored')
    send(it, 2, 20)
    until(lambda: it.count('stored') == before + 20, 30, 'all are stored')
    it.fault()
    stored_once(it)
    check(it.one("SELECT count(*) FROM instance WHERE warning LIKE 'found at the server%'") >= 3, 'the lost ones were found')


def killed(it):
    """The uploader dies again and again: the next one looks before it sends. What was still under way at that moment, at most upload_concurrency
    requests, may arrive after the look."""
    it.fault({'operation': 'StoreDICOM', 'action': 'delay', 'ms': 150})
    before = it.count('stored')
    send(it, 3, 40)
    deaths = 0
    while deaths < 3 and it.count('validated'):
        for stage, pid in it.living():
            if stage == 'uploader':
                os.kill(pid, signal.SIGKILL)
                deaths += 1
        time.sleep(0.3)
    it.fault()
    it.settle(None, 30)
    same(it.count('stored'), before + 40, 'stored')
    again = [line for line in it.aws_log('imports.log') if line[5] == 'again']
    check(deaths > 0 and len(again) <= 8 * deaths, f'{deaths} deaths, {len(again)} stored twice')
    say(f'{deaths} deaths; {len(again)} of 40 stored twice, because they were under way')


def refusals(it):
    send_kept = {}
    parts = []
    for seed, reason in ((4, 0xA900), (5, 0x0110), (6, 0xA700)):
        paths = make_study(os.path.join(it.work, f'study{seed}'), 1, 4000, seed)
        send_kept[reason] = scu.read_part10(paths[0])
        parts += paths
    it.fault({'operation': 'StoreInstance', 'key': send_kept[0xA900].sop_instance, 'action': 'failure_reason', 'reason': 0xA900},
             {'operation': 'StoreInstance', 'key': send_kept[0x0110].sop_instance, 'action': 'failure_reason', 'reason': 0x0110},
             {'operation': 'StoreInstance', 'key': send_kept[0xA700].sop_instance, 'action': 'failure_reason', 'reason': 0xA700, 'times': 2})
    code, output = run_tool('storescu', '127.0.0.1', str(it.port), *parts)
    same(code, 0, f'exit code of storescu {output}')
    seed = 100
    while it.count('failed') < 2 and seed < 130:  # others must pass while one does not: that is how it is told from an outage
        send(it, seed, 1, 4000)
        seed += 1
        time.sleep(0.4)
    it.settle(None, 30)
    failed = dict(it.query("SELECT sop_instance_uid, error_code || ': ' || error_text || ' / ' || remedy FROM instance WHERE state = 'failed'"))
    same(set(failed), {send_kept[0xA900].sop_instance, send_kept[0x0110].sop_instance}, 'failed instances')
    check('A900H' in failed[send_kept[0xA900].sop_instance] and 'retry ID' in failed[send_kept[0xA900].sop_instance], f'{failed}')
    check('attempt 2 of 2' in failed[send_kept[0x0110].sop_instance], f'{failed}')
    it.fault()
    it.ctl('retry', 'ALL')
    it.settle(None, 30)
    same(it.count('failed'), 0, 'failed after retry')


def denied(it):
    before = it.count('stored')
    it.fault({'operation': 'StoreDICOM', 'action': 'error', 'status': 403, 'code': 'AccessDeniedException', 'message': 'not authorized to perform medical-imaging:StoreDICOM'})
    send(it, 7, 4)
    until(lambda: 'AWS_ACCESS_DENIED' in status_of_uploader(it), 15, 'the uploader says what it waits for')
    same(it.one("SELECT sum(attempts) FROM instance WHERE state = 'validated'"), 0, 'attempts charged')
    it.fault()
    until(lambda: it.count('stored') == before + 4, 30, 'stored when it is allowed')


def signed_body(it):
    stored_once(it)
    it.configure(dicomweb_payload='sha256')
    it.ctl('reload')
    before = it.count('stored')
    send(it, 8, 3)
    until(lambda: it.count('stored') == before + 3, 20, 'stored with a signed body')
    check(it.one('SELECT count(*) FROM instance WHERE sha256 IS NOT NULL') >= 1, 'SHA-256 kept')
    stored_once(it)


def rebuilt(it):
    """state.db is lost, the spool files are there: what the service has is found, not stored again."""
    stored, lines = it.count('stored'), len(it.aws_log('stores.log'))
    it.stop()
    for name in os.listdir(os.path.join(it.home, 'state')):
        if name.startswith('state.db'):
            os.unlink(os.path.join(it.home, 'state', name))
    it.ctl('rebuild')
    it.start_up()
    it.settle(stored, 30)
    same(it.states(), {'stored': stored}, 'states')
    same(len(it.aws_log('stores.log')), lines, 'stored by the service')


def healthimaging(build):
    settings = dict(KEEP, dicomweb_auth='sigv4', dicomweb_attempts=2)
    with Installation(build, 'stow', settings, counts={'importer': 0}) as it:
        it.need_cloud()
        it.start()
        for part in (is_stored, refusals, denied, lost_answers, signed_body, killed, rebuilt):
            begun = time.monotonic()
            if part is not rebuilt:
                it.ctl('reload')  # without the pauses that the last part has taught
            part(it)
            say(f'StoreDICOM, {part.__name__}: ok, {time.monotonic() - begun:.1f} s')
        it.stop()
        it.check_log()


main(healthimaging)
