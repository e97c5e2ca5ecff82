"""Runs of the page against the detector itself: files, thresholds, stops, errors, the queue."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_streams import SIZE, decode, scenes, tiny_detector, write_video

from mmdet.programs.app.fragments import remarks
from mmdet.programs.app.run import Progress, Run, RunQueue

WAIT_S = 60


@pytest.fixture
def make_queue(tmp_path):
    """Queues whose threads end with the test."""
    made = []

    def make(detector) -> RunQueue:
        made.append(RunQueue(detector, tmp_path / 'runs'))
        return made[-1]

    yield make
    for queue in made:
        queue.close()


@pytest.fixture
def video(tmp_path) -> Path:
    return write_video(tmp_path / 'my clip.mp4', scenes(12))


def rows(run: Run) -> list[dict]:
    return [json.loads(line) for line in run.lines.read_text().splitlines()]


def until(condition) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def assert_same(written: list[dict], results: list, score_thr: float) -> int:
    """Lines of a run hold the results whose score is high enough; returns how many."""
    assert [row['frame'] for row in written] == [r.frame_index for r in results]
    for row, result in zip(written, results, strict=True):
        kept = result.detections.scores >= score_thr
        boxes = [found['box'] for found in row['detections']]
        assert len(boxes) == int(kept.sum())
        expected = result.detections.boxes[kept].numpy().reshape(-1, 4)
        np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), expected, atol=1e-3)
    return sum(len(row['detections']) for row in written)


def test_each_run_has_its_own_threshold_and_state(make_queue, video):
    detector = tiny_detector('mamba', score_thr=0.05)  # its memory would leak between videos
    results = list(detector.stream(video))
    queue = make_queue(detector)
    runs = [queue.submit(video, thr, causal=False) for thr in (0.05, 0.4, 0.05)]
    assert all(run.wait(WAIT_S) for run in runs)
    counts = [
        assert_same(rows(r), results, t) for r, t in zip(runs, (0.05, 0.4, 0.05), strict=True)
    ]
    assert counts[0] == counts[2] > counts[1]
    assert detector.score_thr == 0.05
    for run in runs:
        assert run.error is run.broken is None and not run.stopped
        assert run.progress[:2] == (12, 12) and run.latest.frame_index == 11
        assert len(decode(run.video)) == 12
        assert (run.video.name, run.lines.suffix) == ('my_clip_detections.mp4', '.jsonl')
    assert len({run.folder for run in runs}) == 3


def test_causal_is_passed_on(make_queue, video):
    detector = tiny_detector('selsa')
    queue = make_queue(detector)
    runs = [queue.submit(video, 0.05, causal) for causal in (False, True)]
    assert all(run.wait(WAIT_S) for run in runs)
    for run in runs:
        assert_same(rows(run), list(detector.stream(video, causal=run.causal)), 0.05)
    assert rows(runs[0]) != rows(runs[1])


def test_stop_keeps_what_was_done(make_queue, tmp_path):
    video = write_video(tmp_path / 'long.mp4', scenes(100) * 20)
    queue = make_queue(tiny_detector('faster_rcnn'))
    run, waiting = (queue.submit(video, 0.05, causal=False) for _ in range(2))
    until(lambda: run.progress.done >= 3)
    assert (queue.ahead(run), queue.ahead(waiting)) == (0, 1)
    assert run.progress.total == 2000 and run.progress.seconds_left > 0
    waiting.stop()
    run.stop()
    assert run.wait(WAIT_S) and waiting.wait(WAIT_S)
    assert run.stopped and 3 <= run.progress.done < 2000
    assert len(rows(run)) == len(decode(run.video)) == run.progress.done
    assert waiting.stopped and waiting.progress.done == 0 and not waiting.folder.exists()
    queue.discard(run)
    until(lambda: not run.folder.exists())


def test_one_run_at_a_time_in_order(make_queue, video, monkeypatch):
    order, together = [], []
    working = threading.Lock()

    def work(run: Run) -> None:
        together.append(not working.acquire(blocking=False))
        time.sleep(0.02)
        order.append(run)
        working.release()
        run._end.set()

    monkeypatch.setattr(Run, 'work', work)
    queue = make_queue(tiny_detector('faster_rcnn'))
    runs = [queue.submit(video, 0.3, causal=False) for _ in range(5)]
    assert all(run.wait(WAIT_S) for run in runs)
    assert order == runs and together == [False] * 5


def test_closing_ends_all_runs(make_queue, tmp_path):
    video = write_video(tmp_path / 'long.mp4', scenes(100) * 20)
    queue = make_queue(tiny_detector('faster_rcnn'))
    runs = [queue.submit(video, 0.3, causal=False) for _ in range(2)]
    until(lambda: runs[0].progress.done)
    queue.close()
    assert all(run.finished and run.stopped for run in runs)
    assert not any(thread.name.startswith('detect') for thread in threading.enumerate())


def test_an_unreadable_file_is_one_sentence_without_folders(make_queue, tmp_path):
    path = tmp_path / 'notes.mp4'
    path.write_text('no video')
    run = make_queue(tiny_detector('faster_rcnn')).submit(path, 0.3, causal=False)
    assert run.wait(WAIT_S)
    assert run.error.startswith('Cannot open notes.mp4: ') and str(tmp_path) not in run.error
    assert run.progress.done == 0 and not run.has_files and not run.folder.exists()


def test_a_full_disk_is_one_sentence(make_queue, video, monkeypatch):
    def full(*_) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('mmdet.video.writer.VideoWriter._finish', full)
    run = make_queue(tiny_detector('faster_rcnn')).submit(video, 0.3, causal=False)
    assert run.wait(WAIT_S) and 'No space left on device' in run.error
    assert not run.has_files and 'are below' not in remarks(run)


def test_a_truncated_video_keeps_what_was_decoded(make_queue, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, *SIZE, 3), np.uint8)
    path = write_video(
        tmp_path / 'cut.mp4', list(noise), container_options={'movflags': 'faststart'}
    )
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    run = make_queue(tiny_detector('faster_rcnn')).submit(path, 0.3, causal=False)
    assert run.wait(WAIT_S) and run.error is None
    done = run.progress.done
    assert 10 < done < 25 and run.broken.startswith('cut.mp4 ')
    assert f'breaks off after frame {done - 1} ' in run.broken
    assert len(rows(run)) == len(decode(run.video)) == done


def test_the_queue_survives_any_error_and_says_it(make_queue, video, monkeypatch):
    detector = tiny_detector('faster_rcnn')
    queue = make_queue(detector)
    start, calls = detector.model.start, []

    def failing(clips, states):
        calls.append(0)
        if len(calls) == 3:
            raise MemoryError('out of memory')
        return start(clips, states)

    monkeypatch.setattr(detector.model, 'start', failing)
    broken, whole = (queue.submit(video, 0.3, causal=False) for _ in range(2))
    assert broken.wait(WAIT_S) and whole.wait(WAIT_S)
    assert 'The 2 frames before it are below' in remarks(broken)
    assert broken.error.startswith('MemoryError: out of memory') and whole.error is None
    assert len(rows(broken)) == len(decode(broken.video)) == broken.progress.done == 2
    assert whole.progress.done == 12


def test_progress():
    assert Progress().rate == 0 and Progress().seconds_left is None
    assert Progress(10, None, 2.0).seconds_left is None
    assert (Progress(10, 40, 2.0).rate, Progress(10, 40, 2.0).seconds_left) == (5, 6)
    assert Progress(41, 40, 2.0).seconds_left == 0  # a header that announced too few
