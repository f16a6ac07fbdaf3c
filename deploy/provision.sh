#!/bin/sh
# Runs `medlift provision` for the stack. If it fails, this script stores the reason for the service `app` and succeeds.
# `app` then prints the reason and loads nothing. If this service failed instead, `up` of Docker Compose 1.29 would show
# no output of any service. With arguments, this script only runs Medlift with these arguments.
set -eu
[ "$#" -eq 0 ] || exec medlift "$@"

reason=/var/lib/medlift/.not-ready # read by deploy/when-ready.sh
refused=/run/medlift/.refused      # written by deploy/secrets.sh
: >/tmp/reason
[ ! -s "$refused" ] || cat "$refused" >/tmp/reason
medlift provision >/tmp/output 2>/tmp/errors || {
  code=$?
  cat /tmp/output /tmp/errors >>/tmp/reason
  # A killed program has printed nothing.
  echo "medlift provision ended with exit code $code" >>/tmp/reason
}
cat /tmp/output
if [ -s /tmp/reason ]; then
  # The new file replaces the old one at once, so that `app` never reads a part of it.
  cp /tmp/reason "$reason.new"
  mv -f "$reason.new" "$reason"
else
  rm -f "$reason"
fi
