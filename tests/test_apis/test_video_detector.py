"""VideoDetector against the test dataset, against itself on other sources, and over long videos."""

import gc
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_streams
import torch
from tiny_streams import alive, decode, scenes, tiny_detector, write_frames, write_video

from mmdet.apis import VideoDetector, VideoError, init_detector, video_detector
from mmdet.apis.test import look_back_only
from mmdet.engine.loops import use_plans
from mmdet.registry import DATASETS
from mmdet.structures import Detections
from mmdet.video import sources as video_sources

LENGTH, CUT = 23, 13
FRAMES = scenes(LENGTH)
WINDOW = dict(method='test_with_fix_stride', num_ref_imgs=6, frame_range=[-3, 3], stride=2)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return write_frames(tmp_path_factory.mktemp('video') / 'frames', FRAMES)


@pytest.fixture(scope='module', params=['selsa', 'window', 'mamba', 'tdvit'])
def detector(request) -> VideoDetector:
    return windowed() if request.param == 'window' else tiny_detector(request.param)


def windowed(**changes) -> VideoDetector:
    return tiny_detector('selsa', **{'test_dataloader.dataset.ref_img_sampler': WINDOW | changes})


def rgb(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [np.ascontiguousarray(f[..., ::-1]) for f in frames]


def same(ours, theirs, atol: float = 0) -> None:
    """Two lists of results or detections are equal, and there is something in them."""
    ours, theirs = ([getattr(r, 'detections', r) for r in rs] for rs in (list(ours), list(theirs)))
    assert len(ours) == len(theirs) > 0 and sum(map(len, ours)) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.labels, b.labels)
        assert torch.allclose(a.boxes, b.boxes, rtol=0, atol=atol * 100)
        assert torch.allclose(a.scores, b.scores, rtol=0, atol=atol)


def differs(a: Detections, b: Detections) -> bool:
    return len(a) != len(b) or not torch.equal(a.scores, b.scores)


# ---- offline: as in testing


def dataset_results(detector, folder: Path, tmp_path: Path, mode: str = 'offline') -> list:
    """What the test dataset of the config and `model.step` make of a folder of frames."""
    height, width = cv2.imread(str(folder / '0.png')).shape[:2]
    images = [
        dict(id=i + 1, file_name=f'{i}.png', height=height, width=width, frame_id=i, video_id=1)
        for i in range(len(list(folder.iterdir())))
    ]
    content = dict(videos=[dict(id=1, name='v')], images=images, annotations=[])
    content['categories'] = [dict(id=i, name=name) for i, name in enumerate(detector.classes, 1)]
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    cfg = detector.model.cfg.test_dataloader.dataset.copy()
    cfg.update(ann_file=str(tmp_path / 'ann.json'), img_prefix=str(folder), cache_dir=str(tmp_path))
    cfg.load_as_video = True
    dataset = DATASETS.build(cfg)
    use_plans(detector.model, dataset, mode)
    state, results = detector.model.init_state(video_id=1), []
    for clip in map(dataset.__getitem__, range(len(dataset))):
        found, state = detector.model.step(clip, state)
        kept = found.scores >= detector.score_thr
        results.append(Detections(found.boxes[kept], found.scores[kept], found.labels[kept]))
    return results


def test_a_video_file_and_its_frames_give_what_the_test_dataset_gives(detector, tmp_path):
    """References are fetched from a file with B-frames; boxes are in its own pixels."""
    path = write_video(tmp_path / 'v.mp4', [cv2.resize(f, (160, 120)) for f in FRAMES])
    unpacked = write_frames(tmp_path / 'unpacked', decode(path))
    expected = dataset_results(detector, unpacked, tmp_path)
    stream = detector.stream(path)
    assert not stream.causal and stream.fps == 25
    results = list(stream)
    same(results, expected)
    same(detector.stream(unpacked), expected)
    assert max(r.detections.boxes[:, 2].max() for r in results if len(r.detections)) > 64
    sparse = write_frames(tmp_path / 'sparse', decode(path)[::4])
    stream = detector.stream(path, stride=4)
    assert stream.num_frames == 6 and stream.fps == 6.25
    same(stream, detector.stream(sparse))
    for i, (result, frame) in enumerate(zip(results, decode(path), strict=True)):
        assert (result.frame_index, result.timestamp_s) == (i, pytest.approx(i / 25))
        assert np.array_equal(result.image[..., ::-1], frame)
        assert result.detections.image_id == i + 1
        result.detections.boxes.mul_(2)  # no inference tensors, which refuse this


# ---- causal


def test_causal_results_never_depend_on_later_frames(detector, folder):
    changed = [255 - frame if i >= CUT else frame for i, frame in enumerate(FRAMES)]
    before, after = (list(detector.stream(f, causal=True)) for f in (folder, rgb(changed)))
    same(before[:CUT], after[:CUT])
    pairs = zip(before[CUT:], after[CUT:], strict=True)
    assert any(differs(a.detections, b.detections) for a, b in pairs)
    shorter = detector.stream(iter(rgb(FRAMES[:CUT])))  # nor on how many will come
    assert shorter.causal and shorter.num_frames is None
    same(before[:CUT], shorter)


def test_causal_testing_is_the_causal_mode(detector, folder, tmp_path):
    """--causal asks the model for its plan, and takes frames in their order."""
    results = list(detector.stream(folder, causal=True))
    cfg = detector.model.cfg.copy()
    cfg.test_cfg = dict(type='VideoTestLoop')
    cfg.test_dataloader.dataset.shuffle_video_frames = True  # as MAMBA's
    look_back_only(cfg)
    assert cfg.test_cfg.causal and not cfg.test_dataloader.dataset.shuffle_video_frames
    same(results, dataset_results(detector, folder, tmp_path, mode='causal'))


