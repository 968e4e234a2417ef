"""`python -m shelfmatch.edge.cli`."""

import sys

from .app import main

sys.exit(main())
