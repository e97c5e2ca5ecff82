"""Say whether training and testing can work here, what is off, and what turns it on.

Needs the standard library only. Ends with status 0 when training and testing can work, else 1.
"""

import argparse
import sys

from mmdet.programs.doctor.doctor import (
    all_checks,
    as_json,
    print_table,
    reasons,
    run_here,
    run_isolated,
)
from mmdet.programs.doctor.packages import REPO


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', action='store_true', help='print JSON, for a bug report')
    parser.add_argument('--from-check', type=int, help=argparse.SUPPRESS)  # called by itself
    args = parser.parse_args()
    checks = all_checks()
    if args.from_check is not None:
        run_here(checks[args.from_check :])
        return
    rows = run_isolated(checks, [sys.executable, str(REPO / 'tools/doctor.py'), '--from-check'])
    if args.json:
        found = list(rows)
        print(as_json(found))
    else:
        found = print_table(rows)
    sys.exit(1 if reasons(found) else 0)
