"""Runs the four checkers over a folder of templates. A finding that a template explains in its Metadata is left out."""

import json
import os
import subprocess
import tempfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Finding = namedtuple("Finding", "checker file rule resource")
HERE = Path(__file__).resolve().parent
LIMIT_SECONDS = 600


class CheckerFailed(Exception):
    """A checker ended without a result. Without this error, the templates would seem to have no findings."""


def run(command, accepted, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, **options)
    if done.returncode not in accepted:
        raise CheckerFailed(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}{done.stdout[-1000:]}")
    return done.stdout


def cfn_lint(tools, files):
    # The exit code is a set of bits: 2 error, 4 warning, 8 information.
    out = run([tools.python_program("cfn-lint"), "--format", "json", *files], accepted=range(0, 16))
    for match in json.loads(out or "[]"):
        yield Finding("cfn-lint", Path(match["Filename"]).name, match["Rule"]["Id"], str(match["Location"]["Path"]))


def checkov(tools, files):
    folder = str(Path(files[0]).parent)
    command = [tools.python_program("checkov"), "--directory", folder, "--framework", "cloudformation"]
    out = run([*command, "--skip-download", "--compact", "--quiet", "--output", "json"], accepted=(0, 1))
    report = json.loads(out)
    reports = report if isinstance(report, list) else [report]
    if not any(part.get("results") for part in reports):
        raise CheckerFailed(f"checkov checked nothing: {out[:500]}")
    for part in reports:
        if part["results"].get("parsing_errors"):
            raise CheckerFailed(f"checkov cannot read {part['results']['parsing_errors']}")
        for check in part["results"]["failed_checks"]:
            yield Finding("checkov", Path(check["file_path"]).name, check["check_id"], check["resource"])


def cfn_guard(tools, files):
    folder = str(Path(files[0]).parent)
    command = [tools.guard(), "validate", "--rules", str(HERE / "rules.guard"), "--data", folder]
    out = run([*command, "--structured", "--output-format", "json", "--show-summary", "none"], accepted=(0, 19))
    reports = json.loads(out)
    if len(reports) != len(files):
        raise CheckerFailed(f"cfn-guard checked {len(reports)} of {len(files)} templates")
    for report in reports:
        for failed in report["not_compliant"]:
            yield Finding("cfn-guard", Path(report["name"]).name, failed["Rule"]["name"], "")


def cdk_nag(tools, files):
    environment = {**os.environ, "NODE_PATH": str(tools.node_modules())}
    with tempfile.TemporaryDirectory() as out:
        lines = run(["node", str(HERE / "nag.js"), *files], accepted=(0,), env={**environment, "CDK_OUTDIR": out})
    if "checked" not in lines:
        raise CheckerFailed("cdk-nag did not reach its end")
    for line in lines.splitlines():
        if line.startswith("{"):
            found = json.loads(line)
            yield Finding("cdk-nag", found["file"], found["rule"], found["resource"])


# The checkers of POLICY examine the settings of a template. cfn-lint examines only its form.
POLICY = {"checkov": checkov, "cfn-guard": cfn_guard, "cdk-nag": cdk_nag}
ALL = {"cfn-lint": cfn_lint, **POLICY}


def check(tools, folder, checkers):
    """Returns the findings of these checkers about the templates of the folder."""
    files = sorted(str(path) for path in Path(folder).iterdir() if path.suffix in (".yaml", ".json"))
    # Installs the tools before the threads start. Otherwise two threads could install the same tool.
    tools.checks(), tools.node_modules()
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = pool.map(lambda checker: list(checker(tools, files)), checkers.values())
    return [finding for result in results for finding in result]
