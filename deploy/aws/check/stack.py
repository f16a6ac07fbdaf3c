"""Creates all stacks in LocalStack with deploy.sh, reads their settings, and uploads a manifest.

Runs in LocalStack's venv.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
import botocore.exceptions

import emulator
import permissions

HERE = Path(__file__).resolve().parent
DEPLOY = HERE.parent / "deploy.sh"
ACCOUNT, REGION = "000000000000", "eu-central-1"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/medlift@sha256:{'0' * 64}"

# Each deployment has another size and another target, so that every template is created at least once.
DEPLOYMENTS = {
    "small": ("atlas", ["AtlasServiceName=com.amazonaws.vpce.eu-central-1.vpce-svc-1", "AtlasUri=mongodb+srv://c-pl-0.x.mongodb.net",
                        "Schedule=cron(0 2 * * ? *)", "ScheduledManifest=s3://b/nightly.manifest.json"]),
    "medium": ("ec2", []),
    "large": ("documentdb", ["AcceptDocumentDbLimits=yes", "Workers=3"]),
}

# LocalStack accepts resources of these types but creates nothing. Only the other sections can check them.
STUBS = set("""
AWS::Backup::BackupPlan AWS::Backup::BackupSelection AWS::Backup::BackupVault AWS::Batch::ComputeEnvironment
AWS::Batch::JobDefinition AWS::Batch::JobQueue AWS::Budgets::Budget AWS::CloudTrail::Trail AWS::DocDB::DBCluster
AWS::DocDB::DBClusterParameterGroup AWS::DocDB::DBInstance AWS::DocDB::DBSubnetGroup AWS::EC2::FlowLog
AWS::EC2::LaunchTemplate AWS::EC2::SecurityGroupEgress AWS::EC2::SecurityGroupIngress AWS::EC2::Volume
AWS::EC2::VolumeAttachment AWS::ECS::Cluster AWS::ECS::TaskDefinition AWS::Pipes::Pipe AWS::Route53::HostedZone
AWS::Route53::RecordSetGroup
""".split())

# The answers of Batch to the state machine of size large. Each case: the answer about the workers, the answer about the
# finishing job, and the expected end of the state machine.
REJECTED = {"Throw": {"Error": "Batch.JobFailed", "Cause": '{"Container":{"ExitCode":4,"LogStreamName":"x"}}'}}
FAILED = {"Throw": {"Error": "Batch.JobFailed", "Cause": '{"Container":{"ExitCode":1,"LogStreamName":"x"}}'}}
FLOW_CASES = {
    "all_well": ("ok", "ok", "SUCCEEDED"),
    "a_worker_rejected_rows": ("rejected", "ok", "SUCCEEDED"),
    "the_load_has_rejects": ("rejected", "rejected", "SUCCEEDED"),
    "parts_are_missing": ("failed", "failed", "FAILED"),
}
MOCKS = {
    "StateMachines": {"large-load": {"TestCases": {name: {"Workers": workers, "Finish": finish} for name, (workers, finish, _) in FLOW_CASES.items()}}},
    "MockedResponses": {"ok": {"0": {"Return": {"Status": "SUCCEEDED"}}}, "rejected": {"0": REJECTED}, "failed": {"0": FAILED}},
}


class Report:
    """Counts the comparisons. Prints each difference."""

    def __init__(self):
        self.equal = self.different = 0

    def same(self, what, found, wanted):
        if found == wanted:
            self.equal += 1
        else:
            self.different += 1
            print(f"DIFFERENT: {what}\n  wanted {wanted!r}\n  found  {found!r}")

    def yes(self, what, found):
        self.same(what, bool(found), True)


def deploy(*arguments, name, expect=0, **settings):
    done = subprocess.run([str(DEPLOY), *arguments], env={**os.environ, "NAME": name, **settings}, capture_output=True, text=True, timeout=400)
    if done.returncode != expect:
        raise RuntimeError(f"deploy.sh {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout + done.stderr


def deploy_all(report):
    refused = deploy("up", "large", "documentdb", name="large", expect=2)
    report.yes("documentdb is refused until its limits are accepted", "AcceptDocumentDbLimits" in refused)
    refused = deploy("up", "small", "atlas", name="small", expect=2, AWS_REGION="", AWS_DEFAULT_REGION="")
    report.yes("without a region, nothing is created", refused.strip().endswith("set AWS_REGION, or run aws configure"))
    for size, (target, extra) in DEPLOYMENTS.items():
        started = time.monotonic()
        if target == "ec2":
            # Without an image, `up` creates only the first stacks and prints the next steps.
            first = deploy("up", size, target, name=size)
            report.yes("the next steps are named", "deploy.sh certificates" in first)
            deploy("certificates", name=size)
            again = deploy("certificates", name=size, expect=2)
            report.yes("a second authority is refused", "member by member" in again)
            extra = packages(report, size)
        deploy("up", size, target, f"Image={IMAGE}", "AlarmEmail=it@hospital.example", *extra, name=size)
        print(f"  {size} with {target}: created in {time.monotonic() - started:.0f} s", flush=True)


def packages(report, size):
    """Uploads two files as MongoDB's packages. Returns the parameters that deploy.sh prints for them."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "server.rpm", Path(folder) / "shell.rpm"]
        for file in files:
            file.write_text(f"the content of {file.name}")
        printed = deploy("packages", *map(str, files), name=size).split()
        sums = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    wanted = ["ServerRpm=server.rpm", f"ServerRpmSha256={sums[0]}", "ShellRpm=shell.rpm", f"ShellRpmSha256={sums[1]}"]
    report.same("parameters of the packages", printed, wanted)
    return printed


