"""The small annotation files and literal loops of tests/test_evaluation are used here, too."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / 'test_evaluation'))


@pytest.fixture
def run_tool(repo, monkeypatch):
    """Runs a command of tools/analysis_tools in this process."""

    def run(name: str, *arguments: str) -> None:
        path = repo / 'tools' / 'analysis_tools' / name
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, 'argv', [name, *arguments])
        module.main()

    return run
