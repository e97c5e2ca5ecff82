"""Sources that cannot be read among several, of which the others go on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmdet.core.errors import VideoError


class SourceFailures:
    """Keeps the errors of sources, or tells somebody.

    Args:
        told: gets the position of a source and its error, at once. None: they are kept.
    """

    def __init__(self, told: Callable[[int, Exception], None] | None = None) -> None:
        self._told = told
        self._texts: list[str] = []

    @contextmanager
    def noted(self, number: int) -> Iterator[None]:
        """An error of reading inside this block belongs to the source at position `number`."""
        try:
            yield
        except (VideoError, OSError) as error:
            if self._told is not None:
                self._told(number, error)
            else:
                self._texts.append(f'source {number}: {error}')

    def raise_kept(self) -> None:
        """
        Raises:
            VideoError: there are kept errors; names them all.
        """
        if self._texts:
            raise VideoError(f'{len(self._texts)} source(s) failed. {" ".join(self._texts)}')
