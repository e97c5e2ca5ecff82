"""Video models so small that a step takes milliseconds, and videos for them."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from mmdet.models.base import BaseVideoDetector
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections, Frame

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_/models'
SIZE = (48, 64)  # height, width
PIXELS = dict(type='PixelMemory', in_channels=32, num_attention_blocks=4, stride=8)


def tiny_config(method: str) -> dict:
    """`selsa`, `mamba` (instance level), `pixel`, `both`, `stpn` or `stpn_selsa`, but narrow."""
    if method.startswith('stpn'):
        return tiny_stpn_config(method)
    cfg = Config.fromfile(CONFIGS / f'{"selsa" if method == "selsa" else "mamba"}_r18_narrow.py')
    model = cfg.model
    model.detector.backbone.update(base_channels=4, norm_eval=True)
    model.detector.neck.in_channels = [32]
    head = model.detector.roi_head.bbox_head
    head.update(fc_out_channels=32)
    head.aggregator.update(in_channels=32, num_attention_blocks=4)
    if method in ('pixel', 'both'):
        model.pixel_memory = dict(PIXELS)
    if method == 'pixel':
        model.detector.roi_head.type = 'StandardRoIHead'
        head.type = 'Shared2FCBBoxHead'
        head.pop('topk'), head.pop('aggregator')
    return model


def tiny_stpn_config(method: str) -> dict:
    model = Config.fromfile(CONFIGS / f'{method}_swint.py').model
    detector = model.detector
    detector.backbone.update(
        embed_dims=16, depths=(2, 2), num_heads=(1, 2), out_indices=(0, 1), init_cfg=None
    )
    detector.backbone.drop_path_rate = 0.0
    detector.neck.update(in_channels=[16, 32], out_channels=16, num_outs=3)
    detector.rpn_head.update(in_channels=16, feat_channels=16)
    detector.rpn_head.anchor_generator.strides = [4, 8, 16]
    detector.roi_head.bbox_roi_extractor.update(out_channels=16, featmap_strides=[4, 8])
    detector.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32)
    if method == 'stpn_selsa':
        detector.backbone.window_size = 3
        detector.roi_head.bbox_head.aggregator.update(in_channels=32, num_attention_blocks=4)
    detector.test_cfg.rpn.max_per_img = 30
    model.prompt_predictor.update(embed_dims=32, prompt_dims=16)
    return model


def tiny_model(method: str, **changes) -> BaseVideoDetector:
    """In eval mode, with random weights that give a spread of scores."""
    torch.manual_seed(0)
    model = MODELS.build(dict(tiny_config(method), **changes)).eval()
    for name, weight in model.named_parameters():
        if name.endswith(('fc_cls.weight', 'rpn_cls.weight', 'rpn_reg.weight')):
            torch.nn.init.normal_(weight, std=0.2)
        if name.endswith('bn2.weight'):  # zero at the start, which would cut the branch off
            torch.nn.init.ones_(weight)
    return model


def video_frames(video: int, length: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """Frames [length, H, W, 3] of a scene that moves, different for every video."""
    rng = np.random.default_rng(video)
    scene = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
    frames = [np.roll(scene, 3 * i, axis=1) for i in range(length)]
    return torch.from_numpy(np.stack(frames))


def clip_of_frames(video: int, frames: torch.Tensor, ids: list[int], **settings) -> Clip:
    """The clip of frame `ids[0]` with the others as references, packed."""
    shape = tuple(frames.shape[1:3])
    metas = [
        Frame(
            path=f'video {video} frame {i}',
            image_id=1000 * video + i,
            video_id=video,
            frame_id=i,
            video_length=len(frames),
            ori_shape=shape,
            img_shape=shape,
        )
        for i in ids
    ]
    return Clip(metas, images=frames[ids], **settings)


def adaptive_clips(video: int, length: int, num_refs: int = 14) -> list[Clip]:
    """All clips of a video, the first with references spread over it."""
    frames = video_frames(video, length)
    refs = [round(i * (length - 1) / (num_refs - 1)) for i in range(num_refs)]
    return [clip_of_frames(video, frames, [i] + (refs if i == 0 else [])) for i in range(length)]


def training_clips(count: int, size: tuple[int, int] = SIZE, num_refs: int = 2) -> list[Clip]:
    """Clips of a key frame with two boxes and `num_refs` references (1, 2 or 4)."""
    refs = {1: [4], 2: [0, 4], 4: [0, 1, 3, 4]}[num_refs]
    clips = []
    for video in range(count):
        clip = clip_of_frames(video, video_frames(video, 5, size), [2, *refs])
        clip.key.boxes = np.array([[4, 6, 30, 28], [20, 10, 60, 44]], np.float32)
        clip.key.labels = np.array([3, 7])
        clips.append(clip)
    return clips


def run(model: BaseVideoDetector, clips: list[Clip], seed: int = 0) -> list[Detections]:
    """Detections of a whole video with a fresh state."""
    state = model.init_state(video_id=clips[0].key.video_id, seed=seed)
    return [model.step(clip, state)[0] for clip in clips]


def assert_same(a: Detections, b: Detections) -> None:
    assert len(a) == len(b) > 0
    assert torch.equal(a.boxes, b.boxes)
    assert torch.equal(a.scores, b.scores)
    assert torch.equal(a.labels, b.labels)