def resources(size):
    """Returns the physical id for each logical id in a deployment, and the types of resources that were not created."""
    cloudformation = boto3.client("cloudformation")
    target = DEPLOYMENTS[size][0]
    stacks = ["keys", "network", "storage", "secrets", f"data-{target}", "compute", "observability"]
    stacks += [] if size == "small" else ["events"]
    ids, stubs = {}, set()
    for stack in stacks:
        for resource in cloudformation.describe_stack_resources(StackName=f"{size}-{stack}")["StackResources"]:
            ids[resource["LogicalResourceId"]] = resource["PhysicalResourceId"]
            if resource["PhysicalResourceId"] == "unknown":
                stubs.add(resource["ResourceType"])
    return ids, stubs


def read_buckets(report, size, ids):
    s3 = boto3.client("s3")
    for kind in ("landing", "rejects", "artifacts", "trail", "access-log"):
        name = f"{size}-{kind}-{ACCOUNT}-{REGION}"
        block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
        report.yes(f"{name}: all public access is blocked", len(block) == 4 and all(block.values()))
        report.same(f"{name}: versions", s3.get_bucket_versioning(Bucket=name)["Status"], "Enabled")
        owner = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
        report.same(f"{name}: no access lists", owner, [{"ObjectOwnership": "BucketOwnerEnforced"}])
        policy = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])
        denied = {statement["Sid"] for statement in policy["Statement"] if statement["Effect"] == "Deny"}
        wanted = {"OnlyTls", "OnlyThisAccount"} | (set() if kind == "access-log" else {"OnlyThisKey"})
        report.same(f"{name}: what its policy denies", denied, wanted)
    for kind in ("landing", "rejects"):
        lock = s3.get_object_lock_configuration(Bucket=f"{size}-{kind}-{ACCOUNT}-{REGION}")["ObjectLockConfiguration"]
        report.same(f"{kind}: lock", lock["Rule"]["DefaultRetention"], {"Mode": "GOVERNANCE", "Days": 30})
    landing = f"{size}-landing-{ACCOUNT}-{REGION}"
    report.yes("landing: events", "EventBridgeConfiguration" in s3.get_bucket_notification_configuration(Bucket=landing))


def read_keys_and_secrets(report, size, ids):
    kms, secrets = boto3.client("kms"), boto3.client("secretsmanager")
    for key in ("DataKey", "LogsKey"):
        report.yes(f"{key}: rotation", kms.get_key_rotation_status(KeyId=ids[key])["KeyRotationEnabled"])
        policy = json.loads(kms.get_key_policy(KeyId=ids[key], PolicyName="default")["Policy"])
        services = [statement for statement in policy["Statement"] if "Service" in statement["Principal"]]
        report.yes(f"{key}: services have conditions", all(statement.get("Condition") for statement in services))
    for secret in ("root", "admin", "writer", "reader", "loader", "analyst", "identity-key"):
        described = secrets.describe_secret(SecretId=f"{size}/{secret}")
        report.yes(f"{secret}: our key", described["KmsKeyId"].endswith(ids["DataKey"]))
        text = secrets.get_secret_value(SecretId=f"{size}/{secret}")["SecretString"]
        report.yes(f"{secret}: 40 letters and digits", len(text) == 40 and text.isalnum())


