"""Plots and pages: the files are pictures with something on them; the numbers are right."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mmdet.visualization.contact_sheet import contact_sheet, write_picture
from mmdet.visualization.plots import (
    find_training_log,
    plot_ap_by_class,
    plot_ap_by_motion,
    plot_precision_recall,
    plot_training,
    read_log,
    smooth,
)

METRICS = {'vid/AP50': 0.5, 'vid/AP50_fast': 0.25, 'vid/AP50_medium': None, 'coco/AP': 0.3}


def train_rows(count: int = 40) -> list[dict]:
    parts = ({'loss_cls': 1 / i, 'loss_bbox': 0.5 / i} for i in range(1, count + 1))
    rows = [{'loss': sum(p.values()), 'lr': 0.01, 'step': 10 * i, **p} for i, p in enumerate(parts)]
    return rows + [{'vid/AP50': 0.5, 'step': 1}]


def ink(path) -> np.ndarray:
    """Where the picture is neither white nor grey: lines and bars."""
    image = cv2.imread(str(path)).astype(int)
    return np.ptp(image, axis=2) > 40


def test_log_is_read_without_the_half_written_last_line(tmp_path):
    path = tmp_path / 'log.json'
    path.write_text('{"loss": 1.0, "step": 1}\n{"loss": 0.5, "step": 2}\n{"loss": 0.')
    assert [row['loss'] for row in read_log(path)] == [1.0, 0.5]
    path.write_text('{"loss": 1.0}\nnonsense\n{"loss": 0.5}\n')
    with pytest.raises(ValueError, match=r'log\.json, line 2 is not JSON'):
        read_log(path)
    path.write_text('')
    with pytest.raises(ValueError, match='no rows yet'):
        read_log(path)


def test_the_newest_log_with_training_is_found(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no training log'):
        find_training_log(tmp_path)
    rows = {'1': '{"loss": 2.0}', '2': '{"loss": 1.0}', '3': '{"vid/AP50": 0.5}', '4': ''}
    for i, (name, text) in enumerate(rows.items()):
        path = tmp_path / name / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text(text)
        os.utime(path, (1000 + i, 1000 + i))
    assert find_training_log(tmp_path) == tmp_path / '2' / 'vis_data' / 'scalars.json'


def test_smoothing_is_the_mean_of_the_neighbours():
    rng = np.random.default_rng(0)
    values = rng.normal(size=23)
    for window in (0, 1, 2, 5, 50):
        half = window // 2
        slow = [values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))]
        np.testing.assert_allclose(smooth(values, window), slow, atol=1e-12)


def test_training_curves(tmp_path):
    plot_training({'run': train_rows()}, tmp_path / 'one.png')
    plot_training({'a': train_rows(), 'b': train_rows(1)}, tmp_path / 'two.png')
    for name in ('one.png', 'two.png'):
        assert ink(tmp_path / name).sum() > 1000
    with pytest.raises(ValueError, match="'run' has no row with a loss"):
        plot_training({'run': [{'vid/AP50': 0.5, 'step': 1}]}, tmp_path / 'none.png')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['one.png', 'two.png']


def test_motion_bars_have_heights_in_proportion(tmp_path):
    plot_ap_by_motion({'run': METRICS}, tmp_path / 'bars.png')
    columns = ink(tmp_path / 'bars.png').sum(axis=0)
    tall = columns.max()
    short = np.median(columns[(columns > 0) & (columns < 0.7 * tall)])
    assert short / tall == pytest.approx(0.25 / 0.5, abs=0.02)
    widths = np.diff(np.flatnonzero(np.diff(np.r_[0, columns > 20, 0])))[::2]
    assert len(widths) == 2  # medium (None) and slow (absent) have no bar
    plot_ap_by_motion({'a': METRICS, 'b': METRICS}, tmp_path / 'two.png')
    assert ink(tmp_path / 'two.png').sum() > 1000


def test_class_bars_and_precision_recall(tmp_path):
    per_class = {f'vid/AP50/c{i}': i / 30 for i in range(30)} | {'vid/AP50/none': None}
    plot_ap_by_class(METRICS | per_class, tmp_path / 'class.png')
    with pytest.raises(ValueError, match="No key starts with 'vid/AP50/'"):
        plot_ap_by_class(METRICS, tmp_path / 'none.png')
    recall = np.linspace(0, 1, 20)
    plot_precision_recall({'bear': (recall, 1 - recall)}, tmp_path / 'pr.png')
    for name in ('class.png', 'pr.png'):
        assert ink(tmp_path / name).sum() > 1000
    assert not (tmp_path / 'none.png').exists()


def test_importing_the_package_does_not_import_matplotlib():
    code = 'import sys, mmdet.visualization.plots; sys.exit("matplotlib.figure" in sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True, timeout=120)


def test_contact_sheet_holds_every_image_and_caption(tmp_path):
    colors = [(0, 0, 200), (0, 200, 0), (200, 0, 0), (0, 200, 200), (200, 0, 200)]
    shapes = [(50, 100), (720, 1280), (300, 100), (48, 64), (1, 1)]
    images = [np.full((*s, 3), c, np.uint8) for s, c in zip(shapes, colors, strict=True)]
    page = contact_sheet(images, [f'frame {i}' for i in range(5)], title='A page', columns=3)
    plain = contact_sheet(images, columns=3)
    for color, (height, width) in zip(colors, shapes, strict=True):
        rows, columns = np.nonzero((page == color).all(axis=2))
        shown = (np.ptp(rows) + 1, np.ptp(columns) + 1)
        assert shown[0] / shown[1] == pytest.approx(height / width, rel=0.02)
        assert max(shown) == 480
    assert page.shape[0] > plain.shape[0] and page.shape[1] == plain.shape[1] == 16 + 3 * 496
    write_picture(tmp_path / 'page.png', page)
    assert np.array_equal(cv2.imread(str(tmp_path / 'page.png')), page)
    assert [p.name for p in tmp_path.iterdir()] == ['page.png']


def test_contact_sheet_with_titled_rows_and_an_empty_place():
    image = np.full((10, 20, 3), (0, 0, 200), np.uint8)
    page = contact_sheet([image, None, image, image], columns=2, row_titles=['first', 'second'])
    red = (page == (0, 0, 200)).all(axis=2)
    left, right = (np.flatnonzero(half.any(axis=1)) for half in (red[:, :500], red[:, 500:]))
    assert len(left) == 480 and len(right) == 240  # tiles are 480 wide and 240 high
    titles = np.flatnonzero((page.max(axis=2) < 100).any(axis=1))
    assert titles.min() < left.min()
    assert left.min() + 240 <= titles.max() < right.min()


def test_a_picture_has_the_format_of_its_ending(tmp_path):
    image = np.full((8, 8, 3), 90, np.uint8)
    write_picture(tmp_path / 'a.JPG', image)
    assert (tmp_path / 'a.JPG').read_bytes()[:2] == b'\xff\xd8'
    with pytest.raises(ValueError, match=r'ends in \.png, \.jpg'):
        write_picture(tmp_path / 'a.gif', image)
    assert [path.name for path in tmp_path.iterdir()] == ['a.JPG']


def test_contact_sheet_errors():
    image = np.zeros((10, 10, 3), np.uint8)
    with pytest.raises(ValueError, match='0 images and 0 captions'):
        contact_sheet([])
    with pytest.raises(ValueError, match='2 images and 1 captions'):
        contact_sheet([image, image], ['one'])
