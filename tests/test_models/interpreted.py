"""Running the checks of a Triton kernel in Triton's interpreter, without a GPU."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec('triton') is None, reason='triton is not installed'
)


def assert_equal_in_the_interpreter(script: str, repo: Path) -> None:
    """In a process of its own, whose last word must be 'equal': Triton looks at the variable when
    it is imported."""
    environment = {**os.environ, 'TRITON_INTERPRET': '1', 'OMP_NUM_THREADS': '1'}
    environment['PYTHONPATH'] = os.pathsep.join([str(repo), environment.get('PYTHONPATH', '')])
    run = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0 and run.stdout.strip() == 'equal', run.stdout + run.stderr
