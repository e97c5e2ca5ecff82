"""One colour per class: the same in every picture, far apart for the first dozens of classes."""

import numpy as np

Color = tuple[int, int, int]  # BGR, 0..255

# Each as far as possible in OKLab (B. Ottosson, 2020) from all before it; neither lost in shadows
# nor in white. They never change, so that videos made at different times can be compared.
_PALETTE = """
ed31e6 04ef04 a97416 0fbdfd fddb7c f2a9eb 6768fd ff4a6b 1eb271 3efee2 a864a2 f3943a 0f8bbb b0b72e
ae2cfd a7f875 e3018e 8f8bdd d74b1b 66900d f08d95 33c6bb 8bdc9c d985fd e260b0 46ce40 c23fbc c85270
d37d56 58d8f9 ab9732 bb68fb 389cef ffb641 b7d62c 935fdc 1b7fea 19966e ff5414 90aafa f084c4 07a8c7
6f78c7 ba7dc2 80c17a d47689 7ca731 23b51f a3f5b4 f1e326 d1ca69 2deb74 c70cde fe36a5 e32b55 c299e9
bc644a 5cdfc9 d4ea8d 8b8318 12ae9a d3a64c 20cb96 ca6ad8
""".split()


def class_hex(index: int) -> str:
    """The colour of a class index (0-based) as `#rrggbb`; they repeat after 64."""
    return f'#{_PALETTE[index % len(_PALETTE)]}'


def class_color(index: int) -> Color:
    """The same as BGR; independent of how many classes there are."""
    red, green, blue = bytes.fromhex(class_hex(index)[1:])
    return blue, green, red


def text_color(background: Color) -> Color:
    """Black or white, whichever contrasts more with the background (WCAG 2 luminance)."""
    srgb = np.array(background[::-1]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    white_wins = 1.05 * 0.05 > (luminance + 0.05) ** 2
    return (255, 255, 255) if white_wins else (0, 0, 0)
