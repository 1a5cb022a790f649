"""Optional dependencies: a package of an extra is imported when it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager

from dronebms.core.errors import ConfigError


@contextmanager
def needed_by(feature: str, extra: str) -> Iterator[None]:
    """Turn a missing package into one sentence; the imports stand in the `with` block.

    Args:
        feature: the subject of the sentence, such as `[mqtt] needs`.
        extra: the extra of the distribution that brings the package.

    Raises:
        ConfigError: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{feature} {error.name}: pip install 'dronebms[{extra}]'") from error
