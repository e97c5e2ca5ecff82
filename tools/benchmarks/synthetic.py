"""Made-up videos and clips of any size, the same in every run."""

from pathlib import Path

import cv2
import numpy as np
import torch

from mmdet.plans import Refs
from mmdet.structures import Clip, Frame


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


def video_clip(paths: list[Path], frame: int, refs: Refs = ()) -> Clip:
    """The clip of a key frame and its references, before the pipeline."""
    return Clip(
        [
            Frame(
                path=str(paths[i]),
                image_id=i + 1,
                video_id=1,
                frame_id=i,
                video_length=len(paths),
                role=role,
            )
            for role, i in (('key', frame), *refs)
        ]
    )


def planned_refs(
    model: torch.nn.Module, mode: str, sampler: dict | None, frame: int, length: int
) -> Refs:
    """What the model's plan gives a key frame of a video."""
    plan = model.plan(mode, sampler)
    return plan(frame, length, np.random.default_rng(0)) if plan is not None else []


def training_clip(paths: list[Path], transforms, frame: int, refs: Refs) -> Clip:
    """A packed clip with three boxes on its key frame."""
    clip = video_clip(paths, frame, refs)
    for transform in transforms:
        clip = transform(clip, np.random.default_rng(0))
    height, width = clip.key.img_shape
    unit = np.array([width, height, width, height], np.float32)
    clip.key.boxes = unit * np.array(
        [[0.1, 0.2, 0.4, 0.7], [0.5, 0.1, 0.9, 0.9], [0.3, 0.5, 0.5, 0.8]], np.float32
    )
    clip.key.labels = np.array([0, 6, 18])
    return clip
