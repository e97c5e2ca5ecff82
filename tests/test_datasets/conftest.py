"""Converting the small datasets of `own_data`, and running the commands of tools/."""

import contextlib
import io
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from mmengine.logging import MMLogger
from own_data import yolo_set

from mmdet.core.errors import ConversionError
from mmdet.programs.convert import ConvertOptions, to_cocovid


@pytest.fixture
def yolo(tmp_path) -> Path:
    return yolo_set(tmp_path / 'yolo')


@pytest.fixture
def convert(tmp_path) -> Callable[..., dict]:
    """Converts inputs (one or a list) to one file; the JSON of it."""

    def converted(kind: str, inputs, name: str = 'out.json', **options) -> dict:
        inputs = inputs if isinstance(inputs, list) else [inputs]
        (path,) = to_cocovid(kind, inputs, tmp_path / name, ConvertOptions(**options))
        return json.loads(path.read_text())

    return converted


@pytest.fixture
def refused(tmp_path, convert) -> Callable[..., None]:
    """Asserts that a conversion ends with an error, and leaves no file."""

    def check(kind: str, inputs, message: str, **options) -> None:
        with pytest.raises(ConversionError, match=message):
            convert(kind, inputs, 'refused.json', **options)
        assert not list(tmp_path.glob('*refused*'))

    return check


class Done(NamedTuple):
    """How a command ended, as `subprocess.run` tells it."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run_tool(repo, monkeypatch) -> Callable[..., Done]:
    """Runs a command of tools/ in this process: importing torch once is enough."""

    def run(name: str, *arguments) -> Done:
        out, err, code = io.StringIO(), io.StringIO(), 0
        # the log may hold the stream of another test
        monkeypatch.setattr(MMLogger.get_current_instance().handlers[0], 'stream', out)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                runpy.run_path(str(repo / 'tools' / name), run_name='__main__')
        except SystemExit as end:
            if isinstance(end.code, str):
                err.write(f'{end.code}\n')
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Done(code, out.getvalue(), err.getvalue())

    return run
