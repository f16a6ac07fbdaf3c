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
REJECTS = "medium-rejects-000000000000-eu-central-1"
SAMPLE_DOCUMENTS, WRONG_ROWS = 992, 3
REJECTED = 4  # the exit code of a load with rejects


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
    return command, {entry["Name"]: value(entry["Value"]) for entry in container["Environment"] if value(entry["Value"])}


def value(given):
    """Returns the value of a variable. None if only CloudFormation knows it."""
    if isinstance(given, str):
        return given
    if given.get("Fn::Sub") == ["s3://${Bucket}/", {"Bucket": {"Fn::ImportValue": {"Fn::Sub": "${Name}-Rejects"}}}]:
        return f"s3://{REJECTS}/"
    return None


def upload(program, has_manifests, environment):
    """Uploads a source, then its manifest. Returns the message about the manifest."""
    s3 = boto3.client("s3")
    s3.put_object(Bucket=BUCKET, Key="2026/sample.csv", Body=source())
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


def source():
    """Returns the sample, with some rows more that have a wrong date. Their share is less than MaxRejects."""
    lines = (ROOT / "data/sample.csv").read_text().splitlines()
    cells = lines[1].split(",")
    column = lines[0].split(",").index("Date of Admission")
    wrong = [",".join([f"Wrong {number}", *cells[1:column], "2021-13-45", *cells[column + 1:]]) for number in range(WRONG_ROWS)]
    return "\n".join([*lines, *wrong, ""]).encode()


def run(program, command, environment, code=0):
    done = subprocess.run([program, *command], env=environment, capture_output=True, text=True, timeout=200)
    if done.returncode != code:
        raise RuntimeError(f"medlift {' '.join(command)} ended with {done.returncode}:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout


def check(folder, program, has_manifests, port):
    (folder / "scratch").mkdir()
    backend = int(re.search(r":(\d+)$", os.environ["AWS_ENDPOINT_URL"]).group(1))
    proxy = Proxy(backend, "2026/sample.csv")
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    plain = {**aws, "TMPDIR": str(folder / "scratch"), "MONGODB_URI": f"mongodb://127.0.0.1:{port}", "DB_NAME": "hospital", "PATH": os.environ["PATH"]}
    message = upload(program, has_manifests, plain)
    command, environment = job(message)
    # The database of this test has no users, and the folder of the container is a folder of the test.
    environment = {**environment, **plain, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_port}"}
    environment.pop("LOADER_USER")
    if not has_manifests:
        print("NOT CHECKED: load: this medlift cannot read a manifest, so the command names the table instead")
        where = command.index("--manifest")
        command[where:where + 2] = [f"s3://{BUCKET}/2026/*.csv"]
    started = time.monotonic()
    summary = json.loads(run(program, [*command, "--json"], environment, code=REJECTED))
    summary = summary["tables"][0] if has_manifests else summary
    counts = summary["counts"]
    assert (counts["written"], counts["rejected"]) == (SAMPLE_DOCUMENTS, WRONG_ROWS), counts
    assert summary["verification"], summary
    check_rejects(summary)
    assert proxy.injected == list(FAULTS), f"only these faults happened: {proxy.injected}"
    print(f"  upload, event, message, load: {counts['written']} documents, proven, in {time.monotonic() - started:.0f} s, despite {', '.join(FAULTS)}")
    if not has_manifests:
        run(program, ["verify", f"s3://{BUCKET}/2026/*.csv"], plain)


def check_rejects(summary):
    """Checks that the bucket of rejects contains one object, with the rejected rows. It has Object Lock and versions."""
    s3 = boto3.client("s3")
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=REJECTS)["Contents"]]
    assert keys == ["sample.csv.rejects.csv"], keys
    assert summary["reject_files"] == [f"s3://{REJECTS}/{keys[0]}"], summary["reject_files"]
    lines = s3.get_object(Bucket=REJECTS, Key=keys[0])["Body"].read().decode().splitlines()
    assert len(lines) == 1 + WRONG_ROWS and all("Wrong " in line for line in lines[1:]), lines
    print(f"  {WRONG_ROWS} rejected rows are in the bucket of rejects, and nothing else is")


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
