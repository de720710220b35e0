#!/usr/bin/env python3
"""endpoint_rules_test BUILD_DIR - our endpoints of HealthImaging against its published rule set ($SHARED_DIR/aws/models), evaluated here by a small interpreter
of the rule language: every region of every published partition, regions that nobody has published yet, FIPS, dual stack and custom endpoints in all
combinations. Left out without the rule set; what other services have is a table in tests/unit/site_test.c."""
import itertools
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import SHARED, Failure, LeftOut, check, main, same, say  # noqa: E402

# Facts of the published partitions.json: name, expression of its regions, DNS suffixes, regions.
PARTITIONS = [
    ('aws', r'^(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+$', 'amazonaws.com', 'api.aws',
     'af-south-1 ap-east-1 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 '
     'ap-southeast-5 aws-global ca-central-1 ca-west-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 il-central-1 '
     'me-central-1 me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2'),
    ('aws-cn', r'^cn-\w+-\d+$', 'amazonaws.com.cn', 'api.amazonwebservices.com.cn', 'aws-cn-global cn-north-1 cn-northwest-1'),
    ('aws-eusc', r'^eusc-(de)-\w+-\d+$', 'amazonaws.eu', 'api.amazonwebservices.eu', 'eusc-de-east-1'),
    ('aws-iso', r'^us-iso-\w+-\d+$', 'c2s.ic.gov', 'api.aws.ic.gov', 'aws-iso-global us-iso-east-1 us-iso-west-1'),
    ('aws-iso-b', r'^us-isob-\w+-\d+$', 'sc2s.sgov.gov', 'api.aws.scloud', 'aws-iso-b-global us-isob-east-1'),
    ('aws-iso-e', r'^eu-isoe-\w+-\d+$', 'cloud.adc-e.uk', 'api.cloud-aws.adc-e.uk', 'aws-iso-e-global eu-isoe-west-1'),
    ('aws-iso-f', r'^us-isof-\w+-\d+$', 'csp.hci.ic.gov', 'api.aws.hci.ic.gov', 'aws-iso-f-global us-isof-east-1 us-isof-south-1'),
    ('aws-us-gov', r'^us-gov-\w+-\d+$', 'amazonaws.com', 'api.aws', 'aws-us-gov-global us-gov-east-1 us-gov-west-1'),
]
UNPUBLISHED = ['eu-west-9', 'cn-south-3', 'us-gov-north-1', 'eusc-de-west-2', 'us-iso-central-1', 'cn-odd', 'us-gov-', 'mars-north-1', 'local', 'cn-a-1-b', 'us-isof-x-12']


def partition(region):
    def facts(p):
        return {'name': p[0], 'dnsSuffix': p[2], 'dualStackDnsSuffix': p[3], 'supportsFIPS': True, 'supportsDualStack': True}
    for p in PARTITIONS:
        if region in p[4].split():
            return facts(p)
    for p in PARTITIONS:
        if re.match(p[1], region):
            return facts(p)
    return facts(PARTITIONS[0])


class Rules:
    """endpoint rules, version 1.0: the first rule whose conditions all hold counts; a tree looks further among its own."""

    def __init__(self, rule_set):
        self.rule_set = rule_set
        self.visited = 0

    def ask(self, parameters):
        """-> a URL, or 'error ...'"""
        known = {name: facts['default'] for name, facts in self.rule_set['parameters'].items() if 'default' in facts}
        known.update(parameters)
        found = self._first(self.rule_set['rules'], known)
        check(found is not None, f'no rule fits {parameters}')
        return found

    def _first(self, rules, known):
        for rule in rules:
            scope = dict(known)
            if not all(self._holds(c, scope) for c in rule['conditions']):
                continue
            self.visited += 1
            if rule['type'] == 'error':
                return 'error ' + rule['error']
            if rule['type'] == 'endpoint':
                return self._value(rule['endpoint']['url'], scope)
            found = self._first(rule['rules'], scope)
            if found is not None:
                return found
        return None

    def _holds(self, condition, scope):
        value = self._call(condition, scope)
        if 'assign' in condition:
            scope[condition['assign']] = value
        return value is not None and value is not False

    def _call(self, f, scope):
        arguments = [self._value(a, scope) for a in f['argv']]
        if f['fn'] == 'isSet':
            return arguments[0] is not None
        if f['fn'] in ('booleanEquals', 'stringEquals'):
            return arguments[0] == arguments[1]
        if f['fn'] == 'not':
            return not arguments[0]
        if f['fn'] == 'aws.partition':
            return partition(arguments[0])
        if f['fn'] == 'getAttr':
            return arguments[0][arguments[1]]
        raise Failure(f'the interpreter does not know {f["fn"]}')

    def _value(self, value, scope):
        if isinstance(value, dict) and 'ref' in value:
            return scope.get(value['ref'])
        if isinstance(value, dict):
            return self._call(value, scope)
        if isinstance(value, str):
            def fill(match):
                name, _, attribute = match.group(1).partition('#')
                return scope[name][attribute] if attribute else scope[name]
            return re.sub(r'\{([^{}]+)\}', fill, value)
        return value


def ours(build, questions):
    program = os.path.join(os.path.abspath(build), 'bin', 'endpoint_say')
    if not os.path.exists(program):
        raise LeftOut('endpoint_say is not built')
    lines = ''.join(f'{service} {region} {int(fips)} {int(dual)} {url or "-"}\n' for service, region, fips, dual, url in questions)
    done = subprocess.run([program], input=lines, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    same(done.returncode, 0, 'exit code of endpoint_say')
    answers = done.stdout.splitlines()
    same(len(answers), len(questions), 'answers')
    return answers


def test(build):
    path = os.path.join(SHARED, 'aws', 'models', 'medical-imaging', 'endpoint-rule-set-1.json')
    if not os.path.exists(path):
        raise LeftOut(f'{path} is not here')
    with open(path, encoding='utf-8') as f:
        rules = Rules(json.load(f))
    regions = [r for p in PARTITIONS for r in p[4].split()] + UNPUBLISHED
    urls = [None, 'https://example.com', 'http://127.0.0.1:9000', 'https://vpce-1.example.com/base']
    questions = [('medical-imaging', *q) for q in itertools.product(regions, (False, True), (False, True), urls)]
    errors = 0
    for (_, region, fips, dual, url), said in zip(questions, ours(build, questions)):
        wanted = rules.ask({'Region': region, 'UseFIPS': fips, 'UseDualStack': dual, 'Endpoint': url})
        if region.endswith('-') and not url:  # the rules make a name of it that no DNS knows
            wanted = 'error'
        if wanted.startswith('error') or said.startswith('error'):
            errors += 1
            check(wanted.startswith('error') and said.startswith('error'), f'{region} fips={fips} dualstack={dual} {url}: the rules say {wanted!r}, we say {said!r}')
        else:
            same(said, wanted, f'{region} fips={fips} dualstack={dual} {url}')
    check(rules.visited > len(questions) and 0 < errors < len(questions), f'{rules.visited} rules, {errors} errors')
    say(f'{len(questions)} combinations, {errors} of them errors: as the published rules say')


main(test)
