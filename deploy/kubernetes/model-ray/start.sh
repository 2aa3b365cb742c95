#!/bin/bash
# One pod of the Ray cluster that holds one model. The first is its head and serves; the others join it and give their GPUs.
# What is lost of it is begun anew by all: the head ends when its engine does, the others when they lose the head.
set -euo pipefail
head=model-server-0.model-ray
if [[ $HOSTNAME != model-server-0 ]]; then
    exec ray start --address="$head:6379" --block --disable-usage-stats
fi
ray start --head --port=6379 --disable-usage-stats --include-dashboard=false
# vLLM waits for GPUs that come late, but not for ever.
python3 - "$RAY_NODES" <<'PYTHON'
import sys, time
import ray

ray.init(address="auto", log_to_driver=False)
deadline = time.monotonic() + 3600
while (there := sum(node["Alive"] for node in ray.nodes())) < int(sys.argv[1]):
    if time.monotonic() > deadline:
        sys.exit(f"Only {there} of {sys.argv[1]} pods have come. Look at those that have not: kubectl -n codeact describe pod.")
    time.sleep(2)
PYTHON
exec python3 -m model_server serve
