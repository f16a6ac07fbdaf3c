"""Submits the jobs of size large to moto's AWS Batch: an array of workers, then the finishing job. Runs in moto's venv.

moto checks the job definitions of the template, and makes one child job per index. It runs no container here.
"""

import sys
import time

import boto3
from moto import mock_aws

from template import TEMPLATES, read

REGION = "eu-central-1"
WORKERS = 3
VALUES = {"Name": "large", "Workers": WORKERS, "MaxRejects": "1%", "Vcpus": "4", "Memory": "8192", "ScratchGiB": 100,
          "Image": "medlift:x", "Uri": "mongodb://db/", "Database": "hospital", "TimeLimitSeconds": 3600, "AWS::Region": REGION}


def resolved(value):
    """Replaces each Ref by its value in VALUES, and each reference to another resource or stack by an example ARN."""
    if isinstance(value, list):
        return [resolved(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (function, argument), = value.items()
        if function == "Ref":
            return VALUES.get(argument, argument)
        if function in ("Fn::Sub", "Fn::ImportValue", "Fn::GetAtt"):
            return "arn:aws:iam::123456789012:role/x"
    return {key: resolved(item) for key, item in value.items()}


def as_api(value):
    """Returns the value with the keys of the API. CloudFormation writes `JobRoleArn`, the API writes `jobRoleArn`."""
    if isinstance(value, list):
        return [as_api(item) for item in value]
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: as_api(item) for key, item in value.items()}
    return value


def register(batch, template, resource):
    properties = as_api(resolved(template["Resources"][resource]["Properties"]))
    container = properties["containerProperties"]
    container["command"] = [str(word) for word in container["command"]]
    definition = batch.register_job_definition(
        jobDefinitionName=resource, type="container", containerProperties=container,
        platformCapabilities=properties["platformCapabilities"], retryStrategy=properties["retryStrategy"],
        timeout=properties["timeout"], parameters=properties["parameters"],
    )
    return definition["jobDefinitionArn"]


def queue(batch, iam, ec2):
    role = iam.create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.0.0/20")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="loader", Description="loader", VpcId=vpc)["GroupId"]
    machines = batch.create_compute_environment(
        computeEnvironmentName="large", type="MANAGED", serviceRole=role,
        computeResources={"type": "FARGATE", "maxvCpus": 64, "subnets": [subnet], "securityGroupIds": [group]},
    )["computeEnvironmentArn"]
    order = [{"order": 1, "computeEnvironment": machines}]
    return batch.create_job_queue(jobQueueName="large", state="ENABLED", priority=1, computeEnvironmentOrder=order)["jobQueueArn"]


def ended(batch, job):
    for _ in range(100):
        described = batch.describe_jobs(jobs=[job])["jobs"][0]
        if described["status"] in ("SUCCEEDED", "FAILED"):
            return described
        time.sleep(0.2)
    raise RuntimeError(f"the job is still {described['status']}")


def check():
    batch, iam, ec2 = (boto3.client(service, region_name=REGION) for service in ("batch", "iam", "ec2"))
    template = read(TEMPLATES / "compute.yaml")
    jobs = queue(batch, iam, ec2)
    worker, finish = register(batch, template, "WorkerJob"), register(batch, template, "FinishJob")
    manifest = {"manifest": "s3://b/load.manifest.json"}
    array = batch.submit_job(jobName="workers", jobQueue=jobs, jobDefinition=worker, arrayProperties={"size": WORKERS}, parameters=manifest)["jobId"]
    parent = ended(batch, array)
    assert parent["status"] == "SUCCEEDED", parent
    assert parent["arrayProperties"]["size"] == WORKERS, parent
    children = batch.describe_jobs(jobs=[f"{array}:{index}" for index in range(WORKERS)])["jobs"]
    # moto does not report the index of a child, and sets no AWS_BATCH_JOB_ARRAY_INDEX.
    assert [child["jobId"] for child in children] == [f"{array}:{index}" for index in range(WORKERS)], children
    command = children[0]["container"]["command"]
    assert command[:2] == ["load", "--manifest"] and command[3:5] == ["--of", str(WORKERS)], command
    assert children[0]["container"]["readonlyRootFilesystem"] is True, children[0]
    last = batch.submit_job(jobName="finish", jobQueue=jobs, jobDefinition=finish, dependsOn=[{"jobId": array}], parameters=manifest)["jobId"]
    assert ended(batch, last)["status"] == "SUCCEEDED"
    print(f"  an array of {WORKERS} workers, then one job that finishes the load")


if __name__ == "__main__":
    with mock_aws(config={"batch": {"use_docker": False}}):
        check()
    sys.exit(0)
