#!/bin/sh
# Writes the passwords of each service to the service's own volume. A password in .env is read at every start, so that
# a changed password takes effect. A password that is not in .env is generated. When a password is removed from .env, a
# new one is generated, and `medlift provision` changes it in the database.
#
# The root password is an exception, because the database reads it only at its first start. If .env contains another
# one, this script keeps the password in use, and the service `app` prints the reason and loads nothing. With the
# argument `accept-root-password`, the script takes the root password from .env.
set -eu
umask 077

readonly_by() { # FILE USER_ID: lets only this user read the file
  chmod 0400 "$1"
  chown "$2:$2" "$1"
}

from_env_file() { # NAME: prints its value in .env, without quotes, blanks at the ends and a comment after it
  [ -f /project/.env ] || return 0
  sed -e '1s/^\xef\xbb\xbf//' -e 's/^[[:space:]]*export[[:space:]]//' /project/.env | tr -d '\r' |
    sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*//p" | tail -n 1 |
    sed -e "s/^'\([^']*\)'.*\$/\1/" -e t -e 's/^"\([^"]*\)".*$/\1/' -e t \
      -e 's/^#.*$//' -e 's/[[:space:]]#.*$//' -e 's/[[:space:]]*$//'
}

random() { # BYTES: prints letters and digits that are made from this many random bytes; they need no quotes
  head -c "$1" /dev/urandom | base64 | tr -dc 'A-Za-z0-9'
}

store() { # NAME PASSWORD: writes the password to the volume with all passwords
  printf '%s' "$2" >"/secrets/all/$1.new"
  mv "/secrets/all/$1.new" "/secrets/all/$1"
}

keep() { # NAME: stores the password from .env, or a new one if .env has none and the stored one was not generated
  given=$(from_env_file "$1")
  mark="/secrets/all/.from-env-$1" # exists if the stored password was in .env
  if [ -n "$given" ]; then
    # The mark is written first. A password without a mark would count as generated and never be forgotten.
    : >"$mark"
    store "$1" "$given"
  elif [ -e "$mark" ] || [ ! -s "/secrets/all/$1" ]; then
    store "$1" "$(random 24)"
    rm -f "$mark"
  fi
}

keep_root_password() { # the same for the root password, which stays if it is in use
  given=$(from_env_file MONGO_ROOT_PASS)
  in_use=$(cat /secrets/mongo/MONGO_ROOT_PASS 2>/dev/null || true)
  rm -f "$refused"
  if [ -z "$in_use" ]; then
    store MONGO_ROOT_PASS "${given:-$(random 24)}"
  elif [ -n "$given" ] && [ "$given" != "$in_use" ]; then
    tee "$refused" >&2 <<'MESSAGE'
MONGO_ROOT_PASS in .env is not the root password of the database. The database reads it only at its first start, so
nothing was changed. Remove MONGO_ROOT_PASS from .env. To change the root password, change it in the database first:
see "Passwords" in docs/containers.md.
MESSAGE
    readonly_by "$refused" "$medlift"
  fi
}

accept_root_password() { # stores another root password, which is already in use in the database
  given=$(from_env_file MONGO_ROOT_PASS)
  if [ -z "$given" ]; then
    echo "MONGO_ROOT_PASS is not set in .env; write the new root password there first" >&2
    exit 1
  fi
  rm -f "$refused"
  store MONGO_ROOT_PASS "$given"
}

hand_out() { # NAME SERVICE USER_ID: copies the password to the service's volume, and lets only this user read it
  cp "/secrets/all/$1" "/secrets/$2/$1.new"
  readonly_by "/secrets/$2/$1.new" "$3"
  mv "/secrets/$2/$1.new" "/secrets/$2/$1"
}

medlift=10001 # the user in Medlift's image
mongodb=999   # the user in the official mongo image
refused=/secrets/all/.refused # the reason why the stack cannot be used; deploy/provision.sh reads it

if [ "${1-}" = accept-root-password ]; then accept_root_password; else keep_root_password; fi
for name in ADMIN_PASS WRITER_PASS READER_PASS LOADER_PASS ANALYST_PASS MEDLIFT_HTTP_TOKEN; do keep "$name"; done
for name in MONGO_ROOT_PASS ADMIN_PASS WRITER_PASS READER_PASS LOADER_PASS ANALYST_PASS MEDLIFT_HTTP_TOKEN; do
  readonly_by "/secrets/all/$name" "$medlift"
done
hand_out MONGO_ROOT_PASS mongo "$mongodb"
hand_out LOADER_PASS app "$medlift"
hand_out READER_PASS app "$medlift"
hand_out LOADER_PASS feed "$medlift"
hand_out MEDLIFT_HTTP_TOKEN feed "$medlift"

# The members of a replica set authenticate each other with this key. mongod refuses a key file that others can read.
if [ ! -s /secrets/mongo/replica-set-key ]; then
  random 512 >/secrets/mongo/replica-set-key
fi
readonly_by /secrets/mongo/replica-set-key "$mongodb"
for service in all app feed; do chmod 0755 "/secrets/$service"; done
chmod 0755 /secrets/mongo
