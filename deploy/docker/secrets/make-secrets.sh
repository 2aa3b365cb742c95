#!/bin/bash
# The stack's secrets: taken from the environment (.env) where it gives them, else made at random the first time and kept. Each
# service has a directory of its own below $SECRETS (a volume that only it is given), with the files that it reads there.
set -euo pipefail
umask 022
SECRETS=${SECRETS:-/secrets}
fail() { echo "secrets: $*" >&2; exit 1; }

# secret NAME GIVEN LENGTH: what is given, or what was made before, or a new one. They stand in URLs: no other characters.
secret() {
    local file=$SECRETS/kept/$1 value=$2
    if [[ -z $value && -s $file ]]; then
        value=$(<"$file")
    elif [[ -z $value ]]; then
        value=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
        echo "secrets: made $1" >&2
    fi
    [[ $value =~ ^[A-Za-z0-9._~-]+$ && ${#value} -ge 16 ]] ||
        fail "$1 in .env must have 16 characters or more, of A-Z a-z 0-9 . _ ~ - only. \`openssl rand -hex 32\` makes one; leave it empty, and one is made here."
    put "kept/$1" "$value"
    printf '%s' "$value"
}

# A whole file or none: a power cut must not leave half a secret.
put() {
    mkdir -p "$(dirname "$SECRETS/$1")"
    printf '%s' "$2" >"$SECRETS/$1.new"
    mv "$SECRETS/$1.new" "$SECRETS/$1"
}

postgres=$(secret POSTGRES_PASSWORD "${POSTGRES_PASSWORD:-}")
redis=$(secret REDIS_PASSWORD "${REDIS_PASSWORD:-}")
executor=$(secret CODEACT_EXECUTOR_TOKEN "${CODEACT_EXECUTOR_TOKEN:-}")
model=$(secret CODEACT_MODEL_API_KEY "${CODEACT_MODEL_API_KEY:-}")

put postgres/postgres_password "$postgres"
put redis/redis_password "$redis"
put executor/executor_token "$executor"
put model/model_api_key "$model"
put backend/codeact_store_url "postgresql+asyncpg://codeact:$postgres@postgres:5432/codeact"
put backend/codeact_bus_url "redis://:$redis@redis:6379/0"
put backend/codeact_executor_token "$executor"
# The server learns the model's name from here, since it starts while the model is still being fetched. A model server elsewhere
# says it itself, and gets the key that .env has for it, none of ours.
if [[ -n ${CODEACT_MODEL_URL:-} ]]; then
    rm -f "$SECRETS/backend/codeact_model_api_key" "$SECRETS/backend/codeact_model_name"
else
    put backend/codeact_model_api_key "$model"
    case ",${COMPOSE_PROFILES:-}," in
        *,gpu,*) put backend/codeact_model_name "${CODEACT_MODEL:-codeactagent-mistral-7b-v0.1}" ;;
        *) put backend/codeact_model_name "${CODEACT_MODEL:-qwen2.5-coder-1.5b-instruct}" ;;
    esac
fi
echo "secrets: ready" >&2
