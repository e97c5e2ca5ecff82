"""Reading a finished run back, and its HTML: against plain decoding and counting."""

import base64
import json
import re
from collections import Counter

import cv2
import numpy as np
import pytest
from tiny_streams import decode, scenes

from mmdet.programs.app.finished import ClassTimeline, FinishedRun
from mmdet.programs.app.fragments import MAX_SIDE, PARTS, frame_view, picture
from mmdet.programs.app.run import Progress
from mmdet.video.writer import VideoWriter

FRAMES = 30


def detection(label: int, name: str | None = None) -> dict:
    name = name or f'class {label}'
    return {'name': name, 'label': label, 'score': 0.5, 'box': [1.4, 2.6, 30, 40]}


def view(*found: dict) -> str:
    row = {'frame': 3, 'time_s': 0.12, 'detections': list(found)}
    return frame_view(np.zeros((8, 8, 3), np.uint8), row)


@pytest.fixture
def run_files(tmp_path):
    """An mp4 of odd size and lines with 0 to 3 detections per frame."""
    rng = np.random.default_rng(0)
    video, lines = tmp_path / 'v.mp4', tmp_path / 'r.jsonl'
    with VideoWriter(video, 25) as writer, open(lines, 'w', encoding='utf-8') as file:
        for index, image in enumerate(scenes(FRAMES, size=(49, 65))):
            writer.write(image)
            found = [detection(int(label), 'Bär') for label in rng.integers(0, 4, index % 4)]
            row = {'frame': index, 'time_s': index / 25, 'detections': found}
            file.write(json.dumps(row, ensure_ascii=False) + '\n')  # characters are not bytes
    return video, lines


def test_any_frame_and_its_line(run_files):
    images = decode(run_files[0])
    rows = [json.loads(line) for line in run_files[1].read_text(encoding='utf-8').splitlines()]
    finished = FinishedRun(*run_files)
    assert len(finished) == FRAMES
    for position in (0, 29, 7, 8, 6, 29, 0):
        np.testing.assert_array_equal(finished.image(position), images[position])
        assert finished.row(position) == rows[position]
    assert finished.num_detections() == sum(i % 4 for i in range(FRAMES))
    finished.close()


@pytest.mark.parametrize('stretches', [1, 7, 200])
def test_the_timeline_against_counting(run_files, stretches):
    rows = [json.loads(line) for line in run_files[1].read_text(encoding='utf-8').splitlines()]
    seen = [{found['label'] for found in row['detections']} for row in rows]
    finished = FinishedRun(*run_files)
    timelines = finished.timeline(stretches)
    totals = Counter(label for labels in seen for label in labels)
    assert {t.label: t.frames for t in timelines} == totals
    assert [t.frames for t in timelines] == sorted(totals.values(), reverse=True)
    bounds = [np.ceil(i * FRAMES / min(stretches, FRAMES)) for i in range(stretches + 1)]
    for row in timelines:
        assert len(row.share) == min(stretches, FRAMES)
        for i, share in enumerate(row.share):
            part = seen[int(bounds[i]) : int(bounds[i + 1])]
            assert share == pytest.approx(np.mean([row.label in labels for labels in part]))
    finished.close()


def test_text_from_outside_is_escaped():
    bad = '<script>alert(1)</script>'
    pages = [
        PARTS.note(bad),
        PARTS.header(bad, [bad]),
        view(detection(1, bad)),
        PARTS.timeline([ClassTimeline(0, bad, 1, np.ones(3))], 12, 1.0),
        picture(np.zeros((8, 8, 3), np.uint8), bad),
    ]
    for page in pages:
        assert '<script>' not in page and '&lt;script&gt;' in page


def test_the_table_of_a_frame_has_a_row_per_detection():
    page = view(detection(1), detection(2))
    cells = re.findall('<td>(.*?)</td>', page)
    assert [re.sub('<.*?>', '', cell) for cell in cells] == [
        *('class 1', '0.50', '1', '3', '30', '40'),
        *('class 2', '0.50', '1', '3', '30', '40'),
    ]
    assert 'Frame 3, 0.12 s' in page
    assert 'Nothing found' in view() and '<table' not in view()


def test_pictures_hold_their_data_and_are_not_too_large():
    image = scenes(1, size=(400, 3000))[0]
    data = base64.b64decode(re.search('base64,(.*?)"', picture(image, 'wide'))[1])
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape[1] == MAX_SIDE and abs(shown.shape[0] - 1280 * 400 / 3000) < 1
    near = cv2.resize(image, shown.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(near.astype(int) - shown).mean() < 3


def test_the_bar_says_what_is_known():
    page = PARTS.progress(Progress(10, 40, 2.0), False)
    text = re.sub('<.*?>', ' ', page).split()
    assert text == '10 of 40 frames · 5.0 frames/s · 0:00:06 left'.split()
    assert 'value="10" max="40"' in page
    page = PARTS.progress(Progress(10, None, 2.0), True)
    text = re.sub('<.*?>', ' ', page).split()
    assert text == '10 frames · 5.0 frames/s · stopping …'.split() and 'max=' not in page


def test_the_timeline_of_many_classes_is_cut_and_none_is_said():
    rows = [ClassTimeline(i, f'class {i}', 1, np.array([0.0, 1.0, 0.2])) for i in range(30)]
    page = PARTS.timeline(rows, 12, 1.0)
    assert page.count('<svg') == 12 and 'and 18 rarer classes' in page
    drawn = re.findall(r'<rect x="(\d)".*?opacity="(.*?)"', page)
    assert drawn == [('1', '1.00'), ('2', '0.40')] * 12
    assert 'Nothing was found' in PARTS.timeline([], 12, 1.0)
