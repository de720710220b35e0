#!/usr/bin/env python3
"""bucket_test BUILD_DIR - dicom_bucket changes while images are under way: what was uploaded stays where it is and is imported from there, by one job; what
was begun goes on there; what the old bucket refuses goes to the new one, and its open parts are aborted where they lie; a bucket that never was is left by
correcting the setting. No attempt is charged for any of it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import BUCKET, Installation, check, main, make_study, run_tool, same, say, until  # noqa: E402

NEW = 'images-of-tomorrow'
MIB = 1 << 20


def send(it, seed, count, size=2000):
    """-> their instance ids"""
    before = {i for (i,) in it.query('SELECT id FROM instance')}
    code, output = run_tool('storescu', '127.0.0.1', str(it.port), *make_study(os.path.join(it.work, f'study{seed}'), count, size, seed))
    same(code, 0, f'storescu ({output.strip()[-300:]})')
    return [i for (i,) in it.query('SELECT id FROM instance ORDER BY id') if i not in before]


def change(it, **settings):
    it.configure(**settings)
    it.ctl('reload')


def are(it, ids, state):
    return all(it.one('SELECT state FROM instance WHERE id = ?', i) == state for i in ids)


def jobs_of(it, ids):
    """-> the input URIs of the jobs of these instances' batches, without the batch"""
    batches = {it.one('SELECT batch FROM instance WHERE id = ?', i) for i in ids}
    uris = [it.one('SELECT inputS3Uri FROM import_job WHERE batch = ?', b) for b in batches]
    return sorted(uri.split('/', 3)[2] for uri in uris)


def uploaded_before(it):
    ids = send(it, 1, 3)
    until(lambda: are(it, ids, 'uploaded'), 20, 'uploaded')
    change(it, dicom_bucket=NEW, batch_quiet_ms=300)
    until(lambda: are(it, ids, 'imported'), 20, 'imported')
    same(jobs_of(it, ids), [BUCKET], 'one job, on the old bucket')
    later = send(it, 2, 2)
    until(lambda: are(it, later, 'imported'), 20, 'what comes later is imported')
    same(jobs_of(it, later), [NEW], 'from the new bucket')
    same({bucket for (bucket,) in it.query('SELECT bucket FROM instance')}, {BUCKET, NEW}, 'buckets of the rows')
    say('ok: uploaded before the change: one job on the old bucket')


def begun_before(it):
    """A file in parts: begun in what is the old bucket by now, which then refuses it."""
    parts = os.path.join(it.aws_directory, 'multipart')
    it.fault({'operation': 'UploadPart', 'action': 'error', 'status': 503, 'code': 'SlowDown', 'skip': 2, 'times': -1})
    (i,) = send(it, 3, 1, 40 * MIB)
    until(lambda: it.query('SELECT bucket FROM multipart WHERE instance = ?', i) == [(NEW,)] and os.listdir(parts), 20, 'its upload is open')
    upload = it.one('SELECT upload_id FROM multipart')
    started = len(it.log_lines('uploader', 'started worker='))
    change(it, dicom_bucket=BUCKET)
    until(lambda: len(it.log_lines('uploader', 'started worker=')) > started, 30, 'the uploader knows the new bucket')
    it.fault({'operation': 'UploadPart', 'action': 'error', 'status': 403, 'code': 'AccessDenied', 'times': 1})
    until(lambda: it.log_lines('bucket_left', f'bucket={NEW}', f'it goes to {BUCKET}'), 30, 'the log says that it goes elsewhere, and why')
    it.fault()
    until(lambda: are(it, [i], 'imported'), 40, 'imported')
    same((jobs_of(it, [i]), it.one('SELECT bucket FROM instance WHERE id = ?', i)), ([BUCKET], BUCKET), 'from the bucket of the settings')
    until(lambda: it.one('SELECT count(*) FROM multipart') == 0 and not os.listdir(parts), 20, f'the upload {upload} is aborted where it was begun')
    same(it.log_lines('multipart_not_aborted'), [], 'aborts that failed')
    say('ok: begun before the change: refused there, imported from the new one, nothing left open')


def bucket_that_never_was(it):
    change(it, dicom_bucket='no-such-images')
    until(lambda: len(it.log_lines('settings_reloaded')) >= 3, 10, 'settings are known')
    ids = send(it, 4, 20)
    until(lambda: it.log_lines('uploads_paused', 'NoSuchBucket'), 20, 'it is told')
    check(any(bucket == 'no-such-images' for (bucket,) in it.query('SELECT bucket FROM instance')), 'the bucket was decided')
    change(it, dicom_bucket=BUCKET)
    until(lambda: are(it, ids, 'imported'), 40, 'imported after the setting was corrected')
    check(set(jobs_of(it, ids)) == {BUCKET}, 'from the right bucket')
    say('ok: a bucket that never was')


def test(build):
    settings = {'batch_quiet_ms': 3600000, 'spool_keep_imported_s': 3600, 'multipart_above_mb': 5, 'multipart_part_mb': 5, 'multipart_parallel': 2,
                'drain_s': 2}
    with Installation(build, 'bucket', settings, aws_options=('--job-ms', '200', '--start-per-second', '50', '--bucket', NEW)) as it:
        it.need_cloud()
        it.start()
        uploaded_before(it)
        charged = it.one('SELECT sum(attempts + import_attempts) FROM instance')
        same(charged, 0, 'attempts charged')
        begun_before(it)
        bucket_that_never_was(it)
        same(it.one("SELECT sum(attempts + import_attempts) FROM instance WHERE file_bytes < 1000000"), 0, 'attempts charged')
        imported = [line[-1] for line in it.aws_log('imports.log')]
        same((len(imported), len(set(imported))), (26, 26), 'imports, and of how many instances')
        it.stop()


main(test)
