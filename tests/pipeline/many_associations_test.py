#!/usr/bin/env python3
"""many_associations_test BUILD_DIR [COUNT] - as many associations as allowed stand open at one time, all idle; the next one is rejected as transient;
then every one of them stores an image and is released, and as many again may come. COUNT: 300, the default of maximum_associations, and
2,000 on a machine with memory for them. Prints what an idle association costs: memory that is its own (private) and its share of what the
processes have in common (PSS, from smaps_rollup)."""
import os
import resource
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, make_study, memory_of, same, say, until  # noqa: E402
import scu  # noqa: E402

CT, EXPLICIT_LE = '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1'
PSS_KB_MAX = 4096  # of one idle association; measured 2026-11: see docs/performance.md


def available_mb():
    with open('/proc/meminfo') as f:
        return int(next(line for line in f if line.startswith('MemAvailable')).split()[1]) // 1024


def memory_kb(it):
    """-> (processes, sum of PSS, sum of private memory) of the association processes"""
    found = [memory_of(pid) for kind, pid in it.processes() if kind == 'association']
    return len(found), sum(f['Pss'] for f in found), sum(f['Private_Clean'] + f['Private_Dirty'] for f in found)


def stand(build, count, settings):
    with Installation(build, f'many{count}', dict(settings, network_timeout=300), counts={'validator': 0, 'uploader': 0, 'importer': 0}) as it:
        it.start()
        image = scu.read_part10(make_study(os.path.join(it.work, 'image'), 1, 3000, count)[0])
        began, peers = time.monotonic(), []
        for i in range(count):
            peers.append(scu.Association('127.0.0.1', it.port, [(CT, EXPLICIT_LE)], calling=f'CT{i}', timeout=60))
        say(f'{count} associations stand after {time.monotonic() - began:.1f} s')
        try:
            scu.Association('127.0.0.1', it.port, [(CT, EXPLICIT_LE)], timeout=20).close()
            check(False, f'association {count + 1} was accepted')
        except scu.Refused as refused:
            check(refused.transient, f'association {count + 1} was rejected for good: {refused}')
        processes, pss, private = memory_kb(it)
        check(processes >= count, f'{processes} association processes for {count} associations')
        say(f'idle: {processes} processes, {pss / processes:.0f} KiB PSS and {private / processes:.0f} KiB private each, {pss / 1024:.0f} MiB PSS in all')
        check(pss / processes < PSS_KB_MAX, f'an idle association takes {pss / processes:.0f} KiB')
        began = time.monotonic()
        for i, peer in enumerate(peers):
            same(peer.store(image._replace(sop_instance=f'2.25.{count}{i:05d}')), 0, f'status on association {i} of {count}')
        say(f'each stored one image: {count / (time.monotonic() - began):.0f}/s, one after the other')
        processes, pss, private = memory_kb(it)
        say(f'after it: {pss / processes:.0f} KiB PSS and {private / processes:.0f} KiB private each')
        for peer in peers:
            peer.release()
        again = until(lambda: attempt(it), 10, 'an association may come when the others are gone')
        same(again.store(image._replace(sop_instance='2.25.9')), 0, 'status after all')
        again.release()
        it.stop()
        same(it.one('SELECT count(*) FROM instance'), count + 1, 'rows')


def attempt(it):
    try:
        return scu.Association('127.0.0.1', it.port, [(CT, EXPLICIT_LE)], timeout=20)
    except scu.Refused:
        return None


def test(build):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    counts = [int(sys.argv[2])] if len(sys.argv) > 2 else [300, 2000]
    for count in counts:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if descriptors < 2 * count + 200:
            say(f'left out: {count} associations, a process may have {descriptors} descriptors only')
            continue
        if available_mb() < count * PSS_KB_MAX // 1024:
            say(f'left out: {count} associations, only {available_mb()} MB of memory are free')
            continue
        stand(build, count, {} if count == 300 else {'maximum_associations': count})


main(test)
