#!/bin/sh
# Runs this command. If the stack could not be set up, prints the reason instead.
set -eu
reason=/var/lib/medlift/.not-ready # written by deploy/provision.sh
if [ -s "$reason" ]; then
  echo "The stack is not ready, and nothing was done, because:" >&2
  cat "$reason" >&2
  echo "Correct this, then run 'docker compose up' again." >&2
  exit 1
fi
exec "$@"
