"""`python -m alexnet`: the same as the command `alexnet`."""

import sys

from alexnet import starting
from alexnet.cli import main

starting.imported()
sys.exit(main())
