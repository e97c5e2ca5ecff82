"""The analysis of results through its command, on two videos of grey frames."""

import csv
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
from mmdet.programs.analyse.drawn_frames import MISTAKE_COLOR, DrawnFrames
from mmdet.programs.analyse.worst import differences, find_worst
from mmdet.visualization import class_color

LENGTH, SIZE = 4, (100, 160)  # frames; height, width
CAT, DOG = [20.0, 20.0, 60.0, 60.0], [90.0, 30.0, 140.0, 80.0]


def write_annotations(path, tracks=True):
    frame = [('cat', 1, (20, 20, 40, 40)), ('dog', 2, (90, 30, 50, 50))]
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
    for i in range(2 * LENGTH):
        path = tmp_path / f'frames/v{1 + i // LENGTH}/{i % LENGTH:06d}.JPEG'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((*SIZE, 3), 120 + i, np.uint8))
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


def rows_of(name):
    with open(f'out/{name}.csv', newline='') as file:
        return list(csv.DictReader(file))


def red_box(path):
    """Bounding box of the colour of mistakes, in pixels of the frame below a title."""
    page = cv2.imread(path)
    grey = (page[:, 20].max(axis=1) < 130) & (page[:, 20].min(axis=1) > 110)  # the frame
    page = page[np.flatnonzero(grey)[0] :, 16:].astype(int)
    y, x = np.nonzero((np.abs(page - MISTAKE_COLOR) < 60).all(axis=2))  # it was scaled
    scale = SIZE[1] / 960
    return [x.min() * scale, y.min() * scale, x.max() * scale, y.max() * scale]


def check_ap():
    """The table says what the evaluation says."""
    table = {(r['by'], r['name'], r['metric']): r for r in rows_of('ap')}
    places = {('motion', s, 'AP50 (VID)'): f'vid/AP50_{s}' for s in ('fast', 'medium', 'slow')}
    places |= {('class', c, 'AP50 (VID)'): f'vid/AP50/{c}' for c in ('cat', 'dog', 'fox')}
    places |= {('all', 'all', f'{m} (COCO)'): f'coco/{m}' for m in ('AP50', 'AP75', 'AP')}
    places |= {('size', s, 'AP (COCO)'): f'coco/AP_{s[0]}' for s in ('small', 'medium', 'large')}
    places['all', 'all', 'AP50 (VID)'] = 'vid/AP50'
    for run, file in (('ours', 'ours.pkl'), ('baseline', 'base.pkl')):
        metrics = evaluate_config('tiny.py', file)
        for place, key in places.items():
            wanted = '' if metrics[key] is None else repr(metrics[key])
            assert table[place][run] == wanted, place


def test_everything_with_a_baseline(tool, folder, capsys):
    stale = folder / 'out/missed/007.png'
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b'of an earlier run')
    tool('ours.pkl', '--baseline', 'base.pkl', '--out', 'out')
    assert 'Written: out/index.html' in capsys.readouterr().out
    shown = set(re.findall(r'(?:src|href)="([^"]+)"', (folder / 'out/index.html').read_text()))
    written = {str(p.relative_to(folder / 'out')) for p in (folder / 'out').rglob('*.*')}
    assert shown == written - {'index.html'} and 'missed/007.png' not in written
    tables = ('ap', 'pr_curves', 'confusion', 'false_positives', 'missed')
    assert {name for name in written if name.endswith('.csv')} == {f'{n}.csv' for n in tables}
    # the frames of which one run finds the dog and the other does not
    assert len([name for name in written if name.startswith('compared/')]) == 4
    assert red_box('out/missed/001.png')[:2] == pytest.approx(DOG[:2], abs=1.5)
    assert red_box('out/false_positives/001.png')[2:] == pytest.approx(CAT[2:], abs=1.5)
    (false,), (missed,) = rows_of('false_positives'), rows_of('missed')
    facts = [false[name] for name in ('file_name', 'class', 'kind', 'object')]
    assert facts == ['v2/000001.JPEG', 'dog', 'wrong class', 'cat']
    assert missed['class'] == 'dog' and missed['motion'] == 'slow'
    assert float(missed['part of the frame']) == pytest.approx(50 * 50 / (100 * 160), rel=1e-5)
    confusion = rows_of('confusion')
    check_ap()
    assert [confusion[0]['cat'], confusion[1]['background'], confusion[3]['dog']] == ['8', '1', '1']


def test_a_drawn_video_and_frames_that_differ_most(folder):
    scored = ScoredSet.open('a.json')
    frames = DrawnFrames(scored, 'frames', 0.885)
    pictures = list(frames.video(scored.read('ours.pkl'), 1))
    assert frames.busiest_video() == 0
    assert [frames.caption(i) for i in frames.spread(2)] == ['v1/000002', 'v2/000001']
    assert [int(p[5, 5, 0]) for p in pictures] == [124, 125, 126, 127]
    assert pictures[0].shape == (5 * SIZE[0], 5 * SIZE[1], 3)  # to a short side of at least 480
    drawn = [(p == class_color(0)).all(axis=2)[:, 60 * 5].any() for p in pictures]
    assert drawn == [True, True, True, False]  # the score of the last cat is below the threshold
    ours, base = (analyze(scored, scored.read(f'{name}.pkl'), 0.3) for name in ('ours', 'base'))
    # one dog that only one of them finds, and one false positive more
    assert differences(ours, base).tolist() == [2, 2, 0, 0, 0, 2, 2, 0]
    assert find_worst(ours, base, scored, 2).compared.tolist() == [0, 5]  # of different videos


def test_mistakes_are_one_sentence_and_nothing_is_written(tool, folder):
    (folder / 'frames/v2/000001.JPEG').write_bytes(b'no picture')
    for arguments, message in (
        (['--cfg-options', 'test_dataloader.dataset.img_prefix=no'], '--no-frames'),
        (['--score-thr', '1.5'], '--score-thr must be in 0 to 1, got 1.5'),
        (['--eval-options', 'motion=m'], "--eval-options: there is no 'motion'"),
        ([], 'v2/000001.JPEG is missing or cannot be decoded'),
    ):
        with pytest.raises(SystemExit, match=f'^error: .*{message}'):
            tool('ours.pkl', *arguments, '--out', 'out')
        assert not (folder / 'out').exists()
