"""Run the command line with `python -m blitznet`."""

import sys

from blitznet.cli.main import main

sys.exit(main())
