"""Say whether training and testing can work here, what is off, and what turns it on.

Needs the standard library only. Ends with status 0 when training and testing can work, else 1.
"""

from __future__ import annotations

import argparse
import os
import sys


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', action='store_true', help='print JSON, for a bug report')
    parser.add_argument('--from-check', type=int, help=argparse.SUPPRESS)  # called by itself
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    from diagnosis.isolation import run_here, run_isolated
    from diagnosis.report import all_checks, as_json, faults, print_table

    checks = all_checks()
    if args.from_check is not None:
        run_here(checks[args.from_check :])
        return
    rows = run_isolated(checks, [sys.executable, os.path.abspath(__file__), '--from-check'])
    if args.json:
        found = list(rows)
        print(as_json(found))
    else:
        found = print_table(rows)
    sys.exit(1 if faults(found) else 0)


if __name__ == '__main__':
    main()
