"""All that browser and server say to each other: the protocol, and the bodies of the features' endpoints.

`python -m orchestrator.schema` prints it as one OpenAPI document, from which the TypeScript types are generated. A feature
adds what its page needs to `MODELS` in its own `schemas.py`.
"""

from __future__ import annotations

import json
import sys

from orchestrator.admin import schemas as admin
from orchestrator.protocol import schema as protocol
from orchestrator.quotas import schemas as quotas
from orchestrator.users import schemas as users

FEATURES = (*users.MODELS, *quotas.MODELS, *admin.MODELS)
UNIONS = {"SignInError": users.SignInError}


def main() -> None:
    json.dump(protocol.document(FEATURES, UNIONS), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
