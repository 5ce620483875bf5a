"""The template on the local stack, for minutes: `make test-modes`, `test-access`, `test-update` and `test-iam`.

`make test` leaves this out.
"""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("STORESCP_SLOW") else ["test_*.py"]
