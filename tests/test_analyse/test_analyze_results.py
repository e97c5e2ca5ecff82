"""The analysis of results through its command, on two videos of grey frames."""

import csv
import json
import pickle
import re
from functools import partial

import cv2
import numpy as np
import pytest
from eval_files import cocovid

from mmdet.apis.score_results import evaluate_config
from mmdet.evaluation.evaluate import ScoredSet
from mmdet.programs.analyse.analysis import analyze
from mmdet.programs.analyse.drawn_frames import MISTAKE_COLOR
from mmdet.programs.analyse.worst import differences, find_worst

LENGTH, SIZE = 4, (100, 160)  # frames; height, width
CAT, DOG = [20.0, 20.0, 60.0, 60.0], [90.0, 30.0, 140.0, 80.0]


def write_annotations(path, tracks=True):
    frame = [
        (name, number, (x1, y1, x2 - x1, y2 - y1))
        for number, (name, (x1, y1, x2, y2)) in enumerate((('cat', CAT), ('dog', DOG)), 1)
    ]
    videos = {name: [frame] * LENGTH for name in ('v1', 'v2')}
    cocovid(path, videos, ('cat', 'dog', 'fox'), tracks, size=SIZE[::-1])


def results(worse):
    """Every cat; dogs are found but in `worse` frames, where the cat is said to be a dog, too."""
    found = []
    for image in range(2 * LENGTH):
        dogs = [[*CAT, 0.8]] if image in worse else [[*DOG, 0.9 - image / 100]]
        lists = ([[*CAT, 0.95 - image / 100]], dogs, [])
        found.append([np.array(rows, np.float32).reshape(-1, 5) for rows in lists])
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_annotations(tmp_path / 'a.json')
    for video in ('v1', 'v2'):
        (tmp_path / 'frames' / video).mkdir(parents=True)
        for frame in range(LENGTH):
            path = tmp_path / 'frames' / video / f'{frame:06d}.JPEG'
            cv2.imwrite(str(path), np.full((*SIZE, 3), 120, np.uint8))
    (tmp_path / 'tiny.py').write_text(
        'dataset = dict(type="CocoVideoDataset", ann_file="a.json", img_prefix="frames")\n'
        'test_dataloader = dict(dataset=dataset)\n'
        'test_evaluator = dict(type="VideoDetectionMetric", ann_file="a.json")\n'
    )
    (tmp_path / 'ours.pkl').write_bytes(pickle.dumps(results(worse=[5])))
    (tmp_path / 'base.pkl').write_bytes(pickle.dumps(results(worse=[0, 1, 6])))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tool(run_tool, folder):
    return partial(run_tool, 'analyze_results.py', 'tiny.py')


def rows_of(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def red_box(path, top):
    """Bounding box of the colour of mistakes, in pixels of the frame below a title."""
    page = cv2.imread(str(path))[top:, 16:].astype(int)
    y, x = np.nonzero((np.abs(page - MISTAKE_COLOR) < 60).all(axis=2))  # it was scaled
    scale = SIZE[1] / 960
    return [x.min() * scale, y.min() * scale, x.max() * scale, y.max() * scale]


def test_everything_with_a_baseline(tool, folder, capsys):
    stale = folder / 'out' / 'missed' / '007.png'
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b'of an earlier run')
    tool('ours.pkl', '--baseline', 'base.pkl', '--out', 'out')
    assert 'Written: out/index.html' in capsys.readouterr().out
    page = (folder / 'out' / 'index.html').read_text()
    shown = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    written = {str(p.relative_to(folder / 'out')) for p in (folder / 'out').rglob('*.*')}
    assert shown == written - {'index.html'} and 'missed/007.png' not in written

    assert {name for name in written if name.endswith('.csv')} == {
        f'{name}.csv' for name in ('ap', 'pr_curves', 'confusion', 'false_positives', 'missed')
    }
    # the frames of which one run finds the dog and the other does not
    assert len([name for name in written if name.startswith('compared/')]) == 4
    false = rows_of(folder / 'out' / 'false_positives.csv')
    assert [(r['file_name'], r['class'], r['kind'], r['object']) for r in false] == [
        ('v2/000001.JPEG', 'dog', 'wrong class', 'cat')
    ]
    (missed,) = rows_of(folder / 'out' / 'missed.csv')
    assert missed['class'] == 'dog' and missed['motion'] == 'slow'
    assert float(missed['part of the frame']) == pytest.approx(50 * 50 / (100 * 160), rel=1e-5)
    confusion = rows_of(folder / 'out' / 'confusion.csv')
    assert [confusion[0]['cat'], confusion[1]['background'], confusion[3]['dog']] == ['8', '1', '1']

    # AP is what the evaluation says
    table = {(r['by'], r['name'], r['metric']): r for r in rows_of(folder / 'out' / 'ap.csv')}
    places = {
        ('all', 'all', 'AP50 (VID)'): 'vid/AP50',
        ('all', 'all', 'AP50 (COCO)'): 'coco/AP50',
        ('all', 'all', 'AP75 (COCO)'): 'coco/AP75',
        ('all', 'all', 'AP (COCO)'): 'coco/AP',
        ('size', 'small', 'AP (COCO)'): 'coco/AP_s',
        ('size', 'medium', 'AP (COCO)'): 'coco/AP_m',
        ('size', 'large', 'AP (COCO)'): 'coco/AP_l',
    }
    places |= {('motion', s, 'AP50 (VID)'): f'vid/AP50_{s}' for s in ('fast', 'medium', 'slow')}
    places |= {('class', c, 'AP50 (VID)'): f'vid/AP50/{c}' for c in ('cat', 'dog', 'fox')}
    for run, file in (('ours', 'ours.pkl'), ('baseline', 'base.pkl')):
        metrics = evaluate_config('tiny.py', file)
        for place, key in places.items():
            wanted = '' if metrics[key] is None else repr(metrics[key])
            assert table[place][run] == wanted, place
    all_classes = table['all', 'all', 'AP50 (VID)']
    assert all_classes['ours'] != all_classes['baseline']


