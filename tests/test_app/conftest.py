"""The server runs once for all tests."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

REPO = Path(__file__).resolve().parents[2]
SCORE_THR = 0.05
WAIT_S = 120


@pytest.fixture(scope='session')
def app(tmp_path_factory):
    """demo/app.py with a model of random weights, in a process of its own.

    Has `address`, `folder` (with all temporary files), `config` and `checkpoint`.
    """
    import torch
    from tiny_streams import randomise, tiny_config

    from mmdet.apis import init_detector

    pytest.importorskip('gradio', reason='pip install -e ".[app]"')
    folder = tmp_path_factory.mktemp('app')
    config, checkpoint = folder / 'tiny.py', folder / 'tiny.pth'
    tiny_config('mamba').dump(config)
    model = init_detector(tiny_config('mamba'), device='cpu')
    randomise(model)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, checkpoint)
    (folder / 'tmp').mkdir()
    command = [sys.executable, '-u', REPO / 'demo/app.py', config, checkpoint, '--device', 'cpu']
    process = subprocess.Popen(
        [*map(str, command), '--port', '0', '--score-thr', str(SCORE_THR)],
        env=dict(os.environ, TMPDIR=str(folder / 'tmp'), OMP_NUM_THREADS='1', PYTHONPATH=str(REPO)),
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r'Open (http://127\.0\.0\.1:\d+)', line):
            break
    else:
        pytest.fail('the server did not start: ' + ''.join(lines))
    yield SimpleNamespace(
        address=found[1], folder=folder, config=config, checkpoint=checkpoint, process=process
    )
    process.send_signal(signal.SIGTERM)
    process.wait(WAIT_S)
    assert list((folder / 'tmp').iterdir()) == []  # uploads and results are gone
    assert process.returncode == 0
