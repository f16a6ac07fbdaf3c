"""Checks what each role may do, from the policies that LocalStack's IAM stores.

LocalStack does not evaluate policies. This module does: an action is permitted if an Allow statement matches action and
resource. The policies of the roles have no Deny. Conditions are ignored, as if they were true.
"""

import json
from fnmatch import fnmatchcase

import boto3


def listed(value):
    return value if isinstance(value, list) else [value]


def permits(statements, action, resource):
    return any(
        statement["Effect"] == "Allow"
        and any(fnmatchcase(action.lower(), pattern.lower()) for pattern in listed(statement["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"]))
        for statement in statements
    )


def statements_of(role):
    iam = boto3.client("iam")
    found = []
    for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        policy = iam.get_policy(PolicyArn=attached["PolicyArn"])["Policy"]
        version = iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId=policy["DefaultVersionId"])
        document = version["PolicyVersion"]["Document"]
        found += (document if isinstance(document, dict) else json.loads(document))["Statement"]
    return found


def probes(size, ids):
    """Yields role, action, resource, and whether the role may do the action."""
    bucket = {kind: f"arn:aws:s3:::{size}-{kind}-000000000000-eu-central-1" for kind in ("landing", "rejects", "artifacts", "trail", "access-log")}
    batch = "arn:aws:batch:eu-central-1:000000000000:"
    data_key = f"arn:aws:kms:eu-central-1:000000000000:key/{ids['DataKey']}"
    logs_key = f"arn:aws:kms:eu-central-1:000000000000:key/{ids['LogsKey']}"
    yield from [
        ("LoadRole", "s3:GetObject", bucket["landing"] + "/2026/a.csv", True),
        ("LoadRole", "s3:GetObjectVersion", bucket["landing"] + "/2026/a.csv", True),
        ("LoadRole", "s3:ListBucket", bucket["landing"], True),
        ("LoadRole", "s3:ListBucket", bucket["rejects"], True),
        ("LoadRole", "s3:PutObject", bucket["rejects"] + "/a.csv.rejects.csv", True),
        ("LoadRole", "s3:GetObject", bucket["rejects"] + "/a.csv.rejects.csv", True),
        ("LoadRole", "s3:DeleteObject", bucket["rejects"] + "/a.csv.rejects.csv", True),
        ("LoadRole", "s3:PutObject", bucket["artifacts"] + "/server.rpm", False),
        ("LoadRole", "kms:Decrypt", data_key, True),
        ("LoadRole", "kms:GenerateDataKey", data_key, True),
        ("LoadRole", "kms:Encrypt", data_key, False),
        ("LoadRole", "s3:PutObject", bucket["landing"] + "/2026/a.csv", False),
        ("LoadRole", "s3:DeleteObject", bucket["landing"] + "/2026/a.csv", False),
        ("LoadRole", "s3:DeleteObjectVersion", bucket["rejects"] + "/x", False),
        ("LoadRole", "s3:BypassGovernanceRetention", bucket["landing"] + "/x", False),
        ("LoadRole", "s3:PutBucketPolicy", bucket["landing"], False),
        ("LoadRole", "s3:GetObject", bucket["trail"] + "/x", False),
        ("LoadRole", "s3:GetObject", "arn:aws:s3:::another-bucket/x", False),
        ("LoadRole", "kms:Decrypt", logs_key, False),
        ("LoadRole", "kms:ScheduleKeyDeletion", data_key, False),
        ("LoadRole", "secretsmanager:GetSecretValue", ids["Loader"], False),
        ("StartRole", "secretsmanager:GetSecretValue", ids["Loader"], True),
        ("StartRole", "secretsmanager:GetSecretValue", ids["IdentityKey"], True),
        ("StartRole", "secretsmanager:GetSecretValue", ids["Root"], False),
        ("StartRole", "secretsmanager:GetSecretValue", ids["Writer"], False),
        ("StartRole", "s3:GetObject", bucket["landing"] + "/x", False),
        ("ProvisionRole", "secretsmanager:GetSecretValue", ids["Root"], True),
        ("ProvisionRole", "secretsmanager:GetSecretValue", ids["IdentityKey"], False),
        ("ProvisionRole", "s3:GetObject", bucket["landing"] + "/x", False),
        ("TrailRole", "logs:DeleteLogStream", "arn:aws:logs:eu-central-1:000000000000:log-group:x", False),
    ]
    if size == "small":
        tasks = "arn:aws:ecs:eu-central-1:000000000000:task-definition/"
        yield from [
            ("ScheduleRole", "ecs:RunTask", tasks + "small-load:3", True),
            ("ScheduleRole", "ecs:RunTask", tasks + "small-provision:3", False),
            ("ScheduleRole", "iam:PassRole", "arn:aws:iam::000000000000:role/" + ids["LoadRole"], True),
            ("ScheduleRole", "iam:PassRole", "arn:aws:iam::000000000000:role/" + ids["ProvisionRole"], False),
        ]
    if size == "medium":
        yield from [
            ("PipeRole", "batch:SubmitJob", batch + "job-definition/medium-load:7", True),
            ("PipeRole", "batch:SubmitJob", batch + "job-definition/another:1", False),
            ("PipeRole", "batch:TerminateJob", batch + "job-queue/medium", False),
            ("PipeRole", "sqs:SendMessage", "arn:aws:sqs:eu-central-1:000000000000:medium-manifests", False),
            ("MemberRole", "secretsmanager:GetSecretValue", ids["Root"], True),
            ("MemberRole", "secretsmanager:GetSecretValue", ids["Loader"], False),
            ("MemberRole", "s3:GetObject", bucket["artifacts"] + "/server.rpm", True),
            ("MemberRole", "s3:PutObject", bucket["artifacts"] + "/server.rpm", False),
            ("MemberRole", "s3:GetObject", bucket["landing"] + "/a.csv", False),
            ("MemberRole", "ssm:GetParameter", "arn:aws:ssm:eu-central-1:000000000000:parameter/x", False),
        ]
    if size == "large":
        yield from [
            ("PipeRole", "states:StartExecution", ids["Flow"], True),
            ("PipeRole", "batch:SubmitJob", batch + "job-definition/large-load:1", False),
            ("FlowRole", "batch:SubmitJob", batch + "job-definition/large-worker:2", True),
            ("FlowRole", "batch:SubmitJob", batch + "job-definition/large-finish", True),
            ("FlowRole", "batch:SubmitJob", batch + "job-definition/large-load:1", False),
            ("FlowRole", "s3:GetObject", bucket["landing"] + "/x", False),
        ]


def probe(report, size, ids):
    statements = {}
    for role, action, resource, wanted in probes(size, ids):
        if role not in statements:
            statements[role] = statements_of(ids[role])
            report.yes(f"{size}: {role} has policies", statements[role])
        report.same(f"{size}: may {role} do {action} on {resource}", permits(statements[role], action, resource), wanted)
