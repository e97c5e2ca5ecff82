"""References that belong to the stages of a backbone: what TDViT trains with.

Each stage s gets one reference of its own, of role `stage1`, `stage2`, ...: in training it stands
for the map that the stage's temporal blocks would remember.
"""

from collections.abc import Sequence

import numpy as np

from mmdet.core.errors import ConfigError

STAGE_METHODS = ('stagewise_uniform', 'stagewise_ring')


class StagePlan:
    """One reference per stage, in the order of the stages, drawn independently.

    - `stagewise_uniform`: from a window around the key, for each stage. With [4, 8, 16, 32] from
      as many frames to either side (the authors' later code base); with pairs such as
      [[-7, -4], [-15, -8], [-31, -16], [-63, -32]] as far back in the past as in testing. Where a
      window lies outside of the video, its nearest frame is taken.
    - `stagewise_ring`: from the frames that are further away than the stage before may look, and
      at most as far as its own radius: with [5, 10, 20, 40] at distances 1-5, 6-10, 11-20, 21-40
      (as the authors' early loader has it). Where a video has none, from all of its frames.

    The key frame is no candidate unless a video has no other. An image that is no video stands for
    its own references.

    Args:
        method: one of STAGE_METHODS.
        frame_range: of each stage, an int r for [-r, r] or a pair [low, high]; of rings the outer
            radii, ascending.

    Raises:
        ConfigError: an argument out of its range.
    """

    in_order = False
    lookahead = 0

    def __init__(self, method: str, frame_range: Sequence[int | Sequence[int]]) -> None:
        if method not in STAGE_METHODS:
            raise ConfigError(f'method {method!r}: expected {" or ".join(STAGE_METHODS)}.')
        self.method = method
        if not isinstance(frame_range, Sequence) or not frame_range:
            raise ConfigError(f'frame_range {frame_range!r}: {method} needs one per stage.')
        if method == 'stagewise_ring':
            self.ranges = _rings(frame_range)
        else:
            self.ranges = [_window(given) for given in frame_range]

    def __call__(
        self, frame_id: int, length: int, rng: np.random.Generator
    ) -> list[tuple[str, int]]:
        """Pairs of a role and a frame id.

        Args:
            frame_id: of the key; negative: an image that is no video.
            length: frames of the video.
        """
        return [
            (f'stage{stage}', self._draw(frame_id, length, low, high, rng))
            for stage, (low, high) in enumerate(self.ranges, start=1)
        ]

    def _draw(self, key: int, length: int, low: int, high: int, rng: np.random.Generator) -> int:
        if key < 0 or length == 1:
            return key
        frames = np.delete(np.arange(length), key)
        distance = np.abs(frames - key)
        if self.method == 'stagewise_ring':
            candidates = frames[(distance > low) & (distance <= high)]
            others = frames
        else:
            candidates = frames[(frames >= key + low) & (frames <= key + high)]
            nearest = min(max(key + low, 0), length - 1)
            others = [key] if key + low <= nearest <= key + high else [nearest]
        return int(rng.choice(candidates if len(candidates) else others))


def _window(given: int | Sequence[int]) -> tuple[int, int]:
    pair = (-given, given) if type(given) is int else given
    known = isinstance(pair, Sequence) and len(pair) == 2 and all(type(g) is int for g in pair)
    if not known or pair[0] > pair[1]:
        raise ConfigError(
            f'frame_range of a stage must be an integer >= 0 or [low, high] with low <= high, '
            f'not {given!r}.'
        )
    return tuple(pair)


def _rings(radii: Sequence[int]) -> list[tuple[int, int]]:
    inner = [0, *radii[:-1]]
    if not all(type(r) is int for r in radii) or sorted({*inner, *radii}) != [0, *radii]:
        raise ConfigError(
            f'frame_range of stagewise_ring must be ascending outer radii in frames, not {radii!r}.'
        )
    return list(zip(inner, radii, strict=True))
