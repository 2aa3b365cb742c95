#!/bin/bash
# Makes the cluster the first time, sets the password that the secret says (so that another one in .env takes effect), serves.
# The user `codeact` owns the database of the same name. Arguments are handed to postgres.
set -euo pipefail
umask 077
secret=${POSTGRES_PASSWORD_FILE:-/run/secrets/postgres_password}
password=$(<"$secret")
# It stands in SQL and in a URL below.
[[ $password =~ ^[A-Za-z0-9._~-]{8,}$ ]] || { echo "start-postgres: $secret holds no usable password" >&2; exit 1; }

alone() { postgres --single -j -D "$1" postgres >/dev/null; }

if [[ ! -s $PGDATA/PG_VERSION ]]; then
    echo "start-postgres: making the database" >&2
    new=$PGDATA.new
    rm -rf "$new"
    initdb --pgdata="$new" --username=codeact --pwfile="$secret" --auth-local=trust --auth-host=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 --data-checksums >/dev/null
    printf 'host all all all scram-sha-256\n' >>"$new/pg_hba.conf"
    printf 'CREATE DATABASE codeact;\n' | alone "$new"
    mv "$new" "$PGDATA" # only a whole one ever has the name
fi
printf "ALTER USER codeact PASSWORD '%s';\n" "$password" | alone "$PGDATA"
unset password
exec postgres -c listen_addresses='*' -c unix_socket_directories="$PGHOST" "$@"
