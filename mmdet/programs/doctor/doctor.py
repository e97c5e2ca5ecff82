"""All checks, run in a process of their own, and the report for people and for bug reports.

A package that crashes or hangs at import ends that process only, and is named.
"""

from __future__ import annotations

import faulthandler
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from mmdet.programs.doctor import trials
from mmdet.programs.doctor.finding import FAULT, NOTE, Check, Finding, one_line
from mmdet.programs.doctor.packages import check_python, package_checks

LIMIT_S = 300  # of a check; importing torch from a network disk takes minutes
MARK = '\x1e'  # begins our lines; packages may print others


def all_checks() -> list[Check]:
    """In the order of the report: a section's checks are neighbours."""
    packages = package_checks()
    return [
        Check('Machine', 'Python', check_python),
        Check('Machine', 'system', trials.check_system),
        Check('Machine', 'GPU', trials.check_gpus),
        *(check for check in packages if check.section == 'Packages'),
        Check('This package', 'mmdet', trials.check_namesake),
        Check('This package', 'import', trials.check_parts),
        Check('This package', 'operations', trials.check_ops),
        Check('This package', 'video', trials.check_video),
        *(check for check in packages if check.section != 'Packages'),
    ]


def run_here(checks: Sequence[Check]) -> None:
    """Run the checks and print a line for each finding, and one at the end of each check."""
    for check in checks:
        faulthandler.dump_traceback_later(LIMIT_S, exit=True)
        try:
            for finding in check.function():
                _send(dict(asdict(finding), section=check.section))
        except Exception as error:
            what = f'cannot be checked: {one_line(error)}'
            _send(asdict(Finding(check.name, what, NOTE, section=check.section)))
        _send(None)


def _send(message: dict | None) -> None:
    print(f'{MARK}{json.dumps(message)}', flush=True)


def run_isolated(checks: Sequence[Check], command: Sequence[str]) -> Iterator[Finding]:
    """The findings of every check, as they come.

    `command` plus the number of the first check must call `run_here` with the checks from there on.
    When its process ends early, that is a finding, and the rest is run in a new one.
    """
    start = 0
    while start < len(checks):
        with tempfile.TemporaryFile('w+', errors='replace') as errors:
            process = subprocess.Popen(
                [*command, str(start)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding='utf-8',
                errors='replace',
            )
            with process:
                for line in process.stdout:
                    if line.startswith(MARK):
                        found = json.loads(line[len(MARK) :])
                        start += found is None
                        if found is not None:
                            yield Finding(**found)
            if start < len(checks):
                errors.seek(0)
                failed = checks[start]
                how = _end(process.returncode, errors.read())
                yield Finding(failed.name, how, FAULT, section=failed.section)
                start += 1


def _end(code: int, said: str) -> str:
    """How a process ended, and the last thing it said."""
    if 'Timeout (' in said:  # the beginning of faulthandler's traceback
        return f'no answer in {LIMIT_S} s'
    how = f'exit code {code}' if code >= 0 else signal.Signals(-code).name
    last = said.strip().splitlines()[-1:]
    return ': '.join([f'crashes ({how})', *last])[:250]


def reasons(found: Iterable[Finding]) -> list[str]:
    """Why training and testing cannot work."""
    return [f'{row.name}: {row.value}' for row in found if row.status == FAULT]


def as_json(found: Sequence[Finding]) -> str:
    """With what PyTorch says of the machine."""
    command = [sys.executable, '-m', 'torch.utils.collect_env']
    machine = subprocess.run(command, capture_output=True, text=True).stdout
    why = reasons(found)
    rows = [asdict(row) for row in found]
    return json.dumps(dict(works=not why, reasons=why, findings=rows, machine=machine), indent=1)


def print_table(rows: Iterable[Finding]) -> list[Finding]:
    """Print each row as it comes, then the verdict; returns the rows."""
    found: list[Finding] = []
    for row in rows:
        if not found or row.section != found[-1].section:
            print(f'\n{row.section}')
        print(f'  {row.status:6}{row.name:24}{row.value}')
        if row.advice:
            print(f'{"":32}-> {row.advice}')
        sys.stdout.flush()
        found.append(row)
    why = reasons(found)
    if not why:
        print('\nTraining and testing can work here.')
        return found
    print('\nTraining and testing cannot work here:')
    print('\n'.join(f'  - {reason}' for reason in why))
    if any(row.section == 'Packages' and row.status == FAULT for row in found):
        print('`pip install -e .` in this checkout installs all packages that are missing.')
    return found
