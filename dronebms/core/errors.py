"""What a user's input or a link can get wrong. One sentence each; the command line prints it."""


class DroneBmsError(Exception):
    """Root of the errors that are a sentence for the user, not a bug."""


class ConfigError(DroneBmsError):
    """A configuration, scenario or option that cannot be used (exit code 2)."""


class FlightLogError(DroneBmsError):
    """A recorded flight that cannot be read: file, line and column (exit code 2)."""


class RecordingError(DroneBmsError):
    """A recording that is damaged where it should be whole (exit code 1)."""


class LinkError(DroneBmsError):
    """A link URL that means nothing, or a link that cannot be opened."""
