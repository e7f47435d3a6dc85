"""`python -m runjob.runner` is `runjob`."""

import sys

from runjob.runner.cli import main

sys.exit(main())
