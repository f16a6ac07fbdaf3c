"""Installs the tools of the checks, with pinned versions, in target/aws-test. Uses only Python's standard library."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
HOME = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "aws-test"
INSTALL_SECONDS = 900


class Unavailable(Exception):
    """A tool cannot be installed on this machine."""


def python_313():
    """Returns a Python 3.13. LocalStack's pinned packages were tried only with this version."""
    named = shutil.which("python3.13")
    versions = sorted(Path.home().glob(".pyenv/versions/3.13*/bin/python"))
    candidates = [named, *map(str, versions)]
    for candidate in candidates:
        if candidate and subprocess.run([candidate, "--version"], capture_output=True).returncode == 0:
            return candidate
    raise Unavailable("Python 3.13, which LocalStack needs")


def install(name, source, commands):
    """Runs the commands in the folder `name`. Repeats them only if `source`, which pins the versions, was changed."""
    folder = HOME / name
    stamp = folder / "installed"
    wanted = hashlib.sha256(source.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"installing {name}", flush=True)
    for command in commands(folder):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        if done.returncode != 0:
            raise Unavailable(f"{name}: {command[0]} ended with {done.returncode}: {done.stderr[-600:]}")
    stamp.write_text(wanted)
    return folder


def install_python(name, requirements, python):
    def commands(folder):
        return [
            [python, "-m", "venv", str(folder)],
            [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)],
        ]

    return install(name, requirements, commands)


class Tools:
    """The tools of the checks. Each tool is installed when it is first needed."""

    def checks(self):
        return install_python("checks", HERE / "requirements.txt", sys.executable)

    def localstack(self):
        return install_python("localstack", HERE / "requirements-localstack.txt", python_313())

    def moto(self):
        return install_python("moto", HERE / "requirements-moto.txt", sys.executable)

    def node_modules(self):
        def commands(folder):
            shutil.copy(HERE / "package.json", folder)
            return [["npm", "install", "--silent", "--no-audit", "--no-fund"]]

        if not shutil.which("npm"):
            raise Unavailable("npm and Node.js, which cdk-nag needs")
        return install("npm", HERE / "package.json", commands) / "node_modules"

    def python_program(self, name):
        return str(self.checks() / "bin" / name)

    def guard(self):
        """Returns the path of cfn-guard, a program inside an npm package of AWS."""
        system = {"Linux": "ubuntu", "Darwin": "macos"}[platform.system()]
        machine = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
        binary = self.node_modules() / "@cdklabs/cdk-validator-cfnguard/bin" / system / machine / "cfn-guard"
        binary.chmod(0o755)
        return str(binary)
