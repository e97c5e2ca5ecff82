"""The objects: eight of the ImageNet VID classes, drawn by code, varied within each class.

Side views look to the left; airplane, bird and turtle are seen from above, so they may turn freely.
A blurred zebra is a grey horse, and a blurred airplane much like a bird: the neighbouring frames
have to tell them apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from mmdet.programs.sample.canvas import SIDE, Canvas, Color, hsv
from mmdet.programs.sample.textures import value_noise

DARK: Color = (30, 28, 26)


@dataclass
class Sprite:
    """`image` [S, S, 4] uint8 premultiplied; `hull` [P, 2] its outline in pixels of `image`."""

    image: np.ndarray
    hull: np.ndarray
    free_turn: bool

    @property
    def extent(self) -> float:
        """The longer side of the upright outline, pixels."""
        return float(np.ptp(self.hull, axis=0).max())

    def shrunk(self, factor: float) -> 'Sprite':
        """A copy of `factor` (below 1) times the size, smoothed as it shrinks."""
        side = max(8, round(SIDE * factor))
        image = cv2.resize(self.image, (side, side), interpolation=cv2.INTER_AREA)
        return Sprite(image, self.hull * (side / SIDE), self.free_turn)


def make_sprite(name: str, rng: np.random.Generator) -> Sprite:
    """A new individual of the class `name` (a key of DRAWERS)."""
    canvas = Canvas()
    DRAWERS[name](canvas, rng)
    x, y = Canvas.grid()
    light = rng.uniform(0, 2 * np.pi)
    shading = 1 + 0.12 * (np.cos(light) * x + np.sin(light) * y)
    canvas.shade(shading + 0.12 * value_noise(rng, SIDE, SIDE, rng.uniform(8, 20), octaves=2))
    solid = (canvas.image[..., 3] > 127).astype(np.uint8)
    hull = cv2.convexHull(cv2.findNonZero(solid))[:, 0].astype(np.float64) + 0.5
    return Sprite(canvas.image, hull, free_turn=name in ('airplane', 'bird', 'turtle'))


def _airplane(canvas: Canvas, rng: np.random.Generator) -> None:
    metal = hsv(rng.uniform(), rng.uniform(0, 0.2), rng.uniform(0.75, 1))
    accent = hsv(rng.uniform(), rng.uniform(0.7, 1), rng.uniform(0.5, 0.9))
    sweep, span = rng.uniform(0.25, 0.5), rng.uniform(0.8, 0.95)
    canvas.mirrored([(-0.2, 0), (sweep - 0.1, span), (sweep + 0.1, span), (0.2, 0)], metal)
    tip = [(sweep - 0.15, 0.8 * span), (sweep - 0.1, span), (sweep + 0.1, span), (0.3, 0.8 * span)]
    canvas.mirrored(tip, accent)
    for engine in (0.3, 0.55)[: rng.integers(1, 3)]:
        canvas.ellipse((sweep * engine - 0.2, engine), (0.16, 0.055), DARK)
        canvas.ellipse((sweep * engine - 0.2, -engine), (0.16, 0.055), DARK)
    canvas.mirrored([(0.65, 0), (0.85, 0.36), (0.98, 0.36), (0.92, 0)], accent)
    canvas.ellipse((0, 0), (0.97, 0.13), metal)
    canvas.ellipse((-0.82, 0), (0.09, 0.07), DARK)
    for x in np.arange(-0.6, 0.6, 0.12):
        canvas.ellipse((x, 0.055), (0.03, 0.025), DARK)
        canvas.ellipse((x, -0.055), (0.03, 0.025), DARK)


def _bird(canvas: Canvas, rng: np.random.Generator) -> None:
    hue, value = rng.choice([0.07, 0.1, 0.58, 0.0]), rng.uniform(0.25, 0.6)
    plumage, bars = hsv(hue, 0.55, value), hsv(hue, 0.4, value * 1.5)
    head = hsv(hue, rng.uniform(0, 0.3), rng.uniform(0.8, 1))
    bend = rng.uniform(-0.1, 0.15)
    leading = [(-0.25, 0.1), (-0.45, 0.45), (-0.15 + bend, 0.95)]
    feathers = []
    for i, y in enumerate(np.linspace(0.95, 0.12, 7)):
        feathers += [(0.12 + bend * (1 - i / 6) + 0.02 * i, y), (0.32 - 0.02 * i, y - 0.05)]
    canvas.mirrored(leading + feathers, plumage)
    for reach in (0.25, 0.45, 0.65):
        for side in (-1, 1):
            bar = [(-0.2, side * reach), (0.1, side * (reach + 0.12))]
            canvas.line(bar, 0.05, bars)
    canvas.polygon([(0.3, 0), (0.85, 0.3), (0.95, 0), (0.85, -0.3)], bars)
    canvas.ellipse((0, 0), (0.5, 0.19), plumage)
    canvas.polygon([(-0.6, 0.08), (-0.9, 0), (-0.6, -0.08)], (20, 170, 245))
    canvas.ellipse((-0.53, 0), (0.17, 0.15), head)
    canvas.ellipse((-0.6, 0.07), (0.03, 0.03), DARK)
    canvas.ellipse((-0.6, -0.07), (0.03, 0.03), DARK)


def _bus(canvas: Canvas, rng: np.random.Generator) -> None:
    body = hsv(rng.uniform(), rng.uniform(0.6, 1), rng.uniform(0.6, 1))
    stripe = hsv(rng.uniform(), rng.uniform(0, 0.5), rng.uniform(0.8, 1))
    glass = hsv(0.58, 0.35, rng.uniform(0.25, 0.6))
    roof = -rng.uniform(0.42, 0.55)
    nose = (-0.97, roof + 0.08)
    canvas.polygon(
        [(-0.98, 0.36), nose, (-0.9, roof), (0.93, roof), (0.98, roof + 0.06), (0.98, 0.36)], body
    )
    canvas.polygon([(-0.98, 0.12), (0.98, 0.12), (0.98, 0.2), (-0.98, 0.2)], stripe)
    count = int(rng.integers(4, 7))
    edges = np.linspace(-0.72, 0.94, count + 1)
    for left, right in zip(edges[:-1], edges[1:] - 0.06, strict=True):
        canvas.polygon([(left, roof + 0.1), (right, roof + 0.1), (right, 0), (left, 0)], glass)
    canvas.polygon([(-0.94, roof + 0.1), (-0.78, roof + 0.1), (-0.78, 0.3), (-0.95, 0.3)], glass)
    for x in (-0.6, 0.58):
        _wheel(canvas, x, 0.36, 0.16)


def _car(canvas: Canvas, rng: np.random.Generator) -> None:
    body = hsv(rng.uniform(), rng.uniform(0.3, 1), rng.uniform(0.35, 1))
    glass = hsv(0.58, 0.25, rng.uniform(0.5, 0.85))
    roof, rear = -rng.uniform(0.42, 0.55), rng.uniform(0.5, 0.75)
    hood = -rng.uniform(0.02, 0.12)
    cabin = [(-0.52, hood), (-0.25, roof), (0.35, roof), (rear, hood)]
    canvas.polygon(cabin, body)
    canvas.polygon([(-0.98, 0.3), (-0.96, 0.08), (-0.55, hood), (0.9, hood), (0.98, 0.3)], body)
    canvas.polygon([(-0.42, hood), (-0.21, roof + 0.08), (0.0, roof + 0.08), (0.0, hood)], glass)
    canvas.polygon(
        [(0.08, hood), (0.08, roof + 0.08), (0.32, roof + 0.08), (rear - 0.12, hood)], glass
    )
    canvas.line([(0.04, hood), (0.04, 0.25)], 0.02, DARK)
    canvas.ellipse((-0.9, 0.12), (0.06, 0.06), (150, 240, 255))
    canvas.ellipse((0.92, 0.1), (0.05, 0.06), (40, 40, 220))
    for x in (-0.55, 0.55):
        _wheel(canvas, x, 0.3, 0.21)


def _wheel(canvas: Canvas, x: float, y: float, radius: float) -> None:
    canvas.ellipse((x, y), (radius, radius), DARK)
    canvas.ellipse((x, y), (0.45 * radius, 0.45 * radius), (170, 170, 170))


def _horse(canvas: Canvas, rng: np.random.Generator) -> None:
    if rng.uniform() < 0.5:
        coat = hsv(rng.uniform(0.03, 0.09), rng.uniform(0.5, 0.8), rng.uniform(0.3, 0.7))
    else:
        coat = hsv(0.1, rng.uniform(0, 0.15), rng.uniform(0.25, 0.85))
    _equine(canvas, rng, coat)
    mane = hsv(0.08, 0.4, rng.choice([0.12, 0.9]))
    _mane_and_tail(canvas, mane)


def _zebra(canvas: Canvas, rng: np.random.Generator) -> None:
    _equine(canvas, rng, hsv(0.1, rng.uniform(0, 0.12), rng.uniform(0.85, 1)))
    x, y = Canvas.grid()
    bent = x + 0.25 * y * np.sign(x - 0.1) + 0.04 * np.sin(9 * y + rng.uniform(0, 6))
    stripes = np.sin(bent * rng.uniform(24, 32) + rng.uniform(0, 6)) > rng.uniform(-0.15, 0.2)
    legs = np.sin(y * 32) > 0.1
    canvas.recolor(np.where(y > 0.3, legs, stripes), DARK)
    _mane_and_tail(canvas, DARK)


def _equine(canvas: Canvas, rng: np.random.Generator, coat: Color) -> None:
    far = tuple(int(0.75 * c) for c in coat)
    stride = rng.uniform(-0.12, 0.12)
    for x, color, step in ((-0.2, far, -stride), (0.5, far, stride)):
        canvas.line([(x + 0.06, 0.1), (x + 0.06 + step, 0.88)], 0.12, color)
    for x, step in ((-0.3, stride), (0.42, -stride)):
        canvas.line([(x, 0.1), (x + step, 0.9)], 0.14, coat)
    canvas.ellipse((0.1, -0.02), (0.58, rng.uniform(0.26, 0.33)), coat)
    canvas.polygon([(-0.42, 0.12), (-0.72, -0.62), (-0.48, -0.78), (-0.05, -0.2)], coat)
    canvas.ellipse((-0.75, -0.62), (0.27, 0.13), coat, angle=-35)
    canvas.polygon([(-0.62, -0.76), (-0.56, -0.97), (-0.48, -0.74)], coat)
    canvas.ellipse((-0.7, -0.68), (0.035, 0.035), DARK)


def _mane_and_tail(canvas: Canvas, color: Color) -> None:
    canvas.line([(-0.5, -0.8), (-0.28, -0.5), (-0.05, -0.26)], 0.12, color)
    canvas.line([(0.66, -0.1), (0.82, 0.1), (0.84, 0.45)], 0.09, color)


def _turtle(canvas: Canvas, rng: np.random.Generator) -> None:
    skin = hsv(rng.uniform(0.15, 0.45), rng.uniform(0.4, 0.7), rng.uniform(0.45, 0.8))
    shell_hue = rng.uniform(0.04, 0.4)
    shell = hsv(shell_hue, rng.uniform(0.5, 0.8), rng.uniform(0.35, 0.6))
    plates = hsv(shell_hue + 0.03, 0.6, rng.uniform(0.65, 0.95))
    reach = rng.uniform(0.55, 0.7)
    for side in (-1, 1):
        canvas.ellipse((-0.45, side * reach), (0.36, 0.14), skin, angle=-side * rng.uniform(35, 65))
        canvas.ellipse((0.55, side * 0.5), (0.25, 0.12), skin, angle=side * rng.uniform(25, 50))
    canvas.polygon([(0.6, 0.08), (0.95, 0), (0.6, -0.08)], skin)
    canvas.ellipse((-0.78, 0), (0.2, 0.15), skin)
    canvas.ellipse((-0.86, 0.08), (0.03, 0.03), DARK)
    canvas.ellipse((-0.86, -0.08), (0.03, 0.03), DARK)
    canvas.ellipse((0.02, 0), (0.68, 0.58), shell)
    for x, y in ((-0.32, 0), (0.02, 0), (0.36, 0)):
        canvas.ellipse((x, y), (0.15, 0.16), plates)
    for x in (-0.2, 0.22):
        for y in (-0.33, 0.33):
            canvas.ellipse((x, y), (0.17, 0.13), plates)


def _watercraft(canvas: Canvas, rng: np.random.Generator) -> None:
    hull = hsv(rng.uniform(), rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.8))
    sail = hsv(rng.uniform(), rng.uniform(0, 0.5), rng.uniform(0.85, 1))
    accent = hsv(rng.uniform(), rng.uniform(0.7, 1), rng.uniform(0.6, 0.95))
    top = -rng.uniform(0.8, 0.97)
    canvas.polygon([(-0.95, 0.5), (0.9, 0.5), (0.65, 0.85), (-0.65, 0.85)], hull)
    canvas.line([(-0.85, 0.58), (0.82, 0.58)], 0.05, sail)
    canvas.line([(0, 0.5), (0, top)], 0.05, DARK)
    canvas.polygon([(0.06, top), (0.06, 0.38), (0.72, 0.38)], sail)
    canvas.polygon([(-0.06, top + 0.15), (-0.06, 0.38), (-0.62, 0.38)], sail)
    canvas.polygon([(0.06, 0.1), (0.06, 0.25), (0.63, 0.25), (0.53, 0.1)], accent)
    canvas.ellipse((-0.24, 0.2), (0.09, 0.09), accent)


DRAWERS: dict[str, Callable[[Canvas, np.random.Generator], None]] = {
    'airplane': _airplane,
    'bird': _bird,
    'bus': _bus,
    'car': _car,
    'horse': _horse,
    'turtle': _turtle,
    'watercraft': _watercraft,
    'zebra': _zebra,
}
