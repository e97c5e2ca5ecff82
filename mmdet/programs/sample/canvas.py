"""A square drawing surface with premultiplied alpha, in coordinates from -1 to 1 (y downwards)."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

SIDE = 256  # pixels; sprites are shrunk from here, so that their edges stay smooth
_SHIFT = 4  # OpenCV's fixed-point coordinates: 1/16 pixel

Color = tuple[int, int, int]  # blue, green, red


def hsv(hue: float, saturation: float, value: float) -> Color:
    """A colour from hue (any real, one turn is 1), saturation and value (clipped to 0..1)."""
    saturation, value = np.clip([saturation, value], 0, 1)
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, float(saturation), float(value))
    return round(255 * blue), round(255 * green), round(255 * red)


class Canvas:
    """`image` is [SIDE, SIDE, 4] uint8: blue, green, red times alpha, and alpha."""

    def __init__(self) -> None:
        self.image = np.zeros((SIDE, SIDE, 4), np.uint8)

    def polygon(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        cv2.fillPoly(self.image, [self._pixels(points)], (*color, 255), cv2.LINE_AA, _SHIFT)

    def mirrored(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        """The polygon and its mirror image about the horizontal axis (wings, flippers)."""
        self.polygon(points, color)
        self.polygon([(x, -y) for x, y in points], color)

    def ellipse(
        self,
        center: tuple[float, float],
        radii: tuple[float, float],
        color: Color,
        angle: float = 0,
    ) -> None:
        """`angle` in degrees, clockwise."""
        outline = cv2.ellipse2Poly((0, 0), (1000, round(1000 * radii[1] / radii[0])), 0, 0, 360, 6)
        turn = np.deg2rad(angle)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        points = outline / 1000 * radii[0] @ rotation + center
        self.polygon([tuple(point) for point in points], color)

    def line(self, points: Sequence[tuple[float, float]], width: float, color: Color) -> None:
        pixels = max(1, round(width * SIDE / 2))
        cv2.polylines(
            self.image, [self._pixels(points)], False, (*color, 255), pixels, cv2.LINE_AA, _SHIFT
        )

    def recolor(self, mask: np.ndarray, color: Color) -> None:
        """Paint what is drawn already, where `mask` [SIDE, SIDE] bool holds."""
        alpha = self.image[..., 3:].astype(np.float32) / 255
        painted = (alpha * np.float32(color)).astype(np.uint8)
        self.image[..., :3] = np.where(mask[..., None], painted, self.image[..., :3])

    def shade(self, factor: np.ndarray) -> None:
        """Multiply the colours by `factor` [SIDE, SIDE], up to full brightness."""
        alpha = self.image[..., 3:]
        colors = np.minimum(self.image[..., :3] * factor[..., None], alpha)
        self.image[..., :3] = colors.astype(np.uint8)

    @staticmethod
    def grid() -> tuple[np.ndarray, np.ndarray]:
        """x and y of every pixel, [SIDE, SIDE] each."""
        axis = (np.arange(SIDE, dtype=np.float32) + 0.5) * (2 / SIDE) - 1
        return np.broadcast_to(axis, (SIDE, SIDE)), np.broadcast_to(axis[:, None], (SIDE, SIDE))

    @staticmethod
    def _pixels(points: Sequence[tuple[float, float]]) -> np.ndarray:
        fixed = (np.asarray(points, np.float64) + 1) * (SIDE / 2) * (1 << _SHIFT)
        return np.round(fixed).astype(np.int32)