def test_mistakes_are_marked_where_they_are(tool, folder):
    tool('ours.pkl', '--out', 'out')
    page = cv2.imread('out/missed/001.png')
    grey = np.flatnonzero((page[:, 20] == 120).all(axis=1))  # the frame has that colour
    top = int(grey[0])
    assert red_box('out/missed/001.png', top)[:2] == pytest.approx(DOG[:2], abs=1.5)
    assert red_box('out/false_positives/001.png', top)[2:] == pytest.approx(CAT[2:], abs=1.5)
    assert not (folder / 'out' / 'compared').exists()


def test_frames_that_differ_most_come_from_different_videos(folder):
    scored = ScoredSet.open('a.json')
    ours, base = (analyze(scored, scored.read(f'{name}.pkl'), 0.3) for name in ('ours', 'base'))
    # one dog that only one of them finds, and one false positive more
    assert differences(ours, base).tolist() == [2, 2, 0, 0, 0, 2, 2, 0]
    assert find_worst(ours, base, scored, 2).compared.tolist() == [0, 5]
    assert find_worst(ours, base, scored, 9).compared.tolist() == [0, 1, 5, 6]
    assert ours.errors_by_image().tolist() == [0, 0, 0, 0, 0, 2, 0, 0]


def test_a_coco_json_without_track_ids(tool, folder):
    write_annotations(folder / 'a.json', tracks=False)
    entry = {'image_id': 1, 'category_id': 1, 'bbox': [20, 20, 40, 40], 'score': 0.9}
    (folder / 'r<1>.json').write_text(json.dumps([entry]))
    options = ('--eval-options', 'metrics=vid', '--no-frames')
    tool('r<1>.json', '--out', 'out', *options)
    assert '<p>r&lt;1&gt;.json, on a.json' in (folder / 'out' / 'index.html').read_text()
    table = {(r['by'], r['name']): r['ours'] for r in rows_of(folder / 'out' / 'ap.csv')}
    assert table['motion', 'slow'] == 'n/a' and not any(by == 'size' for by, _ in table)
    missed = rows_of(folder / 'out' / 'missed.csv')
    assert len(missed) == 15 and {r['motion'] for r in missed} == {'n/a'}
    assert not (folder / 'out' / 'missed').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('ours.pkl', '--cfg-options', 'test_dataloader.dataset.img_prefix=no'), '--no-frames'),
        (('none.pkl',), 'none.pkl: there is no such results file'),
        (('ours.pkl', '--baseline', 'no.pkl'), 'no.pkl: there is no such results file'),
        (('ours.pkl', '--score-thr', '1.5'), '--score-thr must be in 0 to 1, got 1.5'),
        (('ours.pkl', '--num', '0'), '--num must be in 1 to 999, got 0'),
        (('ours.pkl', '--eval-options', 'motion=m'), "--eval-options: there is no 'motion'"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(tool, folder, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        tool(*arguments, '--out', 'out')
    assert str(stopped.value).startswith('error: ') and message in str(stopped.value)
    assert not (folder / 'out').exists()


def test_a_damaged_frame_is_found_before_anything_is_written(tool, folder):
    (folder / 'frames' / 'v2' / '000001.JPEG').write_bytes(b'no picture')
    with pytest.raises(SystemExit, match=r'v2/000001\.JPEG is missing or cannot be decoded'):
        tool('ours.pkl', '--out', 'out')
    assert not (folder / 'out').exists()
