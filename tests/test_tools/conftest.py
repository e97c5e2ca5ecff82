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


@pytest.fixture
def refused(call, capsys) -> Callable:
    """refused('tools/test.py', *argv, cwd=FOLDER): what a command says that must fail."""

    def refused(*command, **place) -> str:
        with pytest.raises(SystemExit) as caught:
            call(*command, **place)
        assert caught.value.code != 0
        return f'{caught.value} {capsys.readouterr().err}'

    return refused


@pytest.fixture(scope='session')
def toy(repo):
    """A config whose model and data take milliseconds."""
    path = repo / 'tests/test_engine/toy_config.py'
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        yield path
