# SPDX-License-Identifier: Apache-2.0
"""Errors that the command line prints as one sentence; anything else is a bug.

    DroneBmsError
    +-- ConfigError       configuration, scenario, option, file or extra cannot be used  exit 2
    |   +-- OutputError   disk of an output is full or fails                             exit 1
    +-- FlightLogError    flight log or its sidecar cannot be read                       exit 2
    +-- RecordingError    recording is damaged                                           exit 1
    +-- LinkError         link or cluster: bad URL, or no answer                         exit 2
    +-- InUseError        another run uses the state, the socket or a pack               exit 75

The SMBus driver has its own tree in `smartbattery.errors`.
"""


class DroneBmsError(Exception):
    """Root of the errors whose text is for the user."""


class ConfigError(DroneBmsError):
    """A configuration, scenario, option, output file or extra that cannot be used."""


class OutputError(ConfigError):
    """An output that the disk has no space for, or fails to write; its name and place are right."""


class FlightLogError(DroneBmsError):
    """A flight log or sidecar that cannot be read; names the file, line and column."""


class RecordingError(DroneBmsError):
    """A recording that is damaged; one that a crash truncated is not."""


class LinkError(DroneBmsError):
    """A link or cluster URL that is invalid or cannot be opened."""


class InUseError(DroneBmsError):
    """Another run uses the state, the status socket or a pack; works once that has ended."""
