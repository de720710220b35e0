#!/usr/bin/env python3
"""lost_answer_test BUILD_DIR - S3 stored an object and its answer was lost; what comes after must neither import the image twice nor lose it: its spool
file disappears, S3 refuses the next request, or nobody may look at the bucket and a person tries again. Also: an image came twice, the
first copy's file is lost before it was uploaded; the second takes its place."""
import json
import os
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, make_study, run_tool, same, say, until  # noqa: E402


class Clinic(Installation):
    studies = 0

    def order(self, *rules):
        url = f'http://127.0.0.1:{self.aws_port}/_local/faults'
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(urllib.request.Request(url, method='DELETE'), timeout=10).close()
        if rules:
            opener.open(urllib.request.Request(url, json.dumps(rules).encode(), {'Content-Type': 'application/json'}), timeout=10).close()

    def new_study(self):
        """-> paths of two images"""
        Clinic.studies += 1
        return make_study(os.path.join(self.work, f'study{Clinic.studies}'), 2, 2000, 7100 + Clinic.studies)

    def send(self, *paths):
        code, output = run_tool('dcmsend', '127.0.0.1', str(self.port), *paths)
        same(code, 0, f'dcmsend ({output.strip()[-300:]})')

    def put_keys(self):
        return [line[1] for line in self.aws_log('puts.log') if line[1].endswith('.dcm')]

    def lose(self, instance):
        os.remove(os.path.join(self.home, 'spool', 'obj', instance + '.dcm'))


LOST = {'operation': 'PutObject', 'times': 1, 'action': 'reset_after'}
REFUSED = {'operation': 'PutObject', 'skip': 1, 'action': 'error', 'status': 400, 'code': 'InvalidRequest'}


def first_put_is_lost(it, *rules):
    """One image whose object stands in S3 without its row knowing; -> (its id, the other image of its study)"""
    before = len(it.put_keys())
    it.order(LOST, *rules)
    path, other = it.new_study()
    it.send(path)
    until(lambda: len(it.put_keys()) > before, 20, 'S3 stored the object')
    return it.one('SELECT id FROM instance ORDER BY received_ms DESC, id DESC LIMIT 1'), other


def test(build):
    with Clinic(build, 'lostanswer', {'batch_quiet_ms': 4000, 'spool_keep_imported_s': 3600}) as it:
        it.need_cloud()
        it.start()

        # the spool file is lost after S3 had it: it is uploaded, and imported
        instance, _ = first_put_is_lost(it, {'operation': 'PutObject', 'skip': 1, 'action': 'error', 'status': 503, 'code': 'SlowDown'})
        it.lose(instance)
        it.order()
        it.settle(1)
        same(it.states(), {'imported': 1}, 'lost answer, then a lost file')
        say('ok: an object that S3 has needs no spool file any more')

        # S3 refuses the repetition: it is uploaded all the same
        first_put_is_lost(it, REFUSED)
        it.settle(2)
        it.order()
        same(it.states(), {'imported': 2}, 'lost answer, then a refusal')
        say('ok: a refused repetition of what S3 has is no failure')

        # nobody may look: it counts as failed; its object is not imported behind its back, a retry imports it once
        instance, other = first_put_is_lost(it, REFUSED, {'operation': 'HeadObject', 'action': 'error', 'status': 403, 'code': 'AccessDenied'})
        until(lambda: it.count('failed') == 1, 30, 'it counts as failed')
        it.order()
        batch = it.one('SELECT batch FROM instance WHERE id = ?', instance)
        same([k for k in it.put_keys() if instance in k], [f'storescp/{batch}/{instance}.dcm'], 'its object')
        it.send(other)
        it.settle(4)
        same(it.states(), {'imported': 3, 'failed': 1}, 'failed with an object in S3')
        check(instance not in [line[-1] for line in it.aws_log('imports.log')], 'the failed one was imported')
        same(it.one("SELECT count(*) FROM instance WHERE state = 'imported' AND batch = ?", batch), 1, 'images that the same batch imported')
        it.ctl('retry', instance)
        it.settle(4)
        same(it.states(), {'imported': 4}, 'after the retry')
        say('ok: what failed is not imported by its old batch, and once by the retry')

        # two copies, the first lost before its upload
        it.ctl('scale', 'uploader', '0')
        until(lambda: not [s for s, _ in it.living() if s == 'uploader'], 20, 'no uploader')
        path, _ = it.new_study()
        it.send(path)
        until(lambda: it.count('validated') == 1, 20, 'the first copy is judged')
        first = it.one("SELECT id FROM instance WHERE state = 'validated'")
        it.send(path)
        until(lambda: it.count('duplicate') == 1, 20, 'the second copy is a duplicate')
        it.lose(first)
        it.ctl('scale', 'uploader', '1')
        it.settle(6)
        same(it.states(), {'imported': 5, 'failed': 1}, 'the second copy takes the place of the first')
        same(it.one('SELECT state FROM instance WHERE id = ?', first), 'failed', 'the first copy')
        say('ok: a duplicate takes the place of its lost twin')
        it.stop()
        it.check_cloud()


main(test)
