#!/bin/sh
# Writes the passwords of each service to the volume that only this service mounts. A password in .env is read at every
# start, so that a changed password takes effect. A password that is not in .env is generated at the first start.
#
# The root password is an exception, because the database reads it only at its first start. Another password in .env is
# refused, unless the argument is `accept-root-password`.
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

keep() { # NAME: writes the password from .env, or a new one if there is none yet, to the volume with all passwords
  given=$(from_env_file "$1")
  if [ -n "$given" ]; then
    printf '%s' "$given" >"/secrets/all/$1.new"
  elif [ ! -s "/secrets/all/$1" ]; then
    random 24 >"/secrets/all/$1.new"
  else
    return 0
  fi
  mv "/secrets/all/$1.new" "/secrets/all/$1"
}

require_same_root_password() { # stops if .env has another root password than the database
  in_use=/secrets/mongo/MONGO_ROOT_PASS
  given=$(from_env_file MONGO_ROOT_PASS)
  if [ -n "$given" ] && [ -s "$in_use" ] && [ "$given" != "$(cat "$in_use")" ]; then
    cat >&2 <<'MESSAGE'
MONGO_ROOT_PASS in .env is not the root password of the database. The database reads it only at its first start, so
nothing was changed. Remove MONGO_ROOT_PASS from .env. To change the root password, change it in the database first:
see "Passwords" in docs/containers.md.
MESSAGE
    exit 1
  fi
}

hand_out() { # NAME SERVICE USER_ID: copies the password to the service's volume, and lets only this user read it
  cp "/secrets/all/$1" "/secrets/$2/$1.new"
  readonly_by "/secrets/$2/$1.new" "$3"
  mv "/secrets/$2/$1.new" "/secrets/$2/$1"
}

if [ "${1-}" != accept-root-password ]; then
  require_same_root_password
elif [ -z "$(from_env_file MONGO_ROOT_PASS)" ]; then
  echo "MONGO_ROOT_PASS is not set in .env; write the new root password there first" >&2
  exit 1
fi

medlift=10001 # the user in Medlift's image
mongodb=999   # the user in the official mongo image

for name in MONGO_ROOT_PASS ADMIN_PASS WRITER_PASS READER_PASS LOADER_PASS ANALYST_PASS; do
  keep "$name"
  readonly_by "/secrets/all/$name" "$medlift"
done
hand_out MONGO_ROOT_PASS mongo "$mongodb"
hand_out LOADER_PASS app "$medlift"
hand_out READER_PASS app "$medlift"

# The members of a replica set authenticate each other with this key. mongod refuses a key file that others can read.
if [ ! -s /secrets/mongo/replica-set-key ]; then
  random 512 >/secrets/mongo/replica-set-key
fi
readonly_by /secrets/mongo/replica-set-key "$mongodb"
for service in all app; do chmod 0755 "/secrets/$service"; done
chmod 0755 /secrets/mongo
