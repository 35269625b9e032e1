"""`python -m alexnet`: the same as the command `alexnet`."""

import sys

from alexnet_command import main

sys.exit(main())
