"""demo/app.py without a browser: its flags, and mistakes as one line."""

import importlib.util
import runpy
import socket
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
CONFIG = str(REPO / 'configs/sample/faster_rcnn_r18.py')


def test_mistakes_are_one_line(monkeypatch):
    pytest.importorskip('gradio', reason='pip install -e ".[app]"')

    def refused(*arguments: object) -> str:
        """What the command, run in this process, says when it ends."""
        monkeypatch.setattr(sys, 'argv', ['app.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(REPO / 'demo/app.py'), run_name='__main__')
        assert '\n' not in str(stop.value.code)
        return str(stop.value.code)

    assert refused('none.py', '--port', 0).startswith('error: No config file')
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(CONFIG, '--port', port)
    assert said.startswith(f'error: Cannot serve at 127.0.0.1:{port}: Address already in use')
    real = importlib.util.find_spec
    absent = {'gradio'}.__contains__
    monkeypatch.setattr(importlib.util, 'find_spec', lambda n: None if absent(n) else real(n))
    assert 'pip install -e ".[app]"' in refused(CONFIG)
