"""``python -m static_bfp TASK...`` is ``static-bfp TASK...``."""

from __future__ import annotations

import sys

from static_bfp.command import main

sys.exit(main())
