"""`python3 -m check_conntrack_lib VERB`: conntrack-doctor from a checkout."""

import sys

from .doctor.cli import main

sys.exit(main())
