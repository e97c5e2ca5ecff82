"""VideoDetector against the test dataset, against itself on other sources, and over long videos."""

import gc
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_streams import (
    SIZE,
    FakeCamera,
    alive,
    broken_video,
    decode,
    randomise,
    scenes,
    tiny_config,
    tiny_detector,
    write_frames,
    write_video,
)

from mmdet.apis import VideoDetector, VideoError, init_detector, video_detector
from mmdet.apis.test import look_back_only
from mmdet.core.errors import ConfigError
from mmdet.engine.loops import use_plans
from mmdet.registry import DATASETS
from mmdet.structures import Detections
from mmdet.video import sources as video_sources

LENGTH, CUT = 23, 13
FRAMES = scenes(LENGTH)
WINDOW = dict(method='test_with_fix_stride', num_ref_imgs=6, frame_range=[-3, 3], stride=2)


def windowed(**changes) -> VideoDetector:
    sampler = {'test_dataloader.dataset.ref_img_sampler': WINDOW | changes}
    return tiny_detector('selsa', **sampler)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return write_frames(tmp_path_factory.mktemp('video') / 'frames', FRAMES)


@pytest.fixture(scope='module', params=['faster_rcnn', 'selsa', 'window', 'mamba', 'tdvit'])
def detector(request) -> VideoDetector:
    return windowed() if request.param == 'window' else tiny_detector(request.param)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What is logged of streams."""
    lines = []
    monkeypatch.setattr(video_detector, 'print_log', lambda text, *_: lines.append(text))
    return lines


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


def dataset_results(
    detector: VideoDetector, folder: Path, tmp_path: Path, mode: str = 'offline'
) -> list[Detections]:
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
    assert [r.detections.image_id for r in results] == list(range(1, LENGTH + 1))
    boxes = torch.cat([r.detections.boxes for r in results])
    assert boxes[:, 2].max() > SIZE[1] and (boxes >= 0).all()
    assert (boxes <= torch.tensor([160.0, 120.0] * 2)).all()
    for i, (result, frame) in enumerate(zip(results, decode(path), strict=True)):
        assert (result.frame_index, result.timestamp_s) == (i, pytest.approx(i / 25))
        assert np.array_equal(result.image[..., ::-1], frame) and result.image.dtype == np.uint8
        assert (result.detections.scores >= 0.05).all()
        result.detections.boxes.mul_(2)  # no inference tensors, which refuse this


def test_a_stride_is_a_video_of_fewer_frames(detector, folder, tmp_path):
    sparse = write_frames(tmp_path / 'sparse', FRAMES[::4])
    for causal in (False, True):
        stream = detector.stream(folder, stride=4, causal=causal)
        assert stream.num_frames == 6 and stream.fps == 6.25
        results = list(stream)
        assert [r.frame_index for r in results] == [0, 4, 8, 12, 16, 20]
        assert results[5].timestamp_s == pytest.approx(0.8)
        same(results, detector.stream(sparse, causal=causal))


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
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[])
    with pytest.raises(ConfigError, match=r'--causal needs one dataset.*ConcatDataset'):
        look_back_only(cfg)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('ahead', [0, 3])
def test_a_stream_with_a_window_decodes_no_frame_twice(folder, monkeypatch, ahead, stride):
    decoded, read = [], video_sources.read_image

    def counted(path, *args, **kwargs):
        decoded.append(int(Path(path).stem))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(video_sources, 'read_image', counted)
    detector = windowed(frame_range=[ahead - 6, ahead], stride=stride)
    assert len(list(detector.stream(folder))) == LENGTH
    assert decoded == list(range(LENGTH))
    decoded.clear()
    assert len(list(detector.stream(folder, stride=2, causal=True))) == 12
    assert decoded == list(range(0, LENGTH, 2))


def test_a_camera_is_causal_and_released(monkeypatch, said):
    monkeypatch.setattr(video_sources.cv2, 'VideoCapture', FakeCamera)
    detector = tiny_detector('mamba')
    stream = detector.stream(0, drop_late=False)
    assert stream.causal and stream.fps == 15
    assert [r.frame_index for r in stream] == [0, 1, 2]
    assert stream.source._device.released and 'camera 0 stopped after frame 2' in said[0]
    late = list(detector.stream(0))
    assert 1 <= len(late) <= 3 and late[-1].frame_index == 2


# ---- several videos


def test_many_videos_equal_one_by_one(detector, tmp_path):
    lengths = [5, 9, 1, 7, 3]
    paths = [
        write_frames(tmp_path / str(i), scenes(length, seed=i)) for i, length in enumerate(lengths)
    ]
    results = list(detector.stream_many(paths, batch=2))
    for number, path in enumerate(paths):
        ours = [r for n, r in results if n == number]
        assert [r.frame_index for r in ours] == list(range(lengths[number]))
        same(ours, detector.stream(path), atol=1e-5)
    numbers = [n for n, _ in results]
    assert numbers[:4] == [0, 1, 0, 1]  # side by side, two at a time
    assert numbers.index(2) > max(i for i, n in enumerate(numbers) if n == 0)


def breaks_off(length, error):
    """A source of arrays that fails after some frames."""
    for frame in scenes(length):
        yield frame[..., ::-1]
    raise error


@pytest.mark.parametrize('told', [True, False])
def test_a_source_that_fails_ends_alone(detector, tmp_path, told):
    good = [write_frames(tmp_path / f'g{i}', scenes(4 + i, seed=i)) for i in range(2)]
    cable, disk = VideoError('the cable is out'), OSError('no disk')
    sources = [tmp_path / 'none.mp4', good[0], breaks_off(2, cable), breaks_off(0, disk), good[1]]
    failures, results = {}, {}
    failed = failures.__setitem__ if told else None
    running = detector.stream_many(sources, batch=3, failed=failed, causal=True)
    try:
        for number, result in running:
            results.setdefault(number, []).append(result)
    except VideoError as error:
        assert not told
        text = str(error)
        assert text.startswith('3 source(s) failed. source 0: ') and 'none.mp4' in text
        assert 'source 2: the cable is out' in text and 'source 3: no disk' in text
    else:
        assert told and sorted(failures) == [0, 2, 3]
        assert isinstance(failures[0], VideoError) and isinstance(failures[3], OSError)
    assert {number: len(found) for number, found in results.items()} == {1: 4, 2: 2, 4: 5}
    for number, path in ((1, good[0]), (4, good[1])):
        same(results[number], detector.stream(path, causal=True), atol=1e-5)
    assert alive() == 0


def test_an_error_of_the_program_is_not_taken_for_a_bad_source():
    with pytest.raises(ZeroDivisionError):
        list(tiny_detector('selsa').stream_many([breaks_off(1, ZeroDivisionError())]))
    assert alive() == 0


# ---- ends


def open_files(path: Path) -> int:
    links = Path('/proc/self/fd')
    if not links.is_dir():
        pytest.skip('open files are seen on Linux only')
    return sum(os.path.realpath(link) == str(path) for link in links.iterdir())


@pytest.mark.parametrize('how', ['break', 'close', 'with', 'never started', 'error'])
def test_an_abandoned_stream_stops_its_thread_and_closes_the_file(tmp_path, how):
    path = write_video(tmp_path / 'v.mp4', scenes(60))
    detector = tiny_detector('mamba')
    stream = detector.stream(path)
    if how == 'with':
        with stream:
            next(stream)
            assert alive() == 1 and open_files(path) >= 1
    elif how == 'error':
        detector.model.start = None
        with pytest.raises(TypeError):
            next(stream)
    elif how != 'never started':
        next(stream)
    if how == 'close':
        stream.close()
        assert list(stream) == []
    else:
        del stream
        gc.collect()
    assert alive() == 0 and open_files(path) == 0


def test_a_truncated_video_keeps_what_decodes_and_warns(tmp_path, said):
    path = broken_video(tmp_path / 'v.mp4')
    detector = tiny_detector('selsa')
    stream = detector.stream(path)
    results = list(stream)
    assert 10 < len(results) < 25
    assert len(said) == 1 and 'v.mp4' in said[0] and 'breaks off after frame' in said[0]
    assert stream.broken in said[0]
    assert list(stream) == [] and len(said) == 1
    assert len(list(detector.stream_many([path]))) == len(results) and said[1] == said[0]


def test_errors_say_what_to_do(tmp_path, folder):
    detector = tiny_detector('selsa')
    (tmp_path / '0.png').write_bytes(b'')
    with pytest.raises(VideoError, match=r'No frame to look at: .*0\.png'):
        list(detector.stream(tmp_path))
    for name, value in {'batch': 0, 'stride': 0, 'prefetch': 'x'}.items():
        with pytest.raises(VideoError, match=f'^{name} must be an integer of at least 1'):
            next(detector.stream_many([folder], **{name: value}))
    cfg = tiny_config('selsa')
    cfg.test_dataloader.dataset.pipeline = []
    with pytest.raises(ConfigError, match='pipeline'):
        VideoDetector(cfg, device='cpu')


def test_the_size_may_change_only_where_the_model_allows_it(tmp_path):
    mixed = [*FRAMES[:3], cv2.resize(FRAMES[3], (60, 60))]
    stream = tiny_detector('mamba').stream(rgb(mixed))
    assert [next(stream).frame_index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(
        VideoError, match=r'Frame 3 of the arrays is 60x60, but .* before it is 64x'
    ):
        next(stream)
    with pytest.raises(VideoError, match='is 60x60'):  # as a reference of the first frame
        next(tiny_detector('selsa').stream(write_frames(tmp_path / 'mixed', mixed)))
    results = list(tiny_detector('faster_rcnn').stream(rgb(mixed)))
    assert results[3].image.shape == (60, 60, 3)


# ---- the model around it


def plain_model(method: str, path: Path, **meta) -> torch.nn.Module:
    """A model whose weights are saved to `path`."""
    model = init_detector(tiny_config(method), device='cpu')
    randomise(model)
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return model


def test_bf16_runs_and_is_close(tmp_path, folder):
    plain_model('mamba', tmp_path / 'w.pth')
    plain, half = (
        VideoDetector(tiny_config('mamba'), tmp_path / 'w.pth', 'cpu', amp=amp, score_thr=0)
        for amp in (None, 'bf16')
    )
    assert half.model.detector.backbone.conv1.weight.dtype == torch.bfloat16
    exact, close = (next(detector.stream(folder)).detections for detector in (plain, half))
    assert differs(exact, close)
    assert abs(exact.scores.max() - close.scores.max()) < 0.05


def test_a_checkpoint_gives_weights_and_class_names(tmp_path, folder):
    """The detector folds batch norms into convolutions; results are those of the plain model."""
    detector = tiny_detector('selsa')
    names = tuple(f'thing {i}' for i in range(30))
    detector.model = plain_model('selsa', tmp_path / 'w.pth', CLASSES=names)
    loaded = VideoDetector(tiny_config('selsa'), tmp_path / 'w.pth', 'cpu', score_thr=0.05)
    assert loaded.classes == names
    assert not any('bn1' in name for name in loaded.model.state_dict())
    same(loaded.stream(folder), detector.stream(folder), atol=1e-5)
