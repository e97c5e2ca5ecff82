"""What degrades single frames of a video, in stretches between clear ones."""

from dataclasses import dataclass

import cv2
import numpy as np

from mmdet.programs.sample.textures import value_noise

KINDS = ('motion_blur', 'defocus', 'occlusion', 'noise')
STRETCH = (3, 6)  # frames, both ends included
MIN_CLEAR = 5  # frames between two stretches


@dataclass
class Stretch:
    """Frames start..stop-1 degraded in one way; `strength` 0..1 is that of its middle."""

    kind: str
    start: int
    stop: int
    strength: float
    direction: float  # radians, of the blur

    def at(self, frame: int) -> float:
        """Strength in this frame, 0 outside; the first and last frame get 0.7 of it."""
        if not self.start <= frame < self.stop:
            return 0.0
        return self.strength * (0.7 if frame in (self.start, self.stop - 1) else 1.0)


def plan_stretches(num_frames: int, kinds: list[str], rng: np.random.Generator) -> list[Stretch]:
    """One stretch of each of `kinds`, in that order, as far as they fit, clear frames between."""
    stretches: list[Stretch] = []
    start = int(rng.integers(0, 5))
    for kind in kinds:
        stop = start + int(rng.integers(STRETCH[0], STRETCH[1] + 1))
        if stop > num_frames:
            break
        turn, strength = rng.uniform(0, np.pi), rng.uniform(0.7, 1.0)
        stretches.append(Stretch(kind, start, stop, strength, turn))
        start = stop + MIN_CLEAR + int(rng.integers(0, 4))
    return stretches


def degrade(
    image: np.ndarray, stretch: Stretch, frame: int, rng: np.random.Generator
) -> np.ndarray:
    """The degraded frame, [H, W, 3] uint8. Occlusion is drawn with the objects, not here."""
    strength = stretch.at(frame)
    if stretch.kind == 'motion_blur':
        return cv2.filter2D(image, -1, _streak(round(8 + 20 * strength), stretch.direction))
    if stretch.kind == 'defocus':
        radius = round(2 + 6 * strength)
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        return cv2.filter2D(image, -1, disk.astype(np.float32) / disk.sum())
    if stretch.kind == 'noise':
        grain = rng.standard_normal(image.shape, np.float32) * (40 + 50 * strength)
        faded = 110 + (image - np.float32(110)) * (1 - 0.45 * strength)
        return np.clip(faded + grain, 0, 255).astype(np.uint8)
    return image


def _streak(length: int, direction: float) -> np.ndarray:
    """[length, length] float32 blur kernel: a line through the middle, sum 1."""
    kernel = np.zeros((length, length), np.float32)
    middle = (length - 1) / 2
    reach = middle * np.array([np.cos(direction), np.sin(direction)])
    ends = [np.round((middle + sign * reach) * 16).astype(int) for sign in (-1, 1)]
    cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0, 1, cv2.LINE_AA, 4)
    return kernel / kernel.sum()


def cover(
    image: np.ndarray, box: np.ndarray, stretch: Stretch, frame: int, texture: np.ndarray
) -> None:
    """Hide 60 to 85 % of the object in `box` (xyxy) behind a bush or a post, in place.

    The cover drifts across the object over the stretch, so that each frame shows another part.
    """
    share = 0.35 + 0.5 * stretch.at(frame)
    size = box[2:] - box[:2]
    progress = (frame - stretch.start + 0.5) / (stretch.stop - stretch.start) - 0.5
    along = np.array([np.cos(stretch.direction), np.sin(stretch.direction)])
    center = (box[:2] + box[2:]) / 2 + 0.5 * progress * along * size
    radii = np.sqrt(share) * size / 2 * 1.15
    mask = np.zeros(image.shape[:2], np.uint8)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    bumps = 1 + 0.12 * np.cos(5 * angles + stretch.direction)
    outline = center + np.column_stack([np.cos(angles), np.sin(angles)]) * radii * bumps[:, None]
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    left, top = np.round(center * -1).astype(int) + np.array(texture.shape[1::-1]) // 2
    rows, columns = np.nonzero(mask)
    image[rows, columns] = texture[
        (rows + top) % texture.shape[0], (columns + left) % texture.shape[1]
    ]


def foliage(rng: np.random.Generator, side: int) -> np.ndarray:
    """[side, side, 3] uint8 leafy texture of a cover."""
    tone = rng.uniform((20, 60, 20), (60, 120, 80))
    leaves = 1 + 0.45 * value_noise(rng, side, side, side / 9, octaves=2)
    return np.clip(tone * leaves[..., None], 0, 255).astype(np.uint8)
