"""One colour per class: the same in every picture, far apart for the first dozens of classes."""

from functools import lru_cache

import numpy as np

Color = tuple[int, int, int]  # BGR, 0..255

PALETTE_SIZE = 64  # colours before the palette repeats
_LIGHTNESS = np.linspace(0.60, 0.90, 5)  # neither lost in shadows nor in white
_CHROMA = np.linspace(0.12, 0.28, 6)
_HUES = 48


def _oklab_to_rgb(lab: np.ndarray) -> np.ndarray:
    """OKLab [N, 3] to sRGB [N, 3], outside 0..1 where the screen cannot show the colour.

    Source: B. Ottosson, "A perceptual color space for image processing", 2020.
    """
    to_lms = [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728],
              [1, -0.0894841775, -1.2914855480]]  # fmt: skip
    to_linear = [[4.0767416621, -3.3077115913, 0.2309699292],
                 [-1.2684380046, 2.6097574011, -0.3413193965],
                 [-0.0041960863, -0.7034186147, 1.7076147010]]  # fmt: skip
    linear = (lab @ np.transpose(to_lms)) ** 3 @ np.transpose(to_linear)
    gamma = 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, gamma)


def _candidates() -> tuple[np.ndarray, np.ndarray]:
    """Every colour of a grid in OKLab that a screen can show: OKLab [N, 3] and sRGB [N, 3]."""
    hues = np.arange(_HUES) * 2 * np.pi / _HUES
    lightness, chroma, hue = np.meshgrid(_LIGHTNESS, _CHROMA, hues, indexing='ij')
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1).reshape(-1, 3)
    rgb = _oklab_to_rgb(lab)
    shown = ((rgb >= 0) & (rgb <= 1)).all(axis=1)
    return lab[shown], rgb[shown]


@lru_cache(maxsize=1)
def _palette() -> tuple[Color, ...]:
    """Colours in the order that keeps each as far as possible from all before it."""
    lab, rgb = _candidates()
    chosen = [int(np.argmax(lab[:, 1] - lab[:, 2] * 0.5))]  # starts at a vivid pinkish red
    distance = np.linalg.norm(lab - lab[chosen[0]], axis=1)
    while len(chosen) < PALETTE_SIZE:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    bgr = np.rint(rgb[chosen][:, ::-1] * 255).astype(int)
    return tuple(tuple(int(v) for v in color) for color in bgr)


def class_color(index: int) -> Color:
    """The BGR colour of a class index (0-based); independent of how many classes there are."""
    return _palette()[index % PALETTE_SIZE]


def text_color(background: Color) -> Color:
    """Black or white, whichever contrasts more with the background (WCAG 2 luminance)."""
    srgb = np.array(background[::-1]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    white_wins = 1.05 * 0.05 > (luminance + 0.05) ** 2
    return (255, 255, 255) if white_wins else (0, 0, 0)