# ---- several videos


def test_many_videos_equal_one_by_one(detector, tmp_path):
    lengths = [5, 9, 1, 7]
    paths = [write_frames(tmp_path / str(i), scenes(n, seed=i)) for i, n in enumerate(lengths)]
    results = list(detector.stream_many(paths, batch=2))
    for number, path in enumerate(paths):
        same([r for n, r in results if n == number], detector.stream(path), atol=1e-5)
    numbers = [n for n, _ in results]
    assert numbers[:4] == [0, 1, 0, 1]  # side by side, two at a time
    assert numbers.index(2) > max(i for i, n in enumerate(numbers) if n == 0)


def test_sources_that_fail_end_alone(tmp_path):
    def breaks_off(length, error):
        yield from rgb(scenes(length))
        raise error

    def running(results, **options):
        cable, disk = VideoError('the cable is out'), OSError('no disk')
        broken = [tmp_path / 'none.mp4', breaks_off(2, cable), breaks_off(0, disk)]
        for number, found in detector.stream_many([*broken, *good], 3, causal=True, **options):
            results.setdefault(number, []).append(found)
        assert alive() == 0

    detector = tiny_detector('selsa')
    good = [write_frames(tmp_path / f'g{i}', scenes(4 + i, seed=i)) for i in range(2)]
    failures, results = {}, {}
    running(results, failed=failures.__setitem__)
    assert {number: type(e) for number, e in failures.items()} == {
        0: VideoError,
        1: VideoError,
        2: OSError,
    }
    assert {number: len(found) for number, found in results.items()} == {1: 2, 3: 4, 4: 5}
    for number, path in enumerate(good, start=3):
        same(results[number], detector.stream(path, causal=True), atol=1e-5)
    told = r'(?s)^3 source\(s\) failed\. source 0: .*none\.mp4.*2: no disk.*1: the cable is out'
    with pytest.raises(VideoError, match=told):
        running({})
    with pytest.raises(ZeroDivisionError):  # which is an error of the program
        list(detector.stream_many([breaks_off(1, ZeroDivisionError())]))
    assert alive() == 0


# ---- ends


@pytest.mark.parametrize('ahead', [0, 3])
def test_a_stream_with_a_window_decodes_no_frame_twice(folder, monkeypatch, ahead):
    decoded, read = [], video_sources.read_image

    def counted(path, *args, **kwargs):
        decoded.append(int(Path(path).stem))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(video_sources, 'read_image', counted)
    detector = windowed(frame_range=[ahead - 6, ahead])
    assert len(list(detector.stream(folder))) == LENGTH
    assert decoded == list(range(LENGTH))
    decoded.clear()
    assert len(list(detector.stream(folder, stride=2, causal=True))) == 12
    assert decoded == list(range(0, LENGTH, 2))


@pytest.mark.parametrize('how', ['break', 'close', 'with', 'error'])
def test_an_abandoned_stream_stops_its_thread_and_closes_the_file(tmp_path, how):
    def still_open() -> bool:
        links = Path('/proc/self/fd')  # of Linux
        return any(os.path.realpath(link) == str(path) for link in links.iterdir())

    path = write_video(tmp_path / 'v.mp4', scenes(60))
    detector = tiny_detector('mamba')
    stream = detector.stream(path)
    if how == 'error':
        detector.model.start = None
        with pytest.raises(TypeError):
            next(stream)
    else:
        next(stream)
        assert alive() == 1 and still_open()
    if how == 'with':
        with stream:
            next(stream)
    elif how == 'close':
        stream.close()
        assert list(stream) == []
    else:
        del stream
        gc.collect()
    assert alive() == 0 and not still_open()


def test_a_truncated_video_keeps_what_decodes_and_warns(tmp_path, monkeypatch):
    said, path = [], tiny_streams.broken_video(tmp_path / 'v.mp4')
    monkeypatch.setattr(video_detector, 'print_log', lambda text, *_: said.append(text))
    detector = tiny_detector('selsa')
    stream = detector.stream(path)
    assert 10 < len(list(stream)) < 25 and list(stream) == []
    assert len(said) == 1 and 'v.mp4' in said[0] and 'breaks off after frame' in said[0]
    assert stream.broken in said[0]
    (tmp_path / '0.png').write_bytes(b'')
    with pytest.raises(VideoError, match=r'No frame to look at: .*0\.png'):
        list(detector.stream(tmp_path / '0.png'))


# ---- the model around it


def test_a_checkpoint_gives_weights_and_class_names_and_bf16_is_close(tmp_path, folder):
    """The detector folds batch norms into convolutions; results are those of the plain model."""
    path, names = tmp_path / 'w.pth', tuple(f'thing {i}' for i in range(30))
    detector = tiny_detector('selsa')
    detector.model = init_detector(tiny_streams.tiny_config('selsa'), device='cpu')
    tiny_streams.randomise(detector.model)
    torch.save({'state_dict': detector.model.state_dict(), 'meta': {'CLASSES': names}}, path)
    loaded, half = (
        VideoDetector(tiny_streams.tiny_config('selsa'), path, 'cpu', amp=amp, score_thr=0.05)
        for amp in (None, 'bf16')
    )
    assert loaded.classes == names
    assert not any('bn1' in name for name in loaded.model.state_dict())
    same(loaded.stream(folder), detector.stream(folder), atol=1e-5)
    assert half.model.detector.backbone.conv1.weight.dtype == torch.bfloat16
    exact, close = (next(detector.stream(folder)).detections for detector in (loaded, half))
    assert differs(exact, close)
    assert abs(exact.scores.max() - close.scores.max()) < 0.05
