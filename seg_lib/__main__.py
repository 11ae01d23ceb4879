"""``python -m seg_lib`` is the command ``seg-lib``."""

import sys

from seg_lib.cli import main

sys.exit(main())
