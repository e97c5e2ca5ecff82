"""Reading a finished run back, and its HTML: against plain decoding and counting."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from tiny_streams import decode, scenes

from mmdet.programs.app.finished import ClassTimeline, FinishedRun
from mmdet.programs.app.fragments import PARTS, frame_view, picture
from mmdet.video.writer import VideoWriter

FRAMES = 30


def view(*names: str) -> str:
    found = [{'name': n, 'label': 1, 'score': 0.5, 'box': [1.4, 2.6, 30, 40]} for n in names]
    row = {'frame': 3, 'time_s': 0.12, 'detections': found}
    return frame_view(np.zeros((8, 8, 3), np.uint8), row)


@pytest.mark.parametrize('stretches', [7, 200])
def test_a_finished_run_against_decoding_and_counting(tmp_path, stretches):
    """An mp4 of odd size and lines with 0 to 3 detections per frame."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 4, i % 4).tolist() for i in range(FRAMES)]
    rows = [
        {'frame': i, 'time_s': i / 25, 'detections': [{'label': x, 'name': 'Bär'} for x in found]}
        for i, found in enumerate(labels)
    ]
    lines = [json.dumps(row, ensure_ascii=False) + '\n' for row in rows]  # characters, not bytes
    (tmp_path / 'r.jsonl').write_text(''.join(lines), encoding='utf-8')
    with VideoWriter(tmp_path / 'v.mp4', 25) as writer:
        for image in scenes(FRAMES, size=(49, 65)):
            writer.write(image)
    images = decode(tmp_path / 'v.mp4')
    finished = FinishedRun(tmp_path / 'v.mp4', tmp_path / 'r.jsonl')
    assert len(finished) == FRAMES and finished.num_detections() == sum(map(len, labels))
    for position in (0, 29, 7, 8, 6):
        np.testing.assert_array_equal(finished.image(position), images[position])
        assert finished.row(position) == rows[position]
    timelines = finished.timeline(stretches)
    assert {t.label: t.frames for t in timelines} == Counter(x for f in labels for x in set(f))
    parts = min(stretches, FRAMES)
    bounds = [-(-i * FRAMES // parts) for i in range(parts + 1)]
    for row in timelines:
        seen = np.array([row.label in found for found in labels])
        expected = [seen[a:b].mean() for a, b in itertools.pairwise(bounds)]
        assert row.share.tolist() == pytest.approx(expected)
    finished.close()


def test_text_from_outside_is_escaped():
    bad = '<script>alert(1)</script>'
    timeline = PARTS.timeline([ClassTimeline(0, bad, 1, np.ones(3))], 12, 1.0)
    shown = picture(np.zeros((8, 8, 3), np.uint8), bad)
    for page in (PARTS.note(bad), PARTS.header(bad, [bad]), view(bad), timeline, shown):
        assert '<script>' not in page and '&lt;script&gt;' in page
