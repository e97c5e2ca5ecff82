"""Checks in a process of their own: a package that crashes at import ends that process only."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import IO

from diagnosis.finding import FAULT, Check, Finding

MARK = '\x1e'  # begins our lines; packages may print others
LIMIT_S = 300  # for all checks of a process; importing torch from a network disk takes minutes


def run_here(checks: Sequence[Check]) -> None:
    """Run the checks and print a line for each finding, and one at the end of each check."""
    for number, check in enumerate(checks):
        for finding in check.findings():
            _send([number, asdict(finding)])
        _send([number, None])


def _send(message: list) -> None:
    print(f'{MARK}{json.dumps(message)}', flush=True)


def run_isolated(checks: Sequence[Check], command: Sequence[str]) -> Iterator[tuple[str, Finding]]:
    """(section, finding) of every check, as they come.

    `command` plus the number of the first check must call `run_here` with the checks from there on.
    When its process dies or hangs, that is a finding, and the rest is run in a new one.
    """
    start = 0
    while start < len(checks):
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*command, str(start)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding='utf-8',
                errors='replace',
            )
            timer = threading.Timer(LIMIT_S, process.kill)
            timer.start()
            try:
                done = yield from _received(process.stdout, checks[start:])
            finally:
                timed_out = not timer.is_alive()
                timer.cancel()
                _reap(process)
            start += done
            if start < len(checks):
                why = f'no answer in {LIMIT_S} s' if timed_out else _end(process, errors)
                yield checks[start].section, Finding(checks[start].name, why, FAULT)
                start += 1


def _received(lines: IO[str], checks: Sequence[Check]) -> Iterator[tuple[str, Finding]]:
    """Gives the findings; returns how many checks were finished."""
    done = 0
    for line in lines:
        if line.startswith(MARK):
            number, finding = json.loads(line[len(MARK) :])
            if finding is None:
                done = number + 1
            else:
                yield checks[number].section, Finding(**finding)
    return done


def _reap(process: subprocess.Popen) -> None:
    """Let a process that has closed its output end by itself, to learn how; else end it."""
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _end(process: subprocess.Popen, errors: IO[bytes]) -> str:
    """How a process ended, and the last thing it said."""
    code = process.returncode
    how = f'exit code {code}' if code >= 0 else _signal_name(-code)
    errors.seek(0)
    said = errors.read().decode('utf-8', 'replace').strip().splitlines()
    return f'crashes ({how})' + (f': {said[-1][:200]}' if said else '')


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'
