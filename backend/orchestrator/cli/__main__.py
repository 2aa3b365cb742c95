"""`python -m orchestrator.cli` is the `codeact` command."""

import sys

from orchestrator.cli import main

sys.exit(main())
