#!/bin/sh
# Whether Redis takes the password and answers.
REDISCLI_AUTH=$(cat "${REDIS_PASSWORD_FILE:-/run/secrets/redis_password}") redis-cli ping 2>/dev/null | grep -qx PONG
