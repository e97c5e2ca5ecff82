"""Smooth random fields and the moving backgrounds made of them."""

import cv2
import numpy as np

from mmdet.programs.sample.canvas import Color, hsv


def value_noise(
    rng: np.random.Generator, height: int, width: int, cells: float, octaves: int = 3
) -> np.ndarray:
    """[height, width] float32 with mean about 0 and values about -1..1.

    `cells` is the number of bumps across the width in the first octave; each next one has twice as
    many at half the amplitude.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        across = max(2, round(cells * 2**octave))
        down = max(2, round(across * height / width))
        coarse = rng.uniform(-1, 1, (down, across)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return total


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """[height, width, 3] uint8: a coloured texture with clutter that is none of the classes."""
    hue, saturation, value = rng.uniform(0, 1), rng.uniform(0.15, 0.5), rng.uniform(0.35, 0.75)
    base = np.float32(hsv(hue, saturation, value))
    other = np.float32(hsv(hue + rng.uniform(0.05, 0.3), saturation, value * rng.uniform(0.6, 1.3)))
    mix = 0.5 + 0.5 * value_noise(rng, height, width, rng.uniform(3, 8))
    image = base + (other - base) * mix[..., None]
    kind = rng.integers(4)
    if kind == 0:  # grass, gravel
        image *= 1 + 0.22 * value_noise(rng, height, width, 60, octaves=2)[..., None]
    elif kind == 1:  # water: long ripples
        rows = value_noise(rng, height, max(2, width // 12), 6)
        image *= 1 + 0.2 * cv2.resize(rows, (width, height))[..., None]
    elif kind == 2:  # bricks
        image *= _bricks(height, width, rng.integers(14, 30))[..., None]
    image = np.clip(image, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(3, 9)):
        _clutter(image, rng)
    return image


def _bricks(height: int, width: int, size: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    row = y // size
    joint = (y % size < 2) | ((x + size * (row % 2)) % (2 * size) < 2)
    tone = 0.9 + 0.2 * ((row * 7 + (x + size * (row % 2)) // (2 * size) * 13) % 5) / 5
    return np.where(joint, 0.75, tone).astype(np.float32)


def _clutter(image: np.ndarray, rng: np.random.Generator) -> None:
    """One blob, post or pebble field, half transparent."""
    height, width = image.shape[:2]
    x, y = int(rng.integers(width)), int(rng.integers(height))
    size = int(rng.integers(8, 45))
    color: Color = hsv(rng.uniform(), rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.9))
    layer = image.copy()
    kind = rng.integers(3)
    if kind == 0:
        corners = rng.normal(0, size, (int(rng.integers(3, 7)), 2)) + (x, y)
        cv2.fillPoly(layer, [cv2.convexHull(corners.astype(np.int32))], color, cv2.LINE_AA)
    elif kind == 1:
        cv2.rectangle(layer, (x, 0), (x + size // 4, height), color, -1)
    else:
        for dx, dy in rng.normal(0, size, (12, 2)):
            cv2.circle(layer, (int(x + dx), int(y + dy)), size // 8 + 1, color, -1, cv2.LINE_AA)
    cv2.addWeighted(layer, 0.6, image, 0.4, 0, dst=image)
