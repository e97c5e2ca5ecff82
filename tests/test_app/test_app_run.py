"""Runs of the page against the detector itself: files, thresholds, stops, errors."""

import json
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from tiny_streams import broken_video, decode, scenes, tiny_detector, write_video

from mmdet.programs.app.fragments import PARTS
from mmdet.programs.app.run import Run

WAIT_S = 60


@pytest.fixture
def make_run(tmp_path):
    """Runs whose threads end with the test."""
    made = []

    def make(source: Path, detector=None, score_thr: float = 0.05, causal: bool = False) -> Run:
        detector = detector or tiny_detector('faster_rcnn')
        made.append(Run(detector, source, tmp_path / f'run{len(made)}', score_thr, causal))
        return made[-1]

    yield make
    for run in made:
        run.remove()
        assert not run.folder.exists()


@pytest.fixture
def video(tmp_path) -> Path:
    return write_video(tmp_path / 'my clip.mp4', scenes(12))


def finished(run: Run) -> Run:
    run.start()
    assert run.wait(WAIT_S)
    return run


def rows(run: Run) -> list[dict]:
    found = [json.loads(line) for line in run.lines.read_text().splitlines()]
    assert len(found) == len(decode(run.video)) == run.progress.done
    return found


def test_each_run_has_its_own_threshold_and_state(make_run, video):
    detector = tiny_detector('mamba', score_thr=0.05)  # its memory would leak between videos
    for thr, causal in ((0.4, False), (0.05, False), (0.05, True)):
        results = list(detector.stream(video, causal=causal))
        run = finished(make_run(video, detector, thr, causal))
        for row, result in zip(rows(run), results, strict=True):
            assert row['frame'] == result.frame_index
            boxes = [found['box'] for found in row['detections']]
            expected = result.detections.boxes[result.detections.scores >= thr].numpy()
            np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), expected, atol=1e-3)
        assert run.error is run.broken is None and not run.stopped
        assert run.progress[:2] == (12, 12) and run.latest.frame_index == 11
        assert (run.video.name, run.lines.suffix) == ('my_clip_detections.mp4', '.jsonl')


def test_stop_keeps_what_was_done(make_run, tmp_path):
    long = write_video(tmp_path / 'long.mp4', scenes(100) * 5)
    run, waiting = make_run(long), make_run(long)
    run.start()
    end = time.monotonic() + WAIT_S
    while run.progress.done < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert run.progress.total == 500 and run.progress.seconds_left > 0
    run.stop()
    assert run.wait(WAIT_S) and run.stopped and 3 <= len(rows(run)) < 500
    waiting.stop()
    assert finished(waiting).stopped and not waiting.folder.exists()
    assert 'Stopped before the first frame' in PARTS.remarks(waiting)


def test_what_was_done_is_kept_when_the_video_or_the_model_fails(make_run, tmp_path, monkeypatch):
    run = finished(make_run(broken_video(tmp_path / 'cut.mp4')))
    done = len(rows(run))
    assert run.error is None and 10 < done < 25
    assert f'breaks off after frame {done - 1} ' in run.broken
    assert 'What decodes was used' in PARTS.remarks(run)
    detector = tiny_detector('faster_rcnn')
    start = detector.model.start
    outcomes = Mock(side_effect=[start, start, MemoryError('out of memory')])
    monkeypatch.setattr(detector.model, 'start', lambda *args: outcomes()(*args))
    run = finished(make_run(write_video(tmp_path / 'whole.mp4', scenes(12)), detector))
    assert run.error.startswith('MemoryError: out of memory')
    assert 'The 2 frames before it are below' in PARTS.remarks(run) and len(rows(run)) == 2
