"""Made-up videos of any size, the same in every run."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor


def write_frames(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """JPEG frames of a textured scene that moves; about as hard to decode as a photo."""
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    shapes = cv2.resize(rng.integers(0, 190, (9, 16, 3), dtype=np.uint8), (width, height))
    scene = shapes + grain
    paths = []
    for i in range(count):
        path = folder / f'{i:06d}.JPEG'
        cv2.imwrite(str(path), np.roll(scene, 8 * i, axis=1))
        paths.append(path)
    return paths


def made_up_video(size: tuple[int, int], length: int, seed: int = 0) -> Tensor:
    """Frames [length, H, W, 3] uint8 of a scene that moves, in pinned memory where there is any."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.integers(0, 200, (9, 16, 3)).astype(np.uint8)
    scene = np.kron(coarse, np.ones((-(-height // 9), -(-width // 16), 1), np.uint8))
    scene = scene[:height, :width] + rng.integers(0, 50, (height, width, 3), dtype=np.uint8)
    frames = torch.from_numpy(np.stack([np.roll(scene, 7 * i, axis=1) for i in range(length)]))
    return frames.pin_memory() if torch.cuda.is_available() else frames
