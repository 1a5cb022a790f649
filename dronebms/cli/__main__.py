# SPDX-License-Identifier: Apache-2.0
"""`python -m dronebms.cli`: the command line without an installed script."""

import sys

from dronebms.cli.entry import run

sys.exit(run())
