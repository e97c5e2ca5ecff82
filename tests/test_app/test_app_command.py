"""demo/app.py without a browser: its flags, and mistakes as one line."""

import importlib.util
import socket
import sys
from pathlib import Path

import pytest

from mmdet.core.errors import AddressError
from mmdet.programs.app.server import listen

REPO = Path(__file__).resolve().parents[2]
CONFIG = str(REPO / 'configs/sample/faster_rcnn_r18.py')


@pytest.fixture
def app(monkeypatch):
    """Runs the command in this process; returns its exit status."""
    monkeypatch.syspath_prepend(REPO / 'demo')
    spec = importlib.util.spec_from_file_location('demo_app', REPO / 'demo/app.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments: object) -> int | str | None:
        monkeypatch.setattr(sys, 'argv', ['app.py', *map(str, arguments)])
        try:
            return module.main()
        except SystemExit as stop:
            return stop.code

    return run


def test_without_gradio_the_command_to_type(app, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == 'gradio' else real(name)
    )
    said = app(CONFIG)
    assert said.startswith('error: ') and 'pip install -e ".[app]"' in said and '\n' not in said


def test_mistakes_are_one_line(app, capsys):
    pytest.importorskip('gradio', reason='pip install -e ".[app]"')
    assert app('none.py', '--port', 0).startswith('error: No config file')
    assert app(CONFIG, 'none.pth', '--port', 0, '--device', 'cpu').startswith('error: ')
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        said = app(CONFIG, '--port', port)
        assert said.startswith(f'error: Cannot serve at 127.0.0.1:{port}: Address already in use')
        assert '--port 0' in said and '\n' not in said
    assert app(CONFIG, '--score-thr', 2) == 2
    assert 'must be in 0..1' in capsys.readouterr().err


def test_listening():
    with listen('127.0.0.1', 0) as listener:
        assert listener.getsockname()[1] > 0
    for host, port in (('127.0.0.1', 70000), ('192.0.2.1', 0), ('no such host', 0)):
        with pytest.raises(AddressError, match='Cannot serve at'):
            listen(host, port)
