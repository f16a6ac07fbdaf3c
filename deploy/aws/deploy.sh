#!/usr/bin/env bash
# Deploys Medlift to an AWS account, one CloudFormation stack per template. Every command except `certificates` can be
# repeated.
#
#   deploy.sh up SIZE TARGET [Key=Value…]   SIZE: small, medium, large. TARGET: atlas, ec2, documentdb.
#                                           Without Image=…, it deploys only what does not need the image.
#   deploy.sh certificates                  target ec2: makes an authority and the certificate of the members
#   deploy.sh packages SERVER SHELL         target ec2: uploads MongoDB's packages, prints their parameters
#   deploy.sh provision                     creates collections, indexes, roles and users in the database
#   deploy.sh run s3://…/x.manifest.json    starts one load by hand
#
# $CA_PEM is where `certificates` writes the authority for the image (default: ca.pem beside this file).
# $MAX_REJECTS is the share of rejects at which `run` fails (default: 1%).
# $NAME is the name of the deployment (default: medlift). The AWS CLI's variables choose account and region.
set -euo pipefail
shopt -s inherit_errexit # a failed command also ends $(…)
here=$(cd "$(dirname "$0")" && pwd)
name=${NAME:-medlift}
base=(keys network storage secrets)

fail() { echo "deploy.sh: $1" >&2; exit 2; }

output() { # STACK KEY: prints an output of a stack
  aws cloudformation describe-stacks --stack-name "$name-$1" --output text \
    --query "Stacks[0].Outputs[?OutputKey=='$2'].OutputValue"
}

stack() { # TEMPLATE: creates or updates the stack; parameters that the template does not have are ignored
  echo "stack $name-$1"
  aws cloudformation deploy --stack-name "$name-$1" --template-file "$here/templates/$1.yaml" \
    --parameter-overrides "${parameters[@]}" --capabilities CAPABILITY_IAM --no-fail-on-empty-changeset \
    --tags "application=$name" "data=patients" "size=$size"
}

up() { # SIZE TARGET [Key=Value…]
  size=${1-} target=${2-}
  case $size in small | medium | large) ;; *) fail "the size is small, medium or large, not '$size'" ;; esac
  case $target in atlas | ec2 | documentdb) ;; *) fail "the target is atlas, ec2 or documentdb, not '$target'" ;; esac
  shift 2
  mapfile -t parameters < <(grep -v -e '^#' -e '^$' "$here/parameters/$size.parameters")
  [ "$target" != documentdb ] || parameters+=(RootUser=medliftroot)
  parameters+=("Name=$name" "$@") # if a parameter is given twice, the last value is used
  accepts_limits
  # If the command in $(…) fails, the assignment fails and the script ends. In an argument, bash ignores the failure.
  local template found
  found=$(s3_prefix_list)
  parameters+=("S3PrefixList=$found")
  for template in "${base[@]}"; do stack "$template"; done
  has Image || { next_steps; return; }
  has AlarmEmail || fail "AlarmEmail=… is missing: the address that gets the alarms"
  if [ "$target" = ec2 ] && ! has MongoImage; then
    found=$(mongo_image)
    parameters+=("MongoImage=$found")
  fi
  stack "data-$target"
  found=$(output "data-$target" Uri)
  parameters+=("Uri=$found")
  stack compute
  [ "$size" = small ] || stack events
  stack observability
}

has() { printf '%s\n' "${parameters[@]}" | grep -q "^$1=."; }

accepts_limits() { # for DocumentDB, the user must confirm first that its limits are accepted
  [ "$target" != documentdb ] || has AcceptDocumentDbLimits ||
    fail "Medlift was never tried with DocumentDB. Read 'DocumentDB' in deploy/aws/README.md, then add AcceptDocumentDbLimits=yes"
}

s3_prefix_list() {
  local region
  region=$(region)
  aws ec2 describe-managed-prefix-lists --output text --query 'PrefixLists[0].PrefixListId' \
    --filters "Name=prefix-list-name,Values=com.amazonaws.$region.s3"
}

mongo_image() { # prints the image of the existing members, or the newest one if there are none
  output data-ec2 MongoImage 2>/dev/null | grep . ||
    aws ssm get-parameter --output text --query Parameter.Value \
      --name /aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64
}

