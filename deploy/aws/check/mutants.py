"""Templates with one fault each (mutants). At least one checker must report each fault."""

import copy
import json

from template import all_templates


def properties(template, resource):
    return template["Resources"][resource]["Properties"]


def set_(path, value):
    """Returns a change that sets one value. Example of a path, from the resource down: `Bucket.Rules.0.Status`."""

    def change(template):
        resource, *keys = [int(key) if key.isdigit() else key for key in path.split(".")]
        place = properties(template, resource)
        for key in keys[:-1]:
            place = place[key]
        assert not isinstance(place, dict) or place.get(keys[-1]) != value, f"{path} has this value already"
        place[keys[-1]] = value

    return change


def delete(path):
    def change(template):
        resource, *keys = [int(key) if key.isdigit() else key for key in path.split(".")]
        place = properties(template, resource)
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return change


def append(path, value):
    def change(template):
        resource, *keys = [int(key) if key.isdigit() else key for key in path.split(".")]
        place = properties(template, resource)
        for key in keys[:-1]:
            place = place[key]
        place.setdefault(keys[-1], []).append(value)

    return change


def add(name, resource):
    return lambda template: template["Resources"].__setitem__(name, resource)


def without_statement(resource, sid):
    def change(template):
        document = properties(template, resource)["PolicyDocument"]
        kept = [statement for statement in document["Statement"] if statement.get("Sid") != sid]
        assert len(kept) < len(document["Statement"]), f"{resource} has no statement {sid}"
        document["Statement"] = kept

    return change


def not_retained(resource):
    return lambda template: template["Resources"][resource].__setitem__("DeletionPolicy", "Delete")


ANYWHERE = {"IpProtocol": "tcp", "FromPort": 27017, "ToPort": 27017, "CidrIp": "0.0.0.0/0", "Description": "all"}
PASSWORD = {"Name": "LOADER_PASS", "Value": "correct-horse-battery"}

