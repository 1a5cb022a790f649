# SPDX-License-Identifier: Apache-2.0
"""The command line `dronebms`: options, commands, exit codes."""