region() {
  local region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
  [ -n "$region" ] || fail "no region is set: set AWS_REGION, or run aws configure"
  echo "$region"
}

next_steps() {
  echo "The image is missing. Build it (README.md, 'The image') and push it to $(output storage Repository)."
  [ "$target" != ec2 ] || echo "Then run: deploy.sh certificates; deploy.sh packages SERVER SHELL"
  echo "Then run: deploy.sh up $size $target Image=$(output storage Repository)@sha256:… AlarmEmail=…"
}

certificates() { # the private key of the authority is not stored, so a new certificate needs a new authority
  ! aws secretsmanager describe-secret --secret-id "$name/mongodb-certificate" >/dev/null 2>&1 ||
    fail "the secret $name/mongodb-certificate exists. New certificates would separate the members and the image from each other; replace them by hand, member by member"
  local subject
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  subject="DNS:*.$name.internal,DNS:localhost"
  (
    umask 077 && cd "$folder"
    openssl req -x509 -newkey rsa:3072 -nodes -days 1095 -subj "/O=$name/CN=$name authority" \
      -keyout ca.key -out ca.pem 2>/dev/null
    openssl req -newkey rsa:3072 -nodes -subj "/O=$name/CN=*.$name.internal" -keyout server.key -out server.csr 2>/dev/null
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1095 \
      -extfile <(echo "subjectAltName=$subject") -out server.crt 2>/dev/null
    cat server.crt server.key >server.pem
  )
  local key
  key=$(output keys DataKey)
  aws secretsmanager create-secret --name "$name/mongodb-authority" --kms-key-id "$key" \
    --secret-string "file://$folder/ca.pem" >/dev/null
  aws secretsmanager create-secret --name "$name/mongodb-certificate" --kms-key-id "$key" \
    --secret-string "file://$folder/server.pem" >/dev/null
  install -m 0644 "$folder/ca.pem" "${CA_PEM:-$here/ca.pem}" # the image's user must be able to read it
  echo "The secrets $name/mongodb-authority and $name/mongodb-certificate are stored. The image needs ${CA_PEM:-$here/ca.pem} (README.md, 'The image')."
}

packages() { # SERVER SHELL: files with MongoDB's packages for the architecture of the instances
  local file key=Server
  for file in "${1:?the server package}" "${2:?the package of mongosh}"; do
    aws s3 cp --only-show-errors "$file" "s3://$(output storage Artifacts)/$(basename "$file")"
    echo "${key}Rpm=$(basename "$file") ${key}RpmSha256=$(sha256sum "$file" | cut -d ' ' -f 1)"
    key=Shell
  done
}

task() { # TASK [COMMAND…]: runs a task, waits for it, and ends with the exit code of its container
  local definition overrides='{}' subnet group network arn
  definition=$(output compute "$1")
  shift
  [ $# -eq 0 ] || overrides=$(python3 -c 'import json, sys
print(json.dumps({"containerOverrides": [{"name": "medlift", "command": sys.argv[1:]}]}))' "$@")
  subnet=$(output network SubnetA)
  group=$(output network LoaderGroup)
  network="awsvpcConfiguration={subnets=[$subnet],securityGroups=[$group],assignPublicIp=DISABLED}"
  arn=$(aws ecs run-task --cluster "$name" --task-definition "$definition" --launch-type FARGATE \
    --network-configuration "$network" --overrides "$overrides" --query 'tasks[0].taskArn' --output text)
  echo "task $arn; its log is in the log group /$name/loads"
  while [ "$(status "$arn" lastStatus)" != STOPPED ]; do sleep 10; done
  exit "$(status "$arn" 'containers[0].exitCode')"
}

status() { aws ecs describe-tasks --cluster "$name" --tasks "$1" --query "tasks[0].$2" --output text; }

case ${1-} in
  up) shift && up "$@" ;;
  certificates) certificates ;;
  packages) shift && packages "$@" ;;
  provision) task ProvisionTask ;;
  run) task LoadTask load --manifest "${2:?the s3:// address of a manifest}" --max-rejects "${MAX_REJECTS:-1%}" ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"; exit 2 ;;
esac
