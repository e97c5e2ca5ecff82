"""Made-up videos and models of random weights, the same in every run."""

import re
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

import mmdet.models  # noqa: F401
from mmdet.registry import MODELS
from mmdet.structures import Clip, Frame

Size = tuple[int, int]  # height, width
FLOOR = 0.25  # of the mean variance of a norm's channels: dead ones must not be magnified
DARKNET_BLOCK = re.compile(r'blocks\.\d+\.conv2\.bn\.weight')


@lru_cache(maxsize=16)  # a table asks for the same ones in every row
def made_up_video(size: Size, length: int, seed: int = 0) -> Tensor:
    """Frames [length, H, W, 3] uint8 of a scene that moves, in pinned memory where there is any."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.integers(0, 200, (9, 16, 3)).astype(np.uint8)
    scene = np.kron(coarse, np.ones((-(-height // 9), -(-width // 16), 1), np.uint8))
    scene = scene[:height, :width] + rng.integers(0, 50, (height, width, 3), dtype=np.uint8)
    frames = torch.from_numpy(np.stack([np.roll(scene, 7 * i, axis=1) for i in range(length)]))
    return frames.pin_memory() if torch.cuda.is_available() else frames


def write_frames(folder: Path, count: int, size: Size) -> list[Path]:
    """JPEG frames of such a video; about as hard to decode as a photo."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f'{i:06d}.JPEG' for i in range(count)]
    for path, image in zip(paths, made_up_video(size, count).numpy(), strict=True):
        cv2.imwrite(str(path), image)
    return paths


def build_model(cfg: ConfigDict, size: Size, seed: int = 0) -> nn.Module:
    """The model of a config on the CPU, with weights with which scores and boxes vary, as those of
    a trained model do: some hundred candidates, some dozen sure detections.

    Args:
        size: of the frames that the model will see.
    """
    model = MODELS.build(cfg).eval()
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if name.endswith(('rpn_cls.weight', 'fc_cls.weight')):
            nn.init.normal_(weight, std=0.1)
        elif name.endswith(('rpn_reg.weight', 'fc_reg.weight')):
            nn.init.normal_(weight, std=0.02)
        elif name.endswith('bbox_head.conv_cls.weight'):
            nn.init.normal_(weight, std=0.06)
        elif name.endswith('bbox_head.conv_reg.bias'):
            nn.init.constant_(weight, 3.0)  # boxes of some 40 pixels
        elif 'multi_level_conv_' in name and name.endswith('weight'):
            nn.init.normal_(weight, std=0.01 if '_reg' in name else 0.1)
        elif 'multi_level_conv_' in name:
            nn.init.constant_(weight, 1.5 if '_reg' in name else -2.5)
        elif name.endswith(('bn2.weight', 'bn3.weight')) or DARKNET_BLOCK.search(name):
            nn.init.constant_(weight, 0.1)  # with 0.5, depth makes a rounding error everything
    _settle_norms(model, size)
    return model


@torch.no_grad()
def _settle_norms(model: nn.Module, size: Size) -> None:
    """Statistics of the batch norms from one image: with those of the start, activations vanish or
    grow from layer to layer."""
    detector = getattr(model, 'detector', model)
    norms = [m for m in detector.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.eps) for norm in norms]
    for norm in norms:
        norm.momentum, norm.eps = 1.0, max(norm.eps, 1e-5)  # caffe's has 0
        norm.train()
    frame = Frame('0', video_length=1, ori_shape=size, img_shape=size)
    batch = model.data_preprocessor([Clip([frame], made_up_video(size, 1))])['batches'][0]
    feats = detector.feats(detector.encode(batch.images))
    look = detector.find if hasattr(detector, 'find') else detector.propose
    look(feats, batch.img_shapes)
    for norm, settings in zip(norms, before, strict=True):
        norm.momentum, norm.eps = settings
        norm.running_var.clamp_(min=max(FLOOR * float(norm.running_var.mean()), 1e-5))
        norm.eval()
