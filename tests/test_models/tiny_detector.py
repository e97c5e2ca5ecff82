"""The detectors of the base configs, made so narrow that a training step takes milliseconds."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

import mmdet.models  # noqa: F401  (registers the models)
from mmdet.models.detectors import FasterRCNN
from mmdet.registry import MODELS
from mmdet.structures import Clip, Frame

MODEL_CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_/models'

NARROW = {
    'backbone.depth': 18,
    'backbone.base_channels': 12,  # see CHANNELS in tiny_video_models.py
    'backbone.init_cfg': None,
    'neck.out_channels': 16,
    'rpn_head.in_channels': 16,
    'rpn_head.feat_channels': 16,
    'roi_head.bbox_roi_extractor.out_channels': 16,
    'roi_head.bbox_head.in_channels': 16,
    'roi_head.bbox_head.fc_out_channels': 32,
    'train_cfg.rpn_proposal.max_per_img': 60,
    'test_cfg.rpn.max_per_img': 30,
}
NECK_INPUTS = {'dc5': [96], 'fpn': [12, 24, 48, 96]}


def tiny_config(kind: str, options: dict | None = None, unlimited: bool = False) -> Config:
    """The model config of `kind` ('dc5' or 'fpn'), narrow, changed by dotted `options`.

    Args:
        unlimited: the samplers keep every candidate, so that a loss has no randomness.
    """
    cfg = Config.fromfile(MODEL_CONFIGS / f'faster_rcnn_r50_{kind}.py').model
    changes = {**NARROW, 'neck.in_channels': NECK_INPUTS[kind]}
    if unlimited:
        for stage in ('rpn', 'rcnn'):
            changes[f'train_cfg.{stage}.sampler.num'] = 1_000_000
    cfg = Config(dict(model=cfg))
    cfg.merge_from_dict({f'model.{k}': v for k, v in {**changes, **(options or {})}.items()})
    return cfg.model


def tiny_detector(kind: str, seed: int = 0, **kwargs) -> FasterRCNN:
    """A detector with random weights that make its outputs vary; see `tiny_config`."""
    torch.manual_seed(seed)
    model = MODELS.build(tiny_config(kind, **kwargs))
    head = model.roi_head.bbox_head
    for layer, std in ((model.rpn_head.rpn_cls, 1), (model.rpn_head.rpn_reg, 0.1),
                       (head.fc_cls, 0.3), (head.fc_reg, 0.3)):  # fmt: skip
        torch.nn.init.normal_(layer.weight, std=std)
    return model.eval()


def random_clip(
    size: tuple[int, int] = (96, 128), seed: int = 0, num_boxes: int = 0, **identity
) -> Clip:
    """A clip of one frame of noise of (height, width), with `num_boxes` objects."""
    rng = np.random.default_rng(seed)
    height, width = size
    low = rng.uniform(0, 0.5, (num_boxes, 2))
    high = low + rng.uniform(0.2, 0.5, (num_boxes, 2))
    boxes = np.concatenate([low, high], axis=1) * [width, height, width, height]
    frame = Frame(
        path=f'noise-{seed}.jpg',
        ori_shape=size,
        img_shape=size,
        boxes=boxes.astype(np.float32),
        labels=rng.integers(0, 30, num_boxes),
        **{'video_id': 0, **identity},
    )
    images = rng.integers(0, 256, (1, height, width, 3), np.uint8)
    return Clip([frame], images=torch.from_numpy(images))
