"""`python -m blitznet` is the command line."""

import sys

from blitznet.cli.main import main

sys.exit(main())
