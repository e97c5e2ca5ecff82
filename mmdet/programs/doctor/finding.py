"""What a check is, and what it finds."""

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
    section: str = ''


@dataclass
class Check:
    """`function` gives the findings; it may raise, and may even end its process."""

    section: str
    name: str
    function: Callable[[], Iterable[Finding]]


def one_line(error: BaseException) -> str:
    """The type and the first line of an error."""
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0]}' if lines else type(error).__name__
