# SPDX-License-Identifier: Apache-2.0
"""Values of the service that the command line names too; without the modules that use them."""

PERIOD_S = 0.1  # of the loop and of the bus threads
STATUS_SOCKET = "/run/dronebms/status.sock"
STATE_DIR = "/var/lib/dronebms"
SIMULATED = "sim:"  # a bus with a virtual pack: sim:SCENARIO
STUCK_S = 10.0  # a thread of a bus without a round; longer than several timeouts of an adapter
AUTO = "auto"  # the gauge is identified by reading it
