"""MEGA and RDN so small that a step takes milliseconds, and clips of their plans."""

from pathlib import Path

import numpy as np
import torch
from alike import share_found
from mmengine.config import Config
from tiny_video_models import SIZE, video_frames

from mmdet.models.vid.window_model import WindowModel
from mmdet.plans import make_clip
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections, Frame

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_/models'
NARROW = {
    'backbone.depth': 18,
    'backbone.base_channels': 4,
    'backbone.norm_eps': 1e-5,
    'backbone.frozen_stages': -1,
    'backbone.norm_frozen': False,
    'backbone.init_cfg': None,
    'neck.in_channels': [32],
    'neck.out_channels': 8,
    'rpn_head.in_channels': 16,
    'rpn_head.feat_channels': 16,
    'rpn_head.anchor_generator.scales': [0.5, 1, 2],
    'roi_head.bbox_roi_extractor.out_channels': 8,
    'roi_head.bbox_head.in_channels': 8,
    'roi_head.bbox_head.fc_out_channels': 32,
    'roi_head.bbox_head.aggregator.in_channels': 32,
    'roi_head.bbox_head.aggregator.num_attention_blocks': 4,
    'roi_head.bbox_head.aggregator.distilled': 3,
    'roi_head.bbox_head.topk': 8,
    'test_cfg.rpn.max_per_img': 20,
    'train_cfg.rpn_proposal.max_per_img': 20,
}


def tiny_window_model(method: str, seed: int = 0, **changes) -> WindowModel:
    """`mega` or `rdn` in eval mode, with random weights that give a spread of scores."""
    cfg = Config.fromfile(CONFIGS / f'{method}_r50_c4.py')
    cfg.merge_from_dict({f'model.detector.{k}': v for k, v in NARROW.items()})
    cfg.model.window = 7
    cfg.model.data_preprocessor.std = (58.0, 57.0, 57.0)
    if method == 'mega':
        cfg.model.update(num_global=4, memory_frames=5)
    cfg.merge_from_dict({f'model.{k}': v for k, v in changes.items()})
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model).eval()
    for name, weight in model.named_parameters():
        if name.endswith(('fc_cls.weight', 'rpn_cls.weight', 'v.weight')):
            torch.nn.init.normal_(weight, std=0.2)
        if name.endswith('rpn_reg.weight'):
            torch.nn.init.normal_(weight, std=0.02)
        if name.endswith('pos.bias'):  # keeps the logarithm of the gate away from its pole
            torch.nn.init.constant_(weight, 0.5)
        if name.endswith('bn2.weight'):
            torch.nn.init.ones_(weight)
    return model


def window_clip(
    model: WindowModel,
    frames: torch.Tensor,
    key: int,
    video: int = 0,
    mode: str = 'offline',
    seed: int = 0,
    image: bool = False,
) -> Clip:
    """The clip of a frame of `frames` [L, H, W, 3] by the model's own plan, packed."""
    plan, length = model.plan(mode, None), len(frames)
    shape = tuple(frames.shape[1:3])

    def frame_of(number: int) -> Frame:
        return Frame(
            path=f'{video}/{number}.jpg', video_id=video, frame_id=max(number, 0),
            video_length=length, ori_shape=shape, img_shape=shape,
        )  # fmt: skip

    rng = np.random.default_rng(seed)
    at = (-1, 1) if image else (key, length)
    clip = make_clip(plan, *at, rng, lambda number: frame_of(key if image else number))
    distinct = list(dict.fromkeys(f.frame_id for f in clip.frames))
    clip.rows = [distinct.index(f.frame_id) for f in clip.frames]
    clip.images = frames[distinct]
    return clip


def training_window_clip(
    model: WindowModel, key: int = 9, objects: int = 2, seed: int = 0, **settings
) -> Clip:
    """A clip of a video of 30 frames with ground truth in its key frame."""
    frames = video_frames(seed, 30)
    clip = window_clip(model, frames, key, mode='train', seed=seed, **settings)
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.5, (objects, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.2, 0.5, (objects, 2))], axis=1)
    clip.key.boxes = (boxes * [SIZE[1], SIZE[0], SIZE[1], SIZE[0]]).astype(np.float32)
    clip.key.labels = rng.integers(0, 30, objects)
    return clip


def same_detections(found: Detections, expected: Detections) -> None:
    """Equal up to the rounding of other batch sizes, of which near-equal boxes change places."""
    assert len(found) == len(expected)
    assert share_found(expected, found, score=1e-4, box=1e-2) >= 0.98
