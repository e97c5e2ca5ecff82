"""All checks in the order of the report, and the report for people and for bug reports."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict

from diagnosis.finding import FAULT, Check, Finding
from diagnosis.machine import check_disk, check_gpus, check_ops, check_precision, check_system
from diagnosis.namesake import check_namesake
from diagnosis.packages import PACKAGES, check_python, package_checks
from diagnosis.toolbox import check_caches, check_parts, check_video


def all_checks() -> list[Check]:
    """A section's checks are neighbours."""
    packages = package_checks()
    return [
        Check('Machine', 'Python', check_python),
        Check('Machine', 'system', check_system),
        Check('Machine', 'work_dirs', check_disk),
        *(check for check in packages if check.section == PACKAGES),
        Check('This package', 'mmdet', check_namesake),
        Check('This package', 'import', check_parts),
        Check('This package', 'caches', check_caches),
        Check('Devices', 'GPU', check_gpus),
        Check('Devices', '--amp', check_precision),
        Check('Devices', 'operations', check_ops),
        Check('Video', 'video', check_video),
        *(check for check in packages if check.section != PACKAGES),
    ]


def faults(found: Iterable[tuple[str, Finding]]) -> list[str]:
    """Why training and testing cannot work."""
    return [f'{row.name}: {row.value}' for _, row in found if row.status == FAULT]


def as_json(found: list[tuple[str, Finding]]) -> str:
    reasons = faults(found)
    rows = [dict(section=section, **asdict(row)) for section, row in found]
    return json.dumps(dict(works=not reasons, reasons=reasons, findings=rows), indent=1)


def print_table(rows: Iterable[tuple[str, Finding]]) -> list[tuple[str, Finding]]:
    """Print each row as it comes, then the verdict; returns the rows."""
    found: list[tuple[str, Finding]] = []
    for section, row in rows:
        if not found or section != found[-1][0]:
            print(f'\n{section}')
        print(f'  {row.status:6}{row.name:24}{row.value}')
        if row.advice:
            print(f'{"":32}-> {row.advice}')
        sys.stdout.flush()
        found.append((section, row))
    reasons = faults(found)
    if not reasons:
        print('\nTraining and testing can work here.')
        return found
    print('\nTraining and testing cannot work here:')
    print('\n'.join(f'  - {reason}' for reason in reasons))
    if any(section == PACKAGES and row.status == FAULT for section, row in found):
        print('`pip install -e .` in this checkout installs all packages that are missing.')
    return found