def read_network(report, size, ids):
    ec2 = boto3.client("ec2")
    here = [{"Name": "vpc-id", "Values": [ids["Vpc"]]}]
    subnets = ec2.describe_subnets(Filters=here)["Subnets"]
    report.same("zones", len({subnet["AvailabilityZone"] for subnet in subnets}), 3)
    report.yes("no subnet gives public addresses", not any(subnet["MapPublicIpOnLaunch"] for subnet in subnets))
    report.same("NAT gateways", ec2.describe_nat_gateways(Filters=here)["NatGateways"], [])
    attached = [{"Name": "attachment.vpc-id", "Values": [ids["Vpc"]]}]
    report.same("internet gateways", ec2.describe_internet_gateways(Filters=attached)["InternetGateways"], [])
    for table in ec2.describe_route_tables(Filters=here)["RouteTables"]:
        destinations = [route.get("DestinationCidrBlock", route.get("DestinationPrefixListId", "")) for route in table["Routes"]]
        report.yes(f"no default route: {destinations}", "0.0.0.0/0" not in destinations)
    endpoints = ec2.describe_vpc_endpoints(Filters=here)["VpcEndpoints"]
    services = {endpoint["ServiceName"].rsplit(f"{REGION}.", 1)[-1] for endpoint in endpoints}
    report.yes(f"endpoints: {services}", {"s3", "ecr.api", "ecr.dkr", "logs", "secretsmanager"} <= services)
    group = ec2.describe_security_groups(GroupIds=[ids["LoaderGroup"]])["SecurityGroups"][0]
    report.same("nobody connects to the loader", group["IpPermissions"], [])


def read_queues_and_alarms(report, size, ids):
    cloudwatch, events, sns = boto3.client("cloudwatch"), boto3.client("events"), boto3.client("sns")
    alarms = {alarm["AlarmName"]: alarm for alarm in cloudwatch.describe_alarms(AlarmNamePrefix=f"{size}-")["MetricAlarms"]}
    wanted = {f"{size}-failed-load", f"{size}-rejects", f"{size}-stalled-load"}
    wanted |= set() if size == "small" else {f"{size}-dead-letters", f"{size}-stalled"}
    wanted |= {"large-failed-flow"} if size == "large" else set()
    report.same("alarms", set(alarms), wanted)
    report.yes("every alarm sends a mail", all(alarm["AlarmActions"] == [ids["Alarms"]] for alarm in alarms.values()))
    stalled_load_raises_alarm(report, size, alarms)
    topic = sns.get_topic_attributes(TopicArn=ids["Alarms"])["Attributes"]
    report.yes("topic: our key", topic["KmsMasterKeyId"].endswith(ids["LogsKey"]))
    failed = json.loads(events.describe_rule(Name=f"{size}-failed")["EventPattern"])
    report.yes("the rule of failures knows exit code 4", "4" in json.dumps(failed["detail"]))
    rules_match(report, size)
    if size == "small":
        return
    sqs = boto3.client("sqs")
    attributes = sqs.get_queue_attributes(QueueUrl=ids["Queue"], AttributeNames=["All"])["Attributes"]
    report.yes("queue: our key", attributes["KmsMasterKeyId"].endswith(ids["DataKey"]))
    redrive = json.loads(attributes["RedrivePolicy"])
    report.same("queue: attempts", int(redrive["maxReceiveCount"]), 5)
    report.yes("queue: dead letters", redrive["deadLetterTargetArn"].endswith(f"{size}-dead-letters"))


def stalled_load_raises_alarm(report, size, alarms):
    """Checks the way from a line in the log to the alarm. LocalStack does not compare lines with the pattern."""
    logs, cloudwatch = boto3.client("logs"), boto3.client("cloudwatch")
    group = f"/{size}/loads"
    found = logs.describe_metric_filters(logGroupName=group)["metricFilters"]
    report.same(f"{size}: words in the log", [one["filterPattern"] for one in found], ['"no progress for"'])
    metric, alarm = found[0]["metricTransformations"][0], alarms[f"{size}-stalled-load"]
    names = (metric["metricNamespace"], metric["metricName"])
    report.same(f"{size}: metric of the alarm", (alarm["Namespace"], alarm["MetricName"]), names)
    report.same(f"{size}: without a load, no alarm", alarm["TreatMissingData"], "notBreaching")
    line = "reading and writing: 1,000 rows, 0 rejected, 0 committed; no progress for 5 min"
    logs.create_log_stream(logGroupName=group, logStreamName="load/1")
    logs.put_log_events(logGroupName=group, logStreamName="load/1", logEvents=[{"timestamp": int(time.time() * 1000), "message": line}])
    now = time.time()
    for _ in range(50):
        points = cloudwatch.get_metric_statistics(
            Namespace=names[0], MetricName=names[1], StartTime=now - 300, EndTime=now + 60, Period=60, Statistics=["Sum"])["Datapoints"]
        if points:
            break
        time.sleep(0.2)
    report.same(f"{size}: lines without progress", sum(point["Sum"] for point in points), 1.0)


