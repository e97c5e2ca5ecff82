"""Helpers for checks against what the original computes (`shared/golden`)."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch
from torch import nn

from mmdet.structures import Clip, Frame


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_json(path: Path) -> dict:
    return json.loads(path.read_text())


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


def training_losses(model: nn.Module, clips: list[Clip]) -> dict[str, torch.Tensor]:
    model.train()
    model.lay_out(half_precision=False)  # as the runner does
    return model(**model.data_preprocessor(clips, training=True), mode='loss')
