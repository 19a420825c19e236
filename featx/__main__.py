"""Run ``python -m featx``."""

import sys

from featx.cli import main

sys.exit(main())
