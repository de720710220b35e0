#!/usr/bin/env python3
"""real_files_test BUILD_DIR - every file of the shared real, made and hostile images, twice: by dcmsend, by storescu where that refuses, byte for
byte where both do; then all of them byte for byte on parallel associations. Whatever was acknowledged has its row and ends imported (or
duplicate), or quarantined / failed with a reason; no process dies of it; the data set is kept exactly as it was sent. What the receiver
does not take is refused in the negotiation, before anything is sent. (validate_test compares the single verdicts.)"""
import collections
import concurrent.futures
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, run_tool, same, say, shared_dicom  # noqa: E402
import scu  # noqa: E402

# No storage classes of the patient hierarchy: HealthImaging has no place for them (no study).
REFUSED = {'1.2.840.10008.5.1.4.39.1', '1.2.840.10008.5.1.4.43.1', '1.2.840.10008.5.1.4.45.1'}


def send_raw(port, path):
    """-> status, or None when the receiver refused the SOP class in the negotiation."""
    try:
        return scu.store_file('127.0.0.1', port, path, timeout=60)
    except scu.Refused as why:
        check('context refused' in str(why) and scu.read_part10(path).sop_class in REFUSED, f'{os.path.basename(path)}: {why}')
        return None


def send(it, path):
    """-> who sent it, and the status."""
    code, output = run_tool('dcmsend', '-v', '--decompress-never', '127.0.0.1', str(it.port), path, seconds=60)
    if code == 0 and any('with status SUCCESS' in line and line.rstrip().endswith(': 1') for line in output.splitlines()):
        return 'dcmsend', 0
    code, output = run_tool('storescu', '-v', '-R', '127.0.0.1', str(it.port), path, seconds=60)
    if code == 0 and '(Success)' in output:
        return 'storescu', 0
    return 'byte for byte', send_raw(it.port, path)


def by_every_sender(build, files):
    with Installation(build, 'real-files', {'spool_keep_imported_s': 3600}, aws_options=('--job-ms', '200', '--no-throttle')) as it:
        it.start()
        first = it.living()
        by_sender, sent_as = collections.Counter(), {}
        for path in files:  # one after the other: which row is whose must be known
            sender, status = send(it, path)
            by_sender[sender if status is not None else 'refused'] += 1
            if status is not None:
                same(status, 0, f'C-STORE status of {path}')
                sent_as[it.one('SELECT id FROM instance ORDER BY rowid DESC LIMIT 1')] = path, sender
        say(f'{len(files)} files: {dict(by_sender)}')
        same(len(sent_as), len(files) - by_sender['refused'], 'rows of acknowledged files')
        it.settle(len(sent_as), 180)
        same(it.one('SELECT count(*) FROM instance'), len(sent_as), 'rows')
        same(it.living(), first, 'processes that lived through it')
        say(f'states: {it.states()}')
        check(set(it.states()) <= {it.end_state, 'duplicate', 'quarantined', 'failed'}, f'states {it.states()}')
        same(it.one("SELECT count(*) FROM instance WHERE state = 'quarantined' AND remedy IS NULL"), 0, 'quarantined without a remedy')
        # DCMTK's tools may write lengths their own way; what went byte for byte must be there byte for byte
        compared = 0
        for instance, (path, sender) in sent_as.items():
            is_same = it.stored_data_set(instance) == scu.read_part10(path).data
            check(is_same or sender != 'byte for byte', f'{path} is kept differently')
            compared += is_same
        say(f'kept as they are in the file: {compared}; written anew by their sender: {len(sent_as) - compared}')
        it.stop()
        it.check_invariants()


def byte_for_byte(build, files):
    with Installation(build, 'real-files-raw', {'spool_keep_imported_s': 3600}, counts={'validator': 2, 'uploader': 2}, aws_options=('--job-ms', '200', '--no-throttle')) as it:
        it.start()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda path: send_raw(it.port, path), files))
        taken = [path for path, answer in zip(files, answers) if answer == 0]
        same({a for a in answers if a is not None}, {0}, 'C-STORE statuses')
        it.settle(len(taken), 180)
        same(it.one('SELECT count(*) FROM instance'), len(taken), 'rows')
        kept = collections.Counter(it.stored_data_set(row[0]) for row in it.query('SELECT id FROM instance'))
        check(kept == collections.Counter(scu.read_part10(path).data for path in taken), 'the kept data sets are not those that were sent')
        say(f'{len(taken)} files byte for byte on 4 associations: {it.states()}')
        it.stop()
        it.check_invariants()


def test(build):
    shared = shared_dicom()
    files = [os.path.join(shared, room, 'files', name) for room in ('open', 'made', 'hostile')
             for name in sorted(os.listdir(os.path.join(shared, room, 'files')))]
    by_every_sender(build, files)
    byte_for_byte(build, files)


main(test)
