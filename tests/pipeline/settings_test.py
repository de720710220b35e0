#!/usr/bin/env python3
"""settings_test BUILD_DIR - a setting that cannot work is told by `config` with its line and what to write, before a stage stops over it; and the stage says
the same."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, clean_environment, main, same, say  # noqa: E402

WRONG = [  # (setting, value, what the sentence says besides name and line, the stage that stops)
    ('dicomweb_payload', 'md5', 'none of streaming|sha256', 'uploader'),
    ('events_webhook_url', 'ftp://listener/x', 'https://host/path', 'importer'),
    ('events_webhook_url', 'https://user:word@listener/x', 'without a user', 'importer'),
    ('events_webhook_url', 'https://listener:99999/x', '1 to 65535', 'importer'),
    ('events_webhook_secret', 'whsec_!!!!', 'base64', 'importer'),
    ('events_sqs_queue_url', 'storescp-events', 'https://', 'importer'),
    ('hints_sqs_queue_url', 'https://sqs.eu-west-1.amazonaws.com/123456789012/hints', 'another region than ours, us-east-1', 'importer'),
    ('dynamodb_table', 'a table', '3 to 255', 'importer'),
    ('datastore_id', 'my-store', '32 letters', 'importer'),
    ('data_access_role_arn', 'role/import', 'arn:aws:iam::<account>:role/<name>', 'importer'),
    ('aws_region', 'elsewhere.example/', 'like us-east-1', 'uploader'),
    ('endpoint_url', 'gopher://s3', 'https://', 'uploader'),
    ('endpoint_url_sqs', 'queues', 'https://', 'importer'),
    ('dicom_bucket', 'images/ct', '3 to 63', 'uploader'),
    ('output_prefix', '../results', 'single slashes', 'uploader'),
    ('ca_bundle', '/nowhere/ca.pem', 'cannot be read', 'uploader'),
    ('s3_key_template', '{prefix}/{patient}.dcm', 'no variable', 'uploader')]


def stage_says(it, stage):
    """What a stage says that does not start."""
    done = subprocess.run([it.program(f'storescp-{stage}'), '--home', it.home], capture_output=True, text=True, timeout=20, env=clean_environment())
    same(done.returncode, 78, f'exit code of the {stage} ({done.stderr[-300:]})')
    return done.stderr


def told(it, name, value, words, stage):
    with open(os.path.join(it.home, 'storescp.conf')) as f:
        line = 1 + [text.split(' ')[0] for text in f].index(name)
    done = subprocess.run([it.program('storescpctl'), '--home', it.home, 'config'], capture_output=True, text=True, timeout=20, env=clean_environment())
    check(done.returncode == 1 and f'{name} (storescp.conf line {line})' in done.stderr and words in done.stderr,
          f'{name} = {value}: config ends with {done.returncode} and says {done.stderr}')
    said = stage_says(it, stage)
    check(f'{name} (storescp.conf line {line})' in said and words in said, f'{name} = {value}: the {stage} says {said}')


def test(build):
    with Installation(build, 'settings') as it:
        it.need_cloud()
        good = dict(it.settings)
        same(it.ctl('config').count('\n') > 50, True, 'the settings of the harness are right')
        for name, value, words, stage in WRONG:
            it.settings = dict(good, **{name: value})
            it.configure()
            told(it, name, value, words, stage)
        it.settings = good
        it.sections = {'destination pacs': {'for_modality': 'US', 'destination_kind': 'dicomweb', 'dicomweb_url': 'pacs.example'}}
        it.configure()
        told(it, 'dicomweb_url', 'pacs.example', 'https://', 'uploader')
        it.sections = {'destination pacs': {'for_calling_ae': 'CT1, A_TITLE_OF_SEVENTEEN*', 'destination_kind': 's3'}}
        it.configure()
        told(it, 'for_calling_ae', 'A_TITLE_OF_SEVENTEEN', 'fits nobody: AE titles have up to 16 characters', 'uploader')
        for sections, words in (({'destination pacs': {'for_modality': 'US', 'destination_kind': 's3'}, 'destination  pacs': {'dicom_bucket': 'other-images'}},
                                 f'storescp.conf line {len(good) + 4}: [destination pacs] stands in line {len(good) + 1} already'),
                                ({'ae A_TITLE_OF_SEVENTEEN': {'maximum_object_mb': 5}}, 'needs one AE title or a pattern of it, up to 16 characters')):
            it.sections = sections
            it.configure()
            done = subprocess.run([it.program('storescpctl'), '--home', it.home, 'config'], capture_output=True, text=True, timeout=20, env=clean_environment())
            check(done.returncode == 1 and words in done.stderr and words in stage_says(it, 'uploader'), f'{sections}: config says {done.stderr}')
        for rules, words in (('remove NoSuchName', 'NoSuchName'), ('set SOPInstanceUID=1.2.3', 'must differ from image to image')):
            it.sections = {'ae CT*': {'coerce': rules}}
            it.configure()
            line = f'storescp.conf line {len(good) + 2}'
            for command in ('config', 'reload'):
                done = subprocess.run([it.program('storescpctl'), '--home', it.home, command], capture_output=True, text=True, timeout=20, env=clean_environment())
                check(done.returncode == 1 and words in done.stderr and line in done.stderr, f'{rules}: {command} ends with {done.returncode} and says {done.stderr}')
            check('nothing was told to the workers' in done.stderr and words in stage_says(it, 'validator'), f'{rules}: {done.stderr}')
        several = {'ae RESEARCH*': {'deidentify': 'basic', 'coerce': 'remove 0010,4000'}}
        taken = 'takes its senders out of [ae RESEARCH*], which sets {0}, and does not say {0} itself'
        for other, words in (({'ae RESEARCH2': {'maximum_object_mb': 5, 'coerce': 'remove 0010,4000'}}, taken.format('deidentify')),
                             ({'ae RESEARCH2': {'deidentify': 'off'}}, taken.format('coerce')),
                             ({'ae RESEARCH2': {'deidentify': 'off', 'coerce': ''}}, None), ({'ae RESEARCH2*': {'maximum_object_mb': 5}}, None),  # the first pattern wins
                             ({'ae CT1': {'maximum_object_mb': 5}}, None)):
            it.sections = {**several, **other}
            it.configure()
            done = subprocess.run([it.program('storescpctl'), '--home', it.home, 'config'], capture_output=True, text=True, timeout=20, env=clean_environment())
            check(words in done.stderr if words else done.returncode == 0, f'{it.sections}: config says {done.stderr}')
        it.sections = {'ae RESEARCH2*': {'maximum_object_mb': 5}, **several}
        it.configure()
        check(taken.format('deidentify') in stage_says(it, 'validator'), 'a pattern that stands before the other')
        it.sections = {}
        it.settings = dict(good, aws_secret_access_key='')
        it.configure()
        told(it, 'aws_access_key_id', 'half a pair', 'aws_secret_access_key is not set', 'uploader')
        it.settings = dict(good, events_webhook_url='https://chat.example/hooks/T0KEN')
        it.configure()
        for words in ((), ('--json',)):
            shown = it.ctl('config', *words)
            check('https://chat.example' in shown and 'T0KEN' not in shown, 'of the URL of the webhook only scheme and host are shown')
        say(f'ok: {len(WRONG) + 10} wrong settings')


main(test)
