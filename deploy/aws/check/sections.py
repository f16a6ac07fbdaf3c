"""The sections of the check. Each returns True if it found no error."""

import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

import checkers
import member
import mutants
from template import TEMPLATES

HERE = Path(__file__).resolve().parent
LIMIT_SECONDS = 900


def static(tools):
    """The templates have no unexplained finding, and each mutant is reported."""
    findings = checkers.check(tools, TEMPLATES, checkers.ALL)
    for finding in findings:
        print(f"unexplained: {finding.checker} {finding.rule} in {finding.file} {finding.resource}")
    print(f"{len(list(TEMPLATES.glob('*.yaml')))} templates, {len(findings)} unexplained findings")
    return not findings and every_mutant_is_reported(tools)


def every_mutant_is_reported(tools):
    with tempfile.TemporaryDirectory() as name:
        files = mutants.write(Path(name))
        by_file = defaultdict(set)
        for finding in checkers.check(tools, name, checkers.POLICY):
            by_file[finding.file].add((finding.checker, finding.rule))
    # The unchanged templates are checked in the same form. If one has a finding, the findings about its mutants may
    # have the same cause, and prove nothing.
    noise = {file: found for file, found in by_file.items() if file.startswith("unchanged-")}
    for file, found in noise.items():
        print(f"unchanged template with findings: {file} {sorted(found)}")
    alive = 0
    for file, (wrong, template) in files.items():
        found = by_file.get(file, set())
        alive += not found
        rules = defaultdict(list)
        for checker, rule in sorted(found):
            rules[checker].append(rule)
        print(f"  {wrong:52} {template:22} " + ("NOT REPORTED" if not found else "; ".join(f"{c}: {', '.join(r)}" for c, r in rules.items())))
    print(f"{len(files)} mutants, {alive} not reported")
    return not noise and not alive


def stack(tools):
    """LocalStack creates all stacks. Settings, permissions and events are compared with the expected ones."""
    return in_venv(tools.localstack(), "stack.py")


def array(tools):
    """moto accepts an array job with the job definitions of the templates. No container runs."""
    return in_venv(tools.moto(), "array_job.py")


def load(tools):
    """An upload leads to a verified load, through a proxy that disturbs the reads."""
    return in_venv(tools.localstack(), "load.py")


def in_venv(venv, script):
    return subprocess.run([str(venv / "bin/python"), "-u", str(HERE / script)], timeout=LIMIT_SECONDS).returncode == 0


SECTIONS = {"static": static, "stack": stack, "array": array, "member": member.check, "load": load}
