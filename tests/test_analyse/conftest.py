"""The small annotation files and literal loops of tests/test_evaluation are used here, too."""

import runpy
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / 'test_evaluation'))


@pytest.fixture
def run_tool(repo, monkeypatch):
    """Runs a command of tools/analysis_tools in this process."""

    def run(name: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, 'argv', [name, *arguments])
        runpy.run_path(str(repo / 'tools/analysis_tools' / name), run_name='__main__')

    return run
