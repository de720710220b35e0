#!/usr/bin/env python3
"""rules_test BUILD_DIR - rules at work: severities for everybody and for single senders, findings in state.db, show, why, v_study and status, a change of
rules by reload and retry, and a wrong rule told with its line and the nearest name before anything starts."""
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, run_tool, same, until  # noqa: E402
import make_dicom  # noqa: E402
import scu  # noqa: E402


def send(it, sender, study, number, *changes):
    """One image of that sender, with bytes of its file changed -> its instance id."""
    sop, content = make_dicom.make(study, f'2.25.{len(sender)}{number}', number, 2000, random.Random(number))
    for old, new in changes:
        check(content.count(old) == 1, f'{old!r} stands in the file {content.count(old)} times')
        content = content.replace(old, new)
    path = os.path.join(it.work, f'{sender}-{number}.dcm')
    with open(path, 'wb') as f:
        f.write(content)
    part10 = scu.read_part10(path)
    association = scu.Association('127.0.0.1', it.port, [(part10.sop_class, part10.syntax)], calling=sender)
    same(association.store(part10), 0, f'answer to {sender}')
    association.release()
    until(lambda: it.one("SELECT count(*) FROM instance WHERE sop_instance_uid = ? AND state <> 'received'", sop), 10, f'{sender} {number} is judged')
    return it.one('SELECT id FROM instance WHERE sop_instance_uid = ?', sop)


def told(it, *words):
    """What storescpctl says, on both of its outputs."""
    return run_tool(it.program('storescpctl'), '--home', it.home, *words)[1]


def row(it, instance):
    return it.query('SELECT state, error_code, warn_count FROM instance WHERE id = ?', instance)[0]


def findings(it, instance):
    return it.query('SELECT rule, severity, tag FROM finding WHERE instance = ? ORDER BY rule', instance)


ROWS = make_dicom.element(0x28, 0x10, 'US', make_dicom.us(3))
MORE_ROWS = make_dicom.element(0x28, 0x10, 'US', make_dicom.us(300))


def test(build):
    with Installation(build, 'rules', {'rules': 'pixel_short=reject'}, counts={'uploader': 0, 'importer': 0}) as it:
        it.sections = {'ae OLDCT*': {'rules': 'pixel_short=note, uid_illegal=warn'}}
        it.configure()
        it.start()
        good = send(it, 'CT1', '2.25.1', 1)
        short = send(it, 'CT1', '2.25.1', 2, (ROWS, MORE_ROWS))
        illegal = send(it, 'CT1', '2.25.1x', 3)
        old_short = send(it, 'OLDCT1', '2.25.2', 4, (ROWS, MORE_ROWS))
        old_illegal = send(it, 'OLDCT7', '2.25.2x', 5)
        same(row(it, good), ('validated', None, 0), 'a good one')
        same(findings(it, good), [], 'its findings')
        same(row(it, short), ('quarantined', 'DICOM_RULE', 0), 'short pixels, rejected by this installation')
        same(findings(it, short), [('pixel_short', 'reject', '7FE0,0010')], 'its findings')
        same(row(it, illegal), ('quarantined', 'DICOM_UID_ILLEGAL', 0), 'an illegal UID')
        same(row(it, old_short), ('validated', None, 0), 'short pixels of the old CT')
        same(findings(it, old_short), [('pixel_short', 'note', '7FE0,0010')], 'its findings')
        same(row(it, old_illegal), ('validated', None, 1), 'an illegal UID of the old CT')
        same(it.query('SELECT warnings FROM v_study WHERE study_uid = ?', '2.25.2x'), [(1,)], 'v_study')
        same(it.query('SELECT rule, calling_ae, state FROM v_finding WHERE instance = ?', old_illegal), [('uid_illegal', 'OLDCT7', 'validated')], 'v_finding')
        check('SYN-1' not in ''.join(t for (t,) in it.query('SELECT text FROM finding')), 'no value of the data set in a finding')
        same({(r['rule'], r['severity'], r['found']) for r in it.status()['rules']},
             {('pixel_short', 'reject', 1), ('pixel_short', 'note', 1), ('uid_illegal', 'reject', 1), ('uid_illegal', 'warn', 1)}, 'status --json')
        text = it.ctl('show', old_short)
        check('pixel_short' in text and 'rows x columns' in text and 'To do: have it sent again' in text, f'show: {text}')
        same([f['rule'] for f in json.loads(it.ctl('show', old_short, '--json'))[0]['findings']], ['pixel_short'], 'show --json')
        text = it.ctl('why', old_illegal)
        check('Rule uid_illegal (warn): (0020,000D) Study Instance UID is not a UID' in text and 'To do:' in text, f'why: {text}')
        text = it.ctl('why', short)
        check('DICOM_RULE' in text and '(7FE0,0010) has 1536 bytes' in text and text.count('rows x columns') == 1, f'why of a reject: {text}')

        it.configure(rules='pixel_short=off')  # the rules change: what was set aside is judged again by them
        it.ctl('reload')
        it.ctl('retry', short)
        until(lambda: row(it, short)[0] == 'validated', 15, 'the retried one goes on')
        same(findings(it, short), [], 'its findings are gone')

        it.configure(rules='pixel_shrt=off')
        lines = told(it, 'config') + told(it, 'reload')
        check('line' in lines and 'there is no rule "pixel_shrt"; the nearest is "pixel_short"' in lines, f'config: {lines[-600:]}')
        it.configure(rules='study_missing=off')
        check('study_missing always rejects' in told(it, 'config'), 'config: what cannot be changed')
        it.configure(rules='')
        it.stop()


main(test)
