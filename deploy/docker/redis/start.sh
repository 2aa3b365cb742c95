#!/bin/sh
# Writes the settings to memory, since neither arguments nor the image may hold the password, and serves. What is in here can
# be lost at any time: facts are PostgreSQL's.
set -eu
umask 077
secret=${REDIS_PASSWORD_FILE:-/run/secrets/redis_password}
[ -s "$secret" ] || { echo "start-redis: there is no password in $secret" >&2; exit 1; }
cat >/run/redis/redis.conf <<CONF
bind 0.0.0.0
protected-mode yes
port 6379
requirepass $(cat "$secret")
save ""
appendonly no
dir /run/redis
maxmemory ${REDIS_MAXMEMORY:-512mb}
maxmemory-policy volatile-lru
CONF
exec redis-server /run/redis/redis.conf
