"""What a check finds. Nothing in this folder imports more than the standard library up front."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

OK, OFF, NOTE, FAULT = 'ok', 'off', 'note', 'FAULT'


@dataclass
class Finding:
    """One row of the report.

    Status: 'ok'; 'off' for an optional feature; 'note' for what may hinder; 'FAULT' for what keeps
    training and testing from working. `advice` is what to type or do.
    """

    name: str
    value: str
    status: str = OK
    advice: str = ''


@dataclass
class Check:
    """`function` gives the rows of one `name`; it may raise, and may even end the process."""

    section: str
    name: str
    function: Callable[[], Iterable[Finding]]

    def findings(self) -> Iterable[Finding]:
        try:
            yield from self.function()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit of a broken package
            yield Finding(self.name, f'cannot be checked: {one_line(error)}', NOTE)


def one_line(error: BaseException) -> str:
    """The type and the first line of an error."""
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0]}' if lines else type(error).__name__