# Each mutant: the fault in words, the template, and the change that makes the fault.
MUTANTS = [
    ("a bucket may become public", "storage.yaml", set_("LandingBucket.PublicAccessBlockConfiguration.BlockPublicPolicy", False)),
    ("a bucket without a block of public access", "storage.yaml", delete("RejectsBucket.PublicAccessBlockConfiguration")),
    ("a bucket policy permits reading to everybody", "storage.yaml", append("LandingBucketPolicy.PolicyDocument.Statement", {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": {"Fn::Sub": "${LandingBucket.Arn}/*"}})),
    ("a bucket accepts plain HTTP", "storage.yaml", without_statement("LandingBucketPolicy", "OnlyTls")),
    ("a bucket accepts other keys", "storage.yaml", without_statement("RejectsBucketPolicy", "OnlyThisKey")),
    ("a bucket accepts other accounts", "storage.yaml", without_statement("LandingBucketPolicy", "OnlyThisAccount")),
    ("a bucket without a key of its own", "storage.yaml", set_("LandingBucket.BucketEncryption.ServerSideEncryptionConfiguration.0.ServerSideEncryptionByDefault", {"SSEAlgorithm": "AES256"})),
    ("a bucket without versions", "storage.yaml", set_("LandingBucket.VersioningConfiguration.Status", "Suspended")),
    ("a bucket without Object Lock", "storage.yaml", delete("LandingBucket.ObjectLockConfiguration")),
    ("a bucket without an access log", "storage.yaml", delete("RejectsBucket.LoggingConfiguration")),
    ("a bucket that is deleted with its stack", "storage.yaml", not_retained("LandingBucket")),
    ("reject files without our key", "storage.yaml", delete("RejectsBucket.BucketEncryption")),
    ("reject files on a plain path", "compute.yaml", set_("LoadJob.ContainerProperties.Environment.4", {"Name": "MEDLIFT_REJECTS", "Value": "/rejects/"})),
    ("a load may delete versions of objects", "compute.yaml", append("LoadPolicy.PolicyDocument.Statement.1.Action", "s3:DeleteObjectVersion")),
    ("images whose tag can change", "storage.yaml", set_("Repository.ImageTagMutability", "MUTABLE")),
    ("a key without rotation", "keys.yaml", set_("DataKey.EnableKeyRotation", False)),
    ("a key for everybody", "keys.yaml", set_("DataKey.KeyPolicy.Statement.0.Principal", "*")),
    ("a key for EventBridge of every account", "keys.yaml", delete("DataKey.KeyPolicy.Statement.1.Condition")),
    ("an open port for the loader's group", "network.yaml", set_("LoaderGroup.SecurityGroupIngress", [ANYWHERE])),
    ("an open port of the database", "data-ec2.yaml", append("DatabaseGroup.SecurityGroupIngress", ANYWHERE)),
    ("an open port of DocumentDB", "data-documentdb.yaml", set_("DatabaseGroup.SecurityGroupIngress.0", ANYWHERE)),
    ("the loader may connect to everything", "network.yaml", delete("LoaderGroup.SecurityGroupEgress")),
    ("an internet gateway", "network.yaml", add("Gateway", {"Type": "AWS::EC2::InternetGateway"})),
    ("a subnet with public addresses", "network.yaml", set_("SubnetB.MapPublicIpOnLaunch", True)),
    ("a flow log whose group has no key", "network.yaml", delete("FlowLogGroup.KmsKeyId")),
    ("a network without a flow log", "network.yaml", lambda template: template["Resources"].pop("FlowLog")),
    ("a role that may do everything", "compute.yaml", set_("LoadPolicy.PolicyDocument.Statement.0", {"Effect": "Allow", "Action": "*", "Resource": "*"})),
    ("a role with a wildcard action", "compute.yaml", set_("LoadPolicy.PolicyDocument.Statement.0.Action", ["s3:*"])),
    ("a role that reads every secret", "compute.yaml", set_("StartPolicy.PolicyDocument.Statement.3.Resource", "*")),
    ("a role for every account", "compute.yaml", set_("LoadRole.AssumeRolePolicyDocument.Statement.0.Principal", {"AWS": "*"})),
    ("a password in the environment of a task", "compute.yaml", append("LoadTask.ContainerDefinitions.0.Environment", PASSWORD)),
    ("a password in the environment of a job", "compute.yaml", append("LoadJob.ContainerProperties.Environment", PASSWORD)),
    ("a task as root", "compute.yaml", set_("LoadTask.ContainerDefinitions.0.User", "0")),
    ("a task with capabilities", "compute.yaml", set_("LoadTask.ContainerDefinitions.0.LinuxParameters.Capabilities", {"Add": ["SYS_PTRACE"]})),
    ("a task that can change its files", "compute.yaml", set_("LoadTask.ContainerDefinitions.0.ReadonlyRootFilesystem", False)),
    ("a job that can change its files", "compute.yaml", delete("LoadJob.ContainerProperties.ReadonlyRootFilesystem")),
    ("a job with a public address", "compute.yaml", set_("WorkerJob.ContainerProperties.NetworkConfiguration.AssignPublicIp", "ENABLED")),
    ("a job without a time limit", "compute.yaml", delete("LoadJob.Timeout")),
    ("a job that repeats every failure", "compute.yaml", set_("LoadJob.RetryStrategy.EvaluateOnExit.1.Action", "RETRY")),
    ("a log that is kept in plain text", "compute.yaml", delete("LogGroup.KmsKeyId")),
    ("a secret with its text in the template", "secrets.yaml", set_("Loader.SecretString", "correct-horse-battery")),
    ("a secret without our key", "secrets.yaml", delete("Root.KmsKeyId")),
    ("a queue without encryption", "events.yaml", delete("Queue.KmsMasterKeyId")),
    ("a queue without dead letters", "events.yaml", delete("Queue.RedrivePolicy")),
    ("a topic without encryption", "observability.yaml", delete("Alarms.KmsMasterKeyId")),
    ("a trail without the reads of objects", "observability.yaml", delete("Trail.EventSelectors")),
    ("a trail that can be changed unnoticed", "observability.yaml", set_("Trail.EnableLogFileValidation", False)),
    ("a load that stalls unnoticed", "observability.yaml", set_("StalledLoadFilter.FilterPattern", '"error"')),
    ("an alarm that reaches nobody", "observability.yaml", set_("FailedAlarm.AlarmActions", [])),
    ("a volume without encryption", "data-ec2.yaml", set_("Volume1.Encrypted", False)),
    ("version 1 of the metadata service", "data-ec2.yaml", set_("Launch.LaunchTemplateData.MetadataOptions.HttpTokens", "optional")),
    ("a member with a public address", "data-ec2.yaml", set_("Member1.NetworkInterfaces", [{"DeviceIndex": "0", "AssociatePublicIpAddress": True}])),
    ("an instance without an own role", "data-ec2.yaml", delete("Member0.IamInstanceProfile")),
    ("DocumentDB without TLS", "data-documentdb.yaml", set_("Settings.Parameters.tls", "disabled")),
    ("DocumentDB without encryption", "data-documentdb.yaml", set_("Cluster.StorageEncrypted", False)),
]


def write(folder):
    """Writes each template unchanged, and each mutant to a file. Returns fault and template for each of these files."""
    templates = all_templates()
    for name, template in templates.items():
        (folder / f"unchanged-{name}").with_suffix(".json").write_text(json.dumps(template))
    files = {}
    for number, (wrong, name, change) in enumerate(MUTANTS):
        template = copy.deepcopy(templates[name])
        change(template)
        assert template != templates[name], f"{wrong}: the change changes nothing"
        file = folder / f"mutant-{number:02}.json"
        file.write_text(json.dumps(template))
        files[file.name] = (wrong, name)
    return files
