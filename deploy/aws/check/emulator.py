"""Starts LocalStack without a container engine, on a free port of the loopback address, in a folder of its own."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 120

# A program `aws` that asks every 0.3 seconds whether a stack is complete. The real program asks every 30 seconds.
IMPATIENT_AWS = """#!{python}
import sys, time, types
import botocore.waiter
botocore.waiter.time = types.SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, 0.3)), time=time.time)
from awscli.clidriver import main
sys.exit(main())
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def running(venv, folder, mock_config):
    """Starts LocalStack. Yields the environment variables with which AWS's clients connect to it."""
    port = free_port()
    mocks = folder / "mocks.json"
    mocks.write_text(json.dumps(mock_config))
    settings = {
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "LOCALSTACK_HOST": f"127.0.0.1:{port}",
        "LOCALSTACK_VOLUME_DIR": str(folder / "volume"),
        "SQS_ENDPOINT_STRATEGY": "path",
        "SFN_MOCK_CONFIG": str(mocks),
        # With these settings, LocalStack connects to no server outside this machine.
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DNS_ADDRESS": "0",
    }
    with open(folder / "localstack.log", "w", encoding="utf-8") as log:
        command = [str(venv / "bin/python"), "-m", "localstack.runtime.main"]
        process = subprocess.Popen(command, env={**os.environ, **settings}, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_healthy(process, port, folder)
        yield client_environment(venv, folder, port)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_healthy(process, port, folder):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_localstack/health", timeout=2).close()
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError("LocalStack did not start: " + (folder / "localstack.log").read_text()[-2000:])


def client_environment(venv, folder, port):
    programs = folder / "bin"
    programs.mkdir()
    aws = programs / "aws"
    aws.write_text(IMPATIENT_AWS.format(python=venv / "bin/python"))
    aws.chmod(0o755)
    return {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "CA_PEM": str(folder / "ca.pem"),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
