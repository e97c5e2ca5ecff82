"""Where an object is in each frame: smooth paths, their speed in object lengths per frame."""

from dataclasses import dataclass

import numpy as np

from mmdet.programs.sample.sprites import Sprite, make_sprite

# Speed in object lengths per frame. For a square of side s moving at v, the mean IoU with itself 1
# to 10 frames away is about 1 - 11 v / s: these fall above 0.9, between 0.9 and 0.7, below 0.7.
SPEEDS = {'slow': (0.0, 0.004), 'medium': (0.013, 0.026), 'fast': (0.05, 0.11)}
LENGTHS = (42, 108)  # longer side of an object, pixels
MIN_VISIBLE, MIN_SIDE = 0.3, 8  # share of the box, pixels: below, there is no annotation


@dataclass
class Track:
    """One object of a video; arrays are per frame, x and y the centre in pixels."""

    name: str
    sprite: Sprite
    flip: bool
    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray  # frame pixels per sprite pixel
    angle: np.ndarray  # radians

    def placement(self, frame: int) -> np.ndarray:
        """[2, 3] affine matrix from sprite pixels to frame pixels."""
        cos, sin = np.cos(self.angle[frame]), np.sin(self.angle[frame])
        linear = self.scale[frame] * np.array([[cos, -sin], [sin, cos]])
        if self.flip:
            linear[:, 0] *= -1
        middle = (self.sprite.hull.min(0) + self.sprite.hull.max(0)) / 2
        shift = np.array([self.x[frame], self.y[frame]]) - linear @ middle
        return np.column_stack([linear, shift])

    def box(self, frame: int) -> np.ndarray:
        """[4] float xyxy of the whole object, which may reach out of the frame."""
        matrix = self.placement(frame)
        outline = self.sprite.hull @ matrix[:, :2].T + matrix[:, 2]
        return np.concatenate([outline.min(0), outline.max(0)])


def make_track(
    name: str, speed: str, num_frames: int, size: tuple[int, int], rng: np.random.Generator
) -> Track:
    """A new individual of class `name` on a path across a frame of `size` (width, height).

    At one random frame the object is well inside; before and after it may enter, leave or return.
    """
    sprite = make_sprite(name, rng)
    time = np.arange(num_frames) - rng.uniform(0, num_frames - 1)
    length = rng.uniform(*LENGTHS)
    growth = rng.uniform(-1, 1) * {'slow': 0.0004, 'medium': 0.003, 'fast': 0.012}[speed]
    lengths = np.clip(length * np.exp(growth * time), *LENGTHS)
    path = _path(time, rng.uniform(*SPEEDS[speed]) * length, speed, rng)
    middle = np.array(size) * rng.uniform((0.25, 0.3), (0.75, 0.7))
    turn = rng.uniform(0, 2 * np.pi) if sprite.free_turn else rng.uniform(-0.2, 0.2)
    spin = rng.uniform(-1, 1) * {'slow': 0.0008, 'medium': 0.006, 'fast': 0.02}[speed]
    if not sprite.free_turn:
        spin *= 0.3
    shrink = 1.2 * lengths.max() / sprite.extent
    sprite = sprite.shrunk(min(1.0, shrink))
    return Track(
        name=name,
        sprite=sprite,
        flip=bool(rng.integers(2)),
        x=middle[0] + path[:, 0],
        y=middle[1] + path[:, 1],
        scale=lengths / sprite.extent,
        angle=turn + spin * time,
    )


def _path(time: np.ndarray, velocity: float, speed: str, rng: np.random.Generator) -> np.ndarray:
    """[T, 2] displacement from where the object is at time 0: straight on, or swinging."""
    heading = rng.uniform(-0.35, 0.35) + np.pi * rng.integers(2)
    if speed == 'slow' or rng.uniform() < 0.6:
        along = velocity * time
    else:
        period = rng.uniform(22, 36)
        along = velocity * period / 4 * np.sin(2 * np.pi * time / period)
    wobble = 0.0 if speed == 'slow' else 0.15 * velocity * rng.uniform(-1, 1)
    across = wobble * 4 * np.sin(time / 4)
    cos, sin = np.cos(heading), np.sin(heading)
    return np.column_stack([along * cos - across * sin, along * sin + across * cos])


def visible_box(box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The part of a box inside the frame in whole pixels, or None when too little of it is seen."""
    width, height = size
    xmin, xmax = np.clip(np.round(box[0::2]), 0, width - 1).astype(int)
    ymin, ymax = np.clip(np.round(box[1::2]), 0, height - 1).astype(int)
    seen = (xmax - xmin) * (ymax - ymin) / ((box[2] - box[0]) * (box[3] - box[1]))
    if seen < MIN_VISIBLE or min(xmax - xmin, ymax - ymin) < MIN_SIDE:
        return None
    return int(xmin), int(ymin), int(xmax), int(ymax)
