"""Tests the whole way of a load: the upload of a manifest, the event, the message, and a load into a real mongod.

LocalStack has no pipe and no Batch. This program replaces them: it receives the message, and runs Medlift with the
command and the environment of the job definition. Runs in LocalStack's venv.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3

import emulator
from faulty_proxy import FAULTS, Proxy
from template import TEMPLATES, read
from tools import ROOT

HERE = Path(__file__).resolve().parent
BUCKET = "medium-landing-000000000000-eu-central-1"
SAMPLE_DOCUMENTS = 992


def not_checked(what):
    print(f"NOT CHECKED: load: {what}")
    sys.exit(0)


def medlift():
    """Returns the program that $MEDLIFT names, or a build of this repository, and whether it reads manifests.

    If there is no program, or if it cannot read S3, reports this and ends the section.
    """
    candidates = [os.environ.get("MEDLIFT"), ROOT / "target/release/medlift", ROOT / "target/debug/medlift"]
    program = next((str(path) for path in candidates if path and Path(path).is_file()), None)
    if program is None:
        not_checked("medlift is not built")
    usage = subprocess.run([program, "load", "--help"], capture_output=True, text=True, timeout=60).stdout
    if "s3://" not in usage:
        not_checked("this medlift cannot read S3")
    return program, "--manifest" in usage


def mongod():
    found = os.environ.get("MEDLIFT_MONGOD") or next((str(path) for path in ROOT.glob("target/mongod/mongod-*")), None)
    return found or not_checked("no mongod; run `cargo xtask mongod`")


def deploy(*arguments):
    environment = {**os.environ, "NAME": "medium"}
    subprocess.run([str(HERE.parent / "deploy.sh"), *arguments], env=environment, check=True, capture_output=True, timeout=400)


def received(queue):
    for _ in range(10):
        for message in boto3.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=2).get("Messages", []):
            return json.loads(message["Body"])
    raise RuntimeError("no message arrived")


def job(message):
    """Returns the command and the environment that the pipe and Batch would give to the container."""
    parameters = read(TEMPLATES / "events.yaml")["Resources"]["JobPipe"]["Properties"]["TargetParameters"]["BatchJobParameters"]["Parameters"]
    values = {name: message[path.removeprefix("$.body.")] for name, path in parameters.items()}
    container = read(TEMPLATES / "compute.yaml")["Resources"]["LoadJob"]["Properties"]["ContainerProperties"]
    words = ["1%" if word == {"Ref": "MaxRejects"} else word for word in container["Command"]]
    command = [values[word.removeprefix("Ref::")] if word.startswith("Ref::") else word for word in words]
    return command, {entry["Name"]: entry["Value"] for entry in container["Environment"] if isinstance(entry["Value"], str)}


def upload(program, has_manifests, environment):
    """Uploads a source, then its manifest. Returns the message about the manifest."""
    s3 = boto3.client("s3")
    s3.upload_file(str(ROOT / "data/sample.csv"), BUCKET, "2026/sample.csv")
    if has_manifests:
        out = Path(environment["TMPDIR"]) / "sample.manifest.json"
        run(program, ["plan", f"s3://{BUCKET}/2026/*.csv", "--out", str(out)], environment)
        s3.upload_file(str(out), BUCKET, "2026/sample.manifest.json")
    else:
        s3.put_object(Bucket=BUCKET, Key="2026/sample.manifest.json", Body=b"{}")
    queue = boto3.client("sqs").get_queue_url(QueueName="medium-manifests")["QueueUrl"]
    message = received(queue)
    assert message == {"manifest": f"s3://{BUCKET}/2026/sample.manifest.json"}, message
    return message


def run(program, command, environment):
    done = subprocess.run([program, *command], env=environment, capture_output=True, text=True, timeout=200)
    if done.returncode != 0:
        raise RuntimeError(f"medlift {' '.join(command)} ended with {done.returncode}:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout


def check(folder, program, has_manifests, port):
    for name in ("scratch", "rejects"):
        (folder / name).mkdir()
    backend = int(re.search(r":(\d+)$", os.environ["AWS_ENDPOINT_URL"]).group(1))
    proxy = Proxy(backend, "2026/sample.csv")
    places = {"TMPDIR": str(folder / "scratch"), "MEDLIFT_REJECTS": f"{folder / 'rejects'}/"}
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    plain = {**aws, **places, "MONGODB_URI": f"mongodb://127.0.0.1:{port}", "DB_NAME": "hospital", "PATH": os.environ["PATH"]}
    message = upload(program, has_manifests, plain)
    command, environment = job(message)
    # The database of this test has no users, and the folders of the container are folders of the test.
    environment = {**environment, **plain, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_port}"}
    environment.pop("LOADER_USER")
    if not has_manifests:
        print("NOT CHECKED: load: this medlift cannot read a manifest, so the command names the table instead")
        where = command.index("--manifest")
        command[where:where + 2] = [f"s3://{BUCKET}/2026/*.csv"]
    started = time.monotonic()
    output = run(program, [*command, "--json"], environment)
    summary = json.loads(output)
    counts = summary["counts"]
    assert counts["written"] == SAMPLE_DOCUMENTS, counts
    assert summary["verification"], summary
    assert proxy.injected == list(FAULTS), f"only these faults happened: {proxy.injected}"
    print(f"  upload, event, message, load: {counts['written']} documents, proven, in {time.monotonic() - started:.0f} s, despite {', '.join(FAULTS)}")
    if not has_manifests:
        run(program, ["verify", f"s3://{BUCKET}/2026/*.csv"], plain)


def main():
    program, has_manifests = medlift()
    server = mongod()
    with tempfile.TemporaryDirectory(prefix="medlift-aws-") as place:
        folder = Path(place)
        (folder / "db").mkdir()
        port = emulator.free_port()
        arguments = [server, "--dbpath", str(folder / "db"), "--port", str(port), "--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "0.25"]
        database = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        try:
            with emulator.running(Path(sys.prefix), folder, {}) as environment:
                os.environ.update(environment)
                deploy("up", "medium", "atlas", "Image=medlift", "AlarmEmail=it@hospital.example",
                       "AtlasServiceName=com.amazonaws.vpce.eu-central-1.vpce-svc-1", "AtlasUri=mongodb+srv://c-pl-0.x.mongodb.net")
                check(folder, program, has_manifests, port)
        finally:
            database.kill()
            database.wait()


if __name__ == "__main__":
    main()
