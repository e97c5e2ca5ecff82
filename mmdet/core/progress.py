"""How far a pass over many frames is: a bar on a terminal, a line now and then in a log."""

import time
from datetime import timedelta

from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

FIRST_LINE_S, LINE_EVERY_S = 5, 15


class FrameProgress:
    """Shows frames (or another `unit`) done, their rate and the time left, on rank 0 only.

    Args:
        total: of this process; None where nobody knows.
        what: the verb, e.g. 'Testing'.
        label: added in brackets, e.g. 'rank 0 of 2'.
    """

    def __init__(self, total: int | None, what: str, label: str = '', unit: str = 'frames') -> None:
        self.total, self.done, self.unit = total, 0, unit
        self.what = f'{what} ({label})' if label else what
        self._shown = is_main_process()
        self._bar: Progress | None = None

    def __enter__(self) -> 'FrameProgress':
        self._start = time.monotonic()
        self._next_line = self._start + FIRST_LINE_S
        console = Console()
        if self._shown and console.is_terminal:
            self._bar = Progress(
                TextColumn('{task.description}'),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(f'{{task.fields[rate]}} {self.unit}/s'),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task(self.what, total=self.total, rate='-')
            self._bar.start()
        return self

    def advance(self, frames: int) -> None:
        self.done += frames
        now = time.monotonic()
        rate = self.done / max(now - self._start, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=f'{rate:.1f}')
        elif self._shown and now >= self._next_line:
            self._next_line = now + LINE_EVERY_S
            place, left = f'{self.done}', ''
            if self.total is not None:
                place += f'/{self.total}'
                left = f', eta {timedelta(seconds=int((self.total - self.done) / rate))}'
            MMLogger.get_current_instance().info(
                f'{self.what}: {place} {self.unit}, {rate:.1f} {self.unit}/s{left}'
            )

    def __exit__(self, *exception) -> None:
        if self._bar is not None:
            self._bar.stop()
        seconds = time.monotonic() - self._start
        if self._shown and exception[0] is None:
            MMLogger.get_current_instance().info(
                f'{self.what}: {self.done} {self.unit} in {timedelta(seconds=int(seconds))} '
                f'({self.done / max(seconds, 1e-9):.1f} {self.unit}/s)'
            )
