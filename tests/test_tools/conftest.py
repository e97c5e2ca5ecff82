"""Commands as a user types them, but in this process: importing torch once is enough."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def call(repo) -> Callable:
    """call('tools/test.py', *argv, cwd=FOLDER) runs the command; it may end with SystemExit."""

    def call(tool: str, *argv, cwd: Path | None = None) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', [tool, *map(str, argv)])
            if cwd is not None:
                patch.chdir(cwd)
            runpy.run_path(str(repo / tool), run_name='__main__')

    return call
