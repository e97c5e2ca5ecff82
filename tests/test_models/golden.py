"""Helpers for checks against what the original computes (`shared/golden`)."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from mmdet.registry import MODELS
from mmdet.structures import Clip, Frame


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_json(path: Path) -> dict:
    return json.loads(path.read_text())


def build_with_golden_weights(
    config: Path, shared: Path, fc_cls: float = 3.0, unlimited_samplers: bool = False, **options
) -> nn.Module:
    """The config's model with deterministic weights; `options` are `--cfg-options`."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    model_cfg = cfg.model
    detector = model_cfg.get('detector', model_cfg)
    if unlimited_samplers:
        for stage in ('rpn', 'rcnn'):
            sampler = detector.train_cfg[stage].sampler
            sampler.num, sampler.pos_fraction = 1_000_000, 0.5
    model = MODELS.build(model_cfg)
    weights = load_module(shared / 'golden' / 'weights.py')
    model.load_state_dict(weights.state_dict_for(model.state_dict(), fc_cls=fc_cls))
    return model


def clip_of(paths: list[Path], scale: tuple[int, int] = (320, 180)) -> Clip:
    """A clip of frames resized to `scale`; ids are left for the caller to set."""
    frames, images = [], []
    for path in paths:
        image = cv2.imread(str(path))
        height, width = image.shape[:2]
        images.append(cv2.resize(image, scale, interpolation=cv2.INTER_LINEAR))
        frames.append(
            Frame(
                path=str(path),
                ori_shape=(height, width),
                img_shape=(scale[1], scale[0]),
                scale_factor=(scale[0] / width, scale[1] / height),
            )
        )
    return Clip(frames, images=torch.from_numpy(np.stack(images)))


def training_clip(shared: Path, golden: dict, num_refs: int = 0) -> Clip:
    """The clip of `golden/train`: video A frame 3, references A 1 and 6."""
    folder = shared / 'golden/video/ILSVRC/Data/VID/val/A'
    clip = clip_of([folder / f'{i:06d}.JPEG' for i in (3, 1, 6)[: 1 + num_refs]])
    clip.key.boxes = np.asarray(golden['gt_bboxes'], np.float32).reshape(-1, 4)
    clip.key.labels = np.asarray(golden['gt_labels'], np.int64)
    return clip


def training_losses(model: nn.Module, clips: list[Clip]) -> dict[str, torch.Tensor]:
    model.train()
    return model(**model.data_preprocessor(clips, training=True), mode='loss')
