#!/usr/bin/env bash
# Makes the secrets of an overlay, once: deploy/kubernetes/secrets.sh deploy/kubernetes/overlays/cluster
# They lie in its directory `secrets`, which git ignores and only you can read; kustomize makes Secrets of them. What is there
# already stays. A database or a Redis of your own: write its URL to backend/codeact_store_url, backend/codeact_bus_url. The
# key of a model server elsewhere: backend/codeact_model_api_key. Keep the directory as you keep keys.
set -euo pipefail
umask 077
[[ $# -eq 1 && -f $1/kustomization.yaml ]] || { echo "Usage: $0 OVERLAY (a directory with a kustomization.yaml)" >&2; exit 2; }
cd "$1"
mkdir -p secrets/{backend,executor,postgres,redis,model}

# keep FILE VALUE: without a newline at its end, and whole or not at all
keep() {
    [[ -s secrets/$1 ]] && return
    printf '%s' "$2" >"secrets/$1.new"
    mv "secrets/$1.new" "secrets/$1"
    echo "made secrets/$1"
}
random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

keep postgres/postgres_password "$(random)"
keep redis/redis_password "$(random)"
keep executor/codeact_executor_token "$(random)"
keep model/codeact_model_api_key "$(random)"
keep backend/codeact_executor_token "$(<secrets/executor/codeact_executor_token)"
keep backend/codeact_model_api_key "$(<secrets/model/codeact_model_api_key)"
keep backend/codeact_store_url "postgresql+asyncpg://codeact:$(<secrets/postgres/postgres_password)@postgres:5432/codeact"
keep backend/codeact_bus_url "redis://:$(<secrets/redis/redis_password)@redis:6379/0"
