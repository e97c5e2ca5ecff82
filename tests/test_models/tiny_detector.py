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
    `unlimited`: the samplers keep every candidate, so that a loss has no randomness."""
    changes = {**NARROW, 'neck.in_channels': NECK_INPUTS[kind]}
    if unlimited:
        changes |= {f'train_cfg.{stage}.sampler.num': 1_000_000 for stage in ('rpn', 'rcnn')}
    cfg = Config(dict(model=Config.fromfile(MODEL_CONFIGS / f'faster_rcnn_r50_{kind}.py').model))
    cfg.merge_from_dict({f'model.{k}': v for k, v in {**changes, **(options or {})}.items()})
    return cfg.model


def tiny_detector(kind: str, seed: int = 0, **kwargs) -> FasterRCNN:
    """A detector with random weights that make its outputs vary; see `tiny_config`."""
    torch.manual_seed(seed)
    model = MODELS.build(tiny_config(kind, **kwargs))
    rpn, head = model.rpn_head, model.roi_head.bbox_head
    stds = {rpn.rpn_cls: 1, rpn.rpn_reg: 0.1, head.fc_cls: 0.3, head.fc_reg: 0.3}
    for layer, std in stds.items():
        torch.nn.init.normal_(layer.weight, std=std)
    return model.eval()


def losses_of(model: FasterRCNN, *clips: Clip) -> dict[str, torch.Tensor]:
    model.train()
    return model(**model.data_preprocessor(list(clips), training=True), mode='loss')


def random_clip(
    size: tuple[int, int] = (96, 128), seed: int = 0, num_boxes: int = 0, **identity
) -> Clip:
    """A clip of one frame of noise of (height, width), with `num_boxes` objects."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.5, (num_boxes, 2))
    high = low + rng.uniform(0.2, 0.5, (num_boxes, 2))
    frame = Frame(
        path=f'noise-{seed}.jpg',
        ori_shape=size,
        img_shape=size,
        boxes=np.concatenate([low, high], axis=1).astype(np.float32)
        * np.float32([*size[::-1]] * 2),
        labels=rng.integers(0, 30, num_boxes),
        **{'video_id': 0, **identity},
    )
    return Clip([frame], images=torch.from_numpy(rng.integers(0, 256, (1, *size, 3), np.uint8)))
