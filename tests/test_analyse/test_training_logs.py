"""Logs of trainings: joining resumed runs, best values, the table, through the command as well."""

import csv
import json
from functools import partial

import cv2
import pytest

from mmdet.programs.analyse.training_logs import TrainingLog, load_training


def train(step, loss, **more):
    return {'loss': loss, 'lr': 0.1, 'time': 0.5, 'memory': 100, 'iter': step, 'step': step} | more


def write(folder, day, rows, rest=''):
    path = folder / f'2026010{day}_000000/vis_data/scalars.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows) + rest)
    return path


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Run `a` was resumed at iteration 20 after epoch 1, then tested; `b` runs, or was killed."""
    first = [train(10, 4.0), train(20, 3.0), {'vid/AP50': 0.2, 'step': 1}, train(30, 9.0)]
    again = [train(20, 2.5), train(35, 2.0, memory=300), {'vid/AP50': 0.6, 'step': 2}]
    again += [train(45, 2.25, time=2.0), {'vid/AP50': 0.5, 'step': 3}]
    write(tmp_path / 'a', 2, again)
    write(tmp_path / 'a', 1, first)
    write(tmp_path / 'a', 3, [])  # a test
    write(tmp_path / 'b', 1, [train(10, 5.0, loss_cls=1.5), train(20, 4.5)], '{"loss": 0.')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tool(run_tool, runs):
    return partial(run_tool, 'analyze_logs.py')


def test_a_resumed_run_replaces_what_it_repeats(runs):
    log = load_training(runs / 'a')
    assert [values.tolist() for values in log.curve('loss')] == [
        [10, 20, 35, 45],
        [4, 2.5, 2, 2.25],
    ]
    assert log.curve('vid/AP50')[0].tolist() == [1, 2, 3]
    assert log.best('loss') == (2.0, 35) and log.best('vid/AP50') == (0.6, 2)
    nan = train(1, float('nan'))
    assert TrainingLog([nan, train(2, 3.0)]).best('loss') == (3.0, 2)
    assert log.best('lr') is None and load_training(runs / 'b').best('vid/AP50') is None


def test_table_points_and_curves(tool, capsys):
    keys = ('loss', 'vid/AP50', 'loss_cls')
    tool('a', 'b', '--keys', *keys, '--csv', 'points.csv', '--out', 'three.png', '--smooth', '3')
    lines = [line.split('  ') for line in capsys.readouterr().out.splitlines()]
    cells = {
        line[1]: [cell.strip() for cell in line[2:] if cell.strip()] for line in lines if line[1:]
    }
    assert cells['a'] == [
        *('45', '3', '0.875', '0.500', '300'),
        *('2.25', '2 (iter 35)', '0.5', '0.6 (epoch 2)', '-', '-'),
    ]
    assert cells['b'] == [
        *('20', '-', '0.500', '0.500', '100'),
        *('4.5', '4.5 (iter 20)', '-', '-', '1.5', '1.5 (iter 10)'),
    ]
    with open('points.csv', newline='') as file:
        points = list(csv.reader(file))
    assert points[1] == ['a', 'loss', 'iteration', '10', '4.0'] and len(points) == 1 + 4 + 3 + 2 + 1
    image = cv2.imread('three.png').astype(int)  # a colour per run
    blue, orange = image[..., 0] - image[..., 2] > 100, image[..., 2] - image[..., 0] > 150
    assert blue.sum() > 300 and orange.sum() > 300


def test_mistakes_are_one_sentence(tool, runs):
    (runs / 'text.json').write_text('{"loss": 1.0, "step": 1}\n5\n{"loss": 0.5}\n')
    for arguments, message in (
        (['a', '--keys', 'los'], "'los'. Known: loss, lr, time, memory, vid/AP50"),
        (['a', 'text.json'], 'text.json, line 2 is not a JSON object'),
    ):
        with pytest.raises(SystemExit, match=f'^error: .*{message}'):
            tool(*arguments, '--out', 'no.png')
    assert not (runs / 'no.png').exists()
