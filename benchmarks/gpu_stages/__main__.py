import sys

from gpu_stages.command import main

sys.exit(main(sys.argv[1:]))
