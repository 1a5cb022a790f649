# SPDX-License-Identifier: Apache-2.0
"""Values of the service that the command line names too; without the modules that use them."""

PERIOD_S = 0.1  # of the loop and of the bus threads
STATUS_SOCKET = "/run/dronebms/status.sock"
STATE_DIR = "/var/lib/dronebms"
AUTO = "auto"  # the gauge is identified by reading it
