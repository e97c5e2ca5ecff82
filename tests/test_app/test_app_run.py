"""Runs of the page against the detector itself: files, thresholds, stops, errors."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_streams import SIZE, decode, scenes, tiny_detector, write_video

from mmdet.programs.app.fragments import PARTS
from mmdet.programs.app.run import Progress, Run

WAIT_S = 60


@pytest.fixture
def make_run(tmp_path):
    """Runs whose threads end with the test."""
    made = []

    def make(detector, source: Path, score_thr: float = 0.05, causal: bool = False) -> Run:
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
    return [json.loads(line) for line in run.lines.read_text().splitlines()]


def until(condition) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize('causal', [False, True])
def test_each_run_has_its_own_threshold_and_state(make_run, video, causal):
    detector = tiny_detector('mamba', score_thr=0.05)  # its memory would leak between videos
    results = list(detector.stream(video, causal=causal))
    runs = {thr: finished(make_run(detector, video, thr, causal)) for thr in (0.4, 0.05)}
    for thr, run in runs.items():
        assert [row['frame'] for row in rows(run)] == [r.frame_index for r in results]
        for row, result in zip(rows(run), results, strict=True):
            boxes = [found['box'] for found in row['detections']]
            expected = result.detections.boxes[result.detections.scores >= thr].numpy()
            np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), expected, atol=1e-3)
        assert run.error is run.broken is None and not run.stopped
        assert run.progress[:2] == (12, 12) and run.latest.frame_index == 11
        assert len(decode(run.video)) == 12
        assert (run.video.name, run.lines.suffix) == ('my_clip_detections.mp4', '.jsonl')
    assert detector.score_thr == 0.05


def test_causal_and_offline_differ(make_run, video):
    detector = tiny_detector('selsa')
    runs = [finished(make_run(detector, video, causal=causal)) for causal in (False, True)]
    assert rows(runs[0]) != rows(runs[1])


def test_stop_keeps_what_was_done(make_run, tmp_path):
    long = write_video(tmp_path / 'long.mp4', scenes(100) * 20)
    run, waiting = (make_run(tiny_detector('faster_rcnn'), long) for _ in range(2))
    run.start()
    until(lambda: run.progress.done >= 3)
    assert run.progress.total == 2000 and run.progress.seconds_left > 0
    run.stop()
    assert run.wait(WAIT_S) and run.stopped and 3 <= run.progress.done < 2000
    assert len(rows(run)) == len(decode(run.video)) == run.progress.done
    waiting.stop()
    assert finished(waiting).stopped and not waiting.folder.exists()
    assert 'Stopped before the first frame' in PARTS.remarks(waiting)


def test_an_unreadable_file_is_one_sentence_without_folders(make_run, tmp_path):
    path = tmp_path / 'notes.mp4'
    path.write_text('no video')
    run = finished(make_run(tiny_detector('faster_rcnn'), path))
    assert run.error.startswith('Cannot open notes.mp4: ') and str(tmp_path) not in run.error
    assert run.progress.done == 0 and not run.has_files and not run.folder.exists()


def test_a_full_disk_is_one_sentence(make_run, video, monkeypatch):
    def full(*_) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('mmdet.video.writer.VideoWriter._finish', full)
    run = finished(make_run(tiny_detector('faster_rcnn'), video))
    assert 'No space left on device' in run.error
    assert not run.has_files and 'are below' not in PARTS.remarks(run)


def test_a_truncated_video_keeps_what_was_decoded(make_run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, *SIZE, 3), np.uint8)
    path = write_video(
        tmp_path / 'cut.mp4', list(noise), container_options={'movflags': 'faststart'}
    )
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    run = finished(make_run(tiny_detector('faster_rcnn'), path))
    done = run.progress.done
    assert run.error is None and 10 < done < 25 and run.broken.startswith('cut.mp4 ')
    assert f'breaks off after frame {done - 1} ' in run.broken
    assert len(rows(run)) == len(decode(run.video)) == done


def test_any_error_is_said_and_what_was_done_is_kept(make_run, video, monkeypatch):
    detector = tiny_detector('faster_rcnn')
    start, calls = detector.model.start, []

    def failing(clips, states):
        calls.append(0)
        if len(calls) == 3:
            raise MemoryError('out of memory')
        return start(clips, states)

    monkeypatch.setattr(detector.model, 'start', failing)
    run = finished(make_run(detector, video))
    assert run.error.startswith('MemoryError: out of memory')
    assert 'The 2 frames before it are below' in PARTS.remarks(run)
    assert len(rows(run)) == len(decode(run.video)) == run.progress.done == 2


def test_progress():
    assert Progress().rate == 0 and Progress().seconds_left is None
    assert Progress(10, None, 2.0).seconds_left is None
    assert (Progress(10, 40, 2.0).rate, Progress(10, 40, 2.0).seconds_left) == (5, 6)
    assert Progress(41, 40, 2.0).seconds_left == 0  # a header that announced too few
