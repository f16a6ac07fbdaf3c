"""Runs the user data of the target ec2 in three containers, as three members of a replica set, and loads into it.

Programs in check/member/ replace what needs EC2: the metadata service, the disks, the packages and the AWS CLI. mongod,
mongosh, TLS, key file, the replica set and its users are real. `deploy.sh certificates` makes the certificates.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from template import TEMPLATES, read
from tools import ROOT, Unavailable

HERE = Path(__file__).resolve().parent
NAME = "medlift"
READY_SECONDS = 150
ROOT_PASSWORD = "Quiet-Harbour-2971-lantern"
PACKAGES = ("server.rpm", "shell.rpm")
ON_EC2 = ("curl", "dnf", "lsblk", "blkid", "mkfs.xfs", "mountpoint", "mount", "systemctl")


def docker(*arguments, check=True, **options):
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=200, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(arguments)[:200]} ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done


def image():
    """Returns the image with mongod and mongosh. If a script beside the repository exists, it makes the image."""
    neighbour = ROOT.parent / "shared/docker/engine"
    name = os.environ.get("MONGO_IMAGE", "mongo:6.0" if neighbour.is_file() else "mongo:8.0")
    if neighbour.is_file() and subprocess.run([str(neighbour), name], capture_output=True, timeout=500).returncode != 0:
        raise Unavailable("a container engine")
    if not shutil.which("docker") or docker("info", check=False).returncode != 0:
        raise Unavailable("a container engine")
    if docker("image", "inspect", name, check=False).returncode != 0 and docker("pull", "--quiet", name, check=False).returncode != 0:
        raise Unavailable(f"the image {name}")
    return name


def user_data(sha256):
    """Returns the script that CloudFormation would give to an instance."""
    resource = read(TEMPLATES / "data-ec2.yaml")["Resources"]["Launch"]
    text, _ = resource["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"]
    values = {"Name": NAME, "AWS::Region": "eu-central-1", "Bucket": "artifacts", "ServerRpm": PACKAGES[0], "ShellRpm": PACKAGES[1],
              "ServerRpmSha256": sha256[0], "ShellRpmSha256": sha256[1]}
    # If the script contains a name without a value, this fails, as CloudFormation would.
    return re.sub(r"\$\{([A-Za-z:0-9]+)\}", lambda match: values[match.group(1)], text)


class Members:
    """Three containers and their network. They are removed at the end of the `with` block."""

    def __init__(self, folder, mongo):
        self.folder, self.mongo = folder, mongo
        self.network = f"medlift-aws-{os.getpid()}"
        self.names = [f"{self.network}-m{number}" for number in range(3)]

    def __enter__(self):
        (self.folder / "bin").mkdir()
        for program in ON_EC2:
            shutil.copy(HERE / "member/system", self.folder / "bin" / program)
        shutil.copy(HERE / "member/aws", self.folder / "bin/aws")
        packages = self.folder / "aws/packages"
        packages.mkdir(parents=True)
        sums = []
        for package in PACKAGES:
            (packages / package).write_text(f"the content of {package}")
            sums.append(hashlib.sha256((packages / package).read_bytes()).hexdigest())
        self.secrets()
        (self.folder / "user-data").write_text(user_data(sums))
        (self.folder / "other-package").write_text(user_data(["0" * 64, sums[1]]))
        docker("network", "create", self.network)
        for number, name in enumerate(self.names):
            docker("run", "--detach", "--name", name, "--network", self.network, "--network-alias", f"m{number}.{NAME}.internal",
                   "--env", f"MEMBER={number}", "--volume", f"{self.folder}/bin:/stand-ins:ro", "--volume", f"{self.folder}:/given:ro",
                   "--volume", f"{self.folder}/aws:/aws:ro", "--env", "PATH=/stand-ins:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                   "--entrypoint", "sleep", self.mongo, "900")
        return self

    def __exit__(self, *_):
        docker("rm", "--force", "--volumes", *self.names, check=False)
        docker("network", "rm", self.network, check=False)

    def secrets(self):
        """Makes the secrets. deploy.sh makes the certificates. Key file and password are fixed texts."""
        environment = {**os.environ, "AWS_FOLDER": str(self.folder / "aws"), "CA_PEM": str(self.folder / "ca.pem"),
                       "PATH": f"{HERE / 'member'}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run([str(HERE.parent / "deploy.sh"), "certificates"], env=environment, check=True, capture_output=True, timeout=60)
        folder = self.folder / "aws/secrets" / NAME
        (folder / "mongodb-key-file").write_text("KeyFileOfTheMembers0123456789" * 17)
        (folder / "root").write_text(ROOT_PASSWORD)

    def run(self, number, script, check=True):
        return docker("exec", self.names[number], "bash", f"/given/{script}", check=check)

    def mongosh(self, script, *options, number=0, check=True):
        address = f"mongodb://m{number}.{NAME}.internal:27017/admin?serverSelectionTimeoutMS=3000"
        return docker("exec", self.names[number], "mongosh", "--quiet", "--norc", *options, address, "--eval", script, check=check)

    def as_root(self, script):
        members = ",".join(f"m{number}.{NAME}.internal:27017" for number in range(3))
        address = f"mongodb://{members}/admin?replicaSet=rs0&tls=true&tlsCAFile=/etc/mongod/ca.pem"
        return docker("exec", self.names[0], "mongosh", "--quiet", "--norc", "-u", "admin", "-p", ROOT_PASSWORD, address, "--eval", script).stdout.strip()

    def calls(self, number):
        return docker("exec", self.names[number], "cat", "/calls").stdout.splitlines()


def check_packages(members):
    refused = members.run(1, "other-package", check=False)
    assert refused.returncode != 0 and not any(call.startswith("dnf") for call in members.calls(1)), refused
    print("  a package with another SHA-256 is not installed")


def check_start(members):
    running = [subprocess.Popen(["docker", "exec", name, "bash", "/given/user-data"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for name in members.names]
    for number, process in enumerate(running):
        output, _ = process.communicate(timeout=READY_SECONDS)
        assert process.returncode == 0, f"member {number}: {output[-3000:]}"
    states = ""
    for _ in range(60):
        states = members.as_root("rs.status().members.map((m) => m.stateStr).sort().join()")
        if states == "PRIMARY,SECONDARY,SECONDARY":
            break
        time.sleep(1)
    assert states == "PRIMARY,SECONDARY,SECONDARY", states
    print("  three members: one primary, two secondaries")


def check_access(members):
    plain = members.mongosh("db.hello()", check=False)
    assert plain.returncode != 0, "the server accepts a connection without TLS"
    stranger = members.mongosh("db.getSiblingDB('hospital').admissions.findOne()", "--tls", "--tlsCAFile", "/etc/mongod/ca.pem", check=False)
    assert "requires authentication" in stranger.stdout + stranger.stderr, stranger
    created = members.mongosh("db.createUser({user: 'x', pwd: 'y', roles: ['root']})", "--tls", "--tlsCAFile", "/etc/mongod/ca.pem", check=False)
    assert created.returncode != 0, "anybody can create a user"
    assert members.as_root("db.getSiblingDB('t').c.insertOne({a: 1}, {writeConcern: {w: 3, j: true}}).acknowledged") == "true"
    modes = docker("exec", members.names[0], "sh", "-c", "stat -c '%a %U %n' /etc/mongod/*; ls /etc/mongod/root 2>&1; stat -c %U $(dirname $(grep -l '^mongod$' /proc/[0-9]*/comm))").stdout
    assert "600 mongod /etc/mongod/key" in modes and "600 mongod /etc/mongod/server.pem" in modes, modes
    assert "No such file" in modes and modes.split()[-1] == "mongod", modes
    print("  no connection without TLS, nothing without a user, no file with the password, mongod is not root")


def check_again(members):
    """Checks that a second run of the script changes nothing."""
    for number in (0, 1):
        members.run(number, "user-data")
        formatted = [call for call in members.calls(number) if call.startswith("mkfs")]
        assert formatted == ["mkfs.xfs -q /dev/nvme1n1"], formatted
    assert members.as_root("db.getSiblingDB('t').c.countDocuments()") == "1"
    assert members.as_root("db.getSiblingDB('admin').system.users.countDocuments()") == "1"
    print("  a second run formats nothing and creates no second user")


def check_load(members):
    """The loader provisions and loads, with the settings of the task definitions."""
    binary = next((path for path in (ROOT / "target/release/medlift", ROOT / "target/debug/medlift") if path.is_file()), None)
    if binary is None:
        print("  NOT CHECKED: a load, because medlift is not built")
        return
    passwords = {f"{user}_PASS": f"Green-Valley-83-{user[::-1]}-x" for user in ("ADMIN", "WRITER", "READER", "LOADER", "ANALYST")}
    environment = read(TEMPLATES / "compute.yaml")["Resources"]["ProvisionTask"]["Properties"]["ContainerDefinitions"][0]["Environment"]
    settings = {entry["Name"]: entry["Value"] for entry in environment if isinstance(entry["Value"], str)}
    uri = read(TEMPLATES / "data-ec2.yaml")["Outputs"]["Uri"]["Value"]["Fn::Sub"].replace("${Name}", NAME)
    settings |= {**passwords, "MONGODB_URI": uri, "DB_NAME": "hospital", "MONGO_ROOT_USER": "admin", "MONGO_ROOT_PASS": ROOT_PASSWORD}

    def medlift(*arguments):
        options = [option for name, value in settings.items() for option in ("--env", f"{name}={value}")]
        return docker("run", "--rm", "--network", members.network, "--read-only", "--cap-drop", "ALL", "--user", "10001",
                      "--security-opt", "no-new-privileges", "--volume", f"{members.folder}/ca.pem:/etc/medlift/ca.pem:ro",
                      "--tmpfs", "/var/lib/medlift:mode=0777", "--env", "TMPDIR=/var/lib/medlift",
                      "--volume", f"{binary}:/usr/local/bin/medlift:ro", "--volume", f"{ROOT}/data/sample.csv:/sample.csv:ro",
                      *options, "--entrypoint", "medlift", members.mongo, *arguments)

    medlift("provision")
    for name in ("MONGO_ROOT_PASS", "ADMIN_PASS", "WRITER_PASS", "READER_PASS", "ANALYST_PASS"):
        del settings[name]
    settings["MEDLIFT_REJECTS"] = "/var/lib/medlift/"
    output = medlift("load", "/sample.csv", "--max-rejects", "1%").stdout
    counted = members.as_root("db.getSiblingDB('hospital').admissions.countDocuments()")
    assert counted == "992", f"{counted} documents: {output}"
    print("  provision and load with the settings of the task: 992 documents, proven")


def check(_tools):
    mongo = image()
    with tempfile.TemporaryDirectory(prefix="medlift-aws-") as folder:
        os.chmod(folder, 0o755)
        with Members(Path(folder), mongo) as members:
            for step in (check_packages, check_start, check_access, check_again, check_load):
                step(members)
    return True