def rules_match(report, size):
    """Checks for each exit code which of the two rules about ended loads matches. EventBridge does the matching."""
    events = boto3.client("events")
    batch = size != "small"

    def event(code):
        exit_code = {} if code is None else {"exitCode": code}
        detail = {"status": "FAILED", "jobQueue": f"arn:aws:batch:{REGION}:{ACCOUNT}:job-queue/{size}", "container": exit_code}
        if not batch:
            detail = {"lastStatus": "STOPPED", "clusterArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{size}", "containers": [exit_code]}
        kind = ("aws.batch", "Batch Job State Change") if batch else ("aws.ecs", "ECS Task State Change")
        return json.dumps({"id": "1", "version": "0", "account": ACCOUNT, "region": REGION, "time": "2026-11-30T00:00:00Z",
                           "resources": [], "source": kind[0], "detail-type": kind[1], "detail": detail})

    cases = {1: (True, False), 3: (True, False), 4: (False, True), None: (True, False)}
    cases |= {} if batch else {0: (False, False)}
    for code, wanted in cases.items():
        found = tuple(
            events.test_event_pattern(EventPattern=events.describe_rule(Name=f"{size}-{rule}")["EventPattern"], Event=event(code))["Result"]
            for rule in ("failed", "rejects")
        )
        report.same(f"{size}: rules (failed, rejects) for exit code {code}", found, wanted)


def manifest_arrives(report, size, ids):
    """Checks that an upload becomes one message, and that a message becomes a dead letter after five attempts."""
    s3, sqs = boto3.client("s3"), boto3.client("sqs")
    bucket = f"{size}-landing-{ACCOUNT}-{REGION}"
    for key in ("2026/a.csv", "2026/load.manifest.json", "2026/load.manifest.json.txt"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
    bodies = []
    for _ in range(5):
        answer = sqs.receive_message(QueueUrl=ids["Queue"], MaxNumberOfMessages=10, WaitTimeSeconds=2, VisibilityTimeout=0)
        bodies += [json.loads(message["Body"]) for message in answer.get("Messages", [])]
    report.same("messages, received five times", bodies, [{"manifest": f"s3://{bucket}/2026/load.manifest.json"}] * 5)
    sqs.receive_message(QueueUrl=ids["Queue"], WaitTimeSeconds=2)
    dead = sqs.receive_message(QueueUrl=ids["DeadLetters"], WaitTimeSeconds=5).get("Messages", [])
    report.same("dead letters", [json.loads(message["Body"]) for message in dead], bodies[:1])
    version = s3.list_object_versions(Bucket=bucket, Prefix="2026/a.csv")["Versions"][0]["VersionId"]
    try:
        s3.delete_object(Bucket=bucket, Key="2026/a.csv", VersionId=version)
        report.yes("Object Lock refuses to delete a version", False)
    except botocore.exceptions.ClientError as error:
        report.same("Object Lock refuses to delete a version", error.response["Error"]["Code"], "AccessDenied")


def flow_decides(report, ids):
    """Checks how the state machine of size large ends, with the answers of Batch from MOCKS."""
    steps = boto3.client("stepfunctions")
    for case, (_, _, wanted) in FLOW_CASES.items():
        message = json.dumps([{"manifest": "s3://b/load.manifest.json"}])
        run = steps.start_execution(stateMachineArn=f"{ids['Flow']}#{case}", input=message)["executionArn"]
        for _ in range(60):
            status = steps.describe_execution(executionArn=run)["status"]
            if status != "RUNNING":
                break
            time.sleep(0.2)
        report.same(f"flow: {case}", status, wanted)


def main():
    report = Report()
    deploy_all(report)
    stubs = set()
    for size in DEPLOYMENTS:
        ids, of_size = resources(size)
        stubs |= of_size
        read_buckets(report, size, ids)
        read_keys_and_secrets(report, size, ids)
        read_network(report, size, ids)
        read_queues_and_alarms(report, size, ids)
        permissions.probe(report, size, ids)
        if size != "small":
            manifest_arrives(report, size, ids)
        if size == "large":
            flow_decides(report, ids)
    report.same("resources that LocalStack does not create", stubs, STUBS)
    print(f"{report.equal} comparisons as wanted, {report.different} different; {len(stubs)} types of resources are stubs")
    return 1 if report.different else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="medlift-aws-") as place:
        with emulator.running(Path(sys.prefix), Path(place), MOCKS) as environment:
            os.environ.update(environment)
            try:
                code = main()
            finally:
                if os.environ.get("KEEP_LOG"):
                    Path(os.environ["KEEP_LOG"]).write_text((Path(place) / "localstack.log").read_text())
    sys.exit(code)
