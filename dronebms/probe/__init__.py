# SPDX-License-Identifier: Apache-2.0
"""One readout of a pack: every register decoded, and warnings."""

from dronebms.probe.audit import AuditOptions, warnings_of
from dronebms.probe.readout import Readout, read_pack

__all__ = ["AuditOptions", "Readout", "read_pack", "warnings_of"]
