"""A TDViT on streams: frame by frame, offline as causal, several videos side by side."""

import pytest
import torch
from mmengine.config import Config
from tiny_streams import CONFIGS, SIZE, randomise, scenes, write_frames

from mmdet.apis import VideoDetector


@pytest.fixture(scope='module', params=['tdvit_tiny', 'tdvit_tiny_cross'])
def detector(request) -> VideoDetector:
    torch.manual_seed(0)
    cfg = Config.fromfile(CONFIGS / f'{request.param}.py')
    cfg.model.detector.backbone.update(embed_dims=8, num_heads=(1, 2))
    cfg.model.detector.neck.in_channels = [16]
    cfg.model.detector.test_cfg.rpn.max_per_img = 20
    cfg.test_dataloader.dataset.pipeline[1].scale = SIZE[::-1]
    built = VideoDetector(cfg, device='cpu', score_thr=0.0)
    randomise(built.model)
    return built


def results(detector: VideoDetector, frames: list, folder, **options) -> list:
    write_frames(folder, frames)
    return [result.detections for result in detector.stream(folder, **options)]


def same(a: list, b: list) -> bool:
    return len(a) == len(b) > 0 and all(
        len(x) == len(y) > 0 and torch.allclose(x.scores, y.scores, rtol=0, atol=1e-5)
        for x, y in zip(a, b, strict=True)
    )


def test_offline_and_causal_are_one(detector, tmp_path):
    frames = scenes(9)
    offline = results(detector, frames, tmp_path / 'a')
    assert same(offline, results(detector, frames, tmp_path / 'b', causal=True))


def test_the_past_counts_and_the_future_does_not(detector, tmp_path):
    frames = scenes(8)
    expected = results(detector, frames, tmp_path / 'a')
    other_past = results(detector, [255 - frames[0], *frames[1:]], tmp_path / 'b')
    other_future = results(detector, [*frames[:7], 255 - frames[7]], tmp_path / 'c')
    assert same(other_future[:7], expected[:7]) and not same(other_past[1:], expected[1:])


def test_videos_side_by_side_are_as_alone(detector, tmp_path):
    videos = [scenes(count, seed=seed) for seed, count in enumerate((7, 4, 6))]
    alone = [results(detector, v, tmp_path / str(i)) for i, v in enumerate(videos)]
    folders = [tmp_path / str(i) for i in range(3)]
    together = [[], [], []]
    for video, result in detector.stream_many(folders, batch=2):
        together[video].append(result.detections)
    assert all(same(a, b) for a, b in zip(together, alone, strict=True))
