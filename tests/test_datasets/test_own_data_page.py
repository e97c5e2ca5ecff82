"""docs/own_data.md, followed word for word."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from own_data import write, write_video
from test_convert_cvat import box, document, task, track

from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.datasets.parsers.annotation_table import FIELDS
from mmdet.engine.config_check import check_config
from mmdet.engine.config_load import load_config

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / 'docs/own_data.md').read_text()
FRAMES = 6


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A working directory with three labelled videos and the repository's commands."""
    folder = tmp_path_factory.mktemp('place')
    for name in ('tools', 'configs', 'demo'):
        (folder / name).symlink_to(REPO / name)
    for i, name in enumerate(('cam1', 'cam2', 'cam3')):
        write_video(folder / f'mydata/{name}.mp4', FRAMES, darkest=20 + 65 * i)
        moving = [box(f, f, 5, f + 20, 30) for f in range(FRAMES)]
        meta = task(FRAMES, name, f'{name}.mp4')
        text = document(track(0, 'cat', *moving), track(1, 'dog', box(0, 30, 9, 60, 40)), meta=meta)
        write(folder, {f'mydata/{name}.xml': text})
    write_video(folder / 'new.mp4', 4)
    return folder


def commands() -> list[list[str]]:
    block = re.search(r'```bash\n(.*?)```', PAGE, re.DOTALL)[1]
    return [shlex.split(line) for line in block.splitlines() if not line.startswith('#')]


def run(place, words):
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=place,
        capture_output=True,
        text=True,
        env=os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(REPO)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_commands_with_a_small_model(place):
    """Training and detection as on the page, on the model of the sample and for one epoch."""
    *first, make, train, demo = commands()
    shown = [run(place, words) for words in [*first, make]]
    assert all('no faults' in text for text in shown[1:3])
    assert '2 classes (cat, dog)' in shown[3]
    labels = {p.name: json.loads(p.read_text()) for p in place.glob('mydata/ann*.json')}
    assert sorted(labels) == ['ann_train.json', 'ann_val.json']
    assert [len(part['videos']) for part in labels.values()] in ([2, 1], [1, 2])
    assert len(labels['ann_train.json']['annotations']) == 2 * 2 * FRAMES
    make = [w.replace('vid/selsa/selsa_r50_dc5_7x.py', 'sample/selsa_r18.py') for w in make]
    run(place, [*make, '--overwrite'])
    options = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'param_scheduler=[]']
    options += ['load_from=None']  # the model of the page starts from ImageNet weights
    run(place, [*train, '--device', 'cpu', '--cfg-options', *options])
    demo = [word.replace('epoch_7', 'epoch_1') for word in demo]
    run(place, [*demo, '--device', 'cpu'])
    assert (place / 'boxes.mp4').stat().st_size > 0


def test_the_config_written_by_hand_is_legal(tmp_path):
    text = re.search(r'```python\n(_base_.*?)```', PAGE, re.DOTALL)[1]
    path = tmp_path / 'my_dataset.py'
    path.write_text(text.replace("'vid/", f"'{REPO}/configs/vid/"))
    config = load_config(path)
    check_config(config)
    dataset = config.train_dataloader.dataset
    assert dataset.type == 'CocoVideoDataset' and dataset.ann_file == 'data/mine/train.json'
    assert [step.type for step in dataset.pipeline][:2] == ['LoadFrames', 'LoadAnnotations']
    assert config.test_dataloader.dataset.ann_file == 'data/mine/val.json'
    assert 'ann_file' not in config.test_evaluator


def test_the_whole_file_is_legal(tmp_path):
    path = tmp_path / 'ann.json'
    path.write_text(re.search(r'```json\n(.*?)```', PAGE, re.DOTALL)[1])
    index = CocoVideoIndex.open(path)
    assert list(index.frames_of(0)) == [0, 1] and index.ann_boxes.tolist()[1] == [14, 20, 80, 60]


def test_every_field_is_in_the_table():
    rows = [row for row in PAGE.splitlines() if row.startswith('| `') or row.startswith('| | `')]
    documented = {name for row in rows for name in re.findall(r'`(\w+)`', row)}
    assert {name for fields in FIELDS.values() for name in fields} <= documented
