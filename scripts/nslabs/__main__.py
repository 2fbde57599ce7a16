"""`python3 -m nslabs`: the same as scripts/nslab."""

import sys

from .cli import main

sys.exit(main(sys.argv[1:]))
