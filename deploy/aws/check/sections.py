"""The sections of the check. Each returns True if everything is as it should be."""

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
    # If an unchanged template has a finding in this form, a mutant's finding would say nothing about its fault.
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
    """LocalStack creates all stacks; settings, permissions and events are as they should be."""
    return in_venv(tools.localstack(), "stack.py")


def array(tools):
    """An array job with the job definitions of the templates, in moto."""
    return in_venv(tools.moto(), "array_job.py")


def load(tools):
    """From an upload to a proven load, through a proxy that spoils the reads."""
    return in_venv(tools.localstack(), "load.py")


def in_venv(venv, script):
    return subprocess.run([str(venv / "bin/python"), "-u", str(HERE / script)], timeout=LIMIT_SECONDS).returncode == 0


SECTIONS = {"static": static, "stack": stack, "array": array, "member": member.check, "load": load}
