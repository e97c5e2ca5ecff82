"""Which frames of a video a key frame sees: the reference samplers of the 1.x configs.

A sampler maps (frame id of the key f, length of the video L) to frame ids in 0..L-1. All frames of
the video are candidates, labelled or not.

Training: `uniform`, `bilateral_uniform`. Testing: `test_with_adaptive_stride` (at the first frame,
frames spread over the whole video), `test_with_fix_stride` (a sliding window, frame by frame).
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmdet.core.errors import ConfigError
from mmdet.registry import closest

PAST_FRAMES = 14  # references of a causal window when the config does not say how many
PAST_STRIDE = 10  # frames between them: 14 references reach back 140 frames


class RefSampler:
    """Reference frames by one of `METHODS`.

    Args:
        num_ref_imgs: how many references; even for `bilateral_uniform`, at least 2 for
            `test_with_adaptive_stride`. The `test_with_*` methods use `hi - lo` references in any
            case (1.x did so from its second call on), with a warning where the two differ.
        frame_range: an int r for [-r, r], or [lo, hi] with lo <= 0 <= hi, in frames around the key.
        filter_key_img: the key frame is no candidate (training methods).
        method: a name in `METHODS`.
        stride: frames between two window positions of `test_with_fix_stride`.

    Raises:
        ConfigError: an argument out of its range; says which and what is legal.
    """

    def __init__(
        self,
        frame_range: int | Sequence[int],
        num_ref_imgs: int = 1,
        filter_key_img: bool = True,
        method: str = 'uniform',
        stride: int = 1,
    ):
        if method not in METHODS:
            raise ConfigError(f'Unknown reference sampler {method!r}. {closest(method, METHODS)}')
        self.low, self.high = _frame_range(frame_range)
        self.num_ref_imgs = _at_least('num_ref_imgs', num_ref_imgs, 1)
        self.stride = _at_least('stride', stride, 1)
        self.filter_key_img = filter_key_img
        self.method = method
        if method == 'bilateral_uniform' and num_ref_imgs % 2:
            raise ConfigError(
                f'bilateral_uniform takes as many references before the key as after it: '
                f'num_ref_imgs must be even, not {num_ref_imgs}'
            )
        if method.startswith('test') and self.low < self.high:
            self._use_the_range()

    def _use_the_range(self) -> None:
        span = self.high - self.low
        if span != self.num_ref_imgs:
            print_log(
                f'{self.method}: frame_range {[self.low, self.high]} holds {span} references, not '
                f'num_ref_imgs={self.num_ref_imgs}; {span} are used. Make the two agree.',
                logger='current',
                level=logging.WARNING,
            )
            self.num_ref_imgs = span
        if self.method == 'test_with_adaptive_stride':
            _at_least('num_ref_imgs of test_with_adaptive_stride', span, 2)

    @property
    def window(self) -> tuple[int, int] | None:
        """(references before the key, stride) of a sliding window; None for other methods."""
        if self.method == 'test_with_fix_stride' and self.low < self.high:
            return -self.low, self.stride
        return None

    def __call__(
        self, frame_id: int, length: int, rng: np.random.Generator, pad: bool = True
    ) -> list[int]:
        """Frame ids of the references, ascending.

        Args:
            frame_id: of the key. Negative, or with an empty `frame_range`: the key is repeated.
            length: frames of the video.
            rng: draws of the training methods.
            pad: fill up to `num_ref_imgs` (training): with the first selected reference, or with
                the key if none was selected. In testing, frames may have no reference.
        """
        if frame_id < 0 or self.low == self.high == 0:
            return [frame_id] * self.num_ref_imgs
        refs = METHODS[self.method](self, frame_id, length, rng)
        if pad:
            refs = refs + [refs[0] if refs else frame_id] * (self.num_ref_imgs - len(refs))
        return sorted(refs)


def uniform(sampler: RefSampler, frame_id: int, length: int, rng: np.random.Generator) -> list[int]:
    """Without replacement from the range around the key, clipped to the video."""
    left, right = max(0, frame_id + sampler.low), min(frame_id + sampler.high, length - 1)
    return _draw(left, right, sampler.num_ref_imgs, sampler, frame_id, rng)


def bilateral_uniform(
    sampler: RefSampler, frame_id: int, length: int, rng: np.random.Generator
) -> list[int]:
    """Half of the references before the key, half after it; a short side gives what it has."""
    left, right = max(0, frame_id + sampler.low), min(frame_id + sampler.high, length - 1)
    half = sampler.num_ref_imgs // 2
    before = _draw(left, frame_id, half, sampler, frame_id, rng)
    return before + _draw(frame_id, right, half, sampler, frame_id, rng)


def test_with_adaptive_stride(
    sampler: RefSampler, frame_id: int, length: int, rng: np.random.Generator
) -> list[int]:
    """At frame 0: frames evenly spread over the video, first and last included; then none."""
    if frame_id > 0:
        return []
    step = (length - 1) / (sampler.num_ref_imgs - 1)
    return [round(i * step) for i in range(sampler.num_ref_imgs)]


def test_with_fix_stride(
    sampler: RefSampler, frame_id: int, length: int, rng: np.random.Generator
) -> list[int]:
    """At frame 0 the whole window (frame 0 stands for what lies before it); then the newest frame.

    Frames come in their order in the video: the model slides its window by one at every `stride`.
    """
    last, stride = length - 1, sampler.stride
    if frame_id == 0:
        ahead = [min(i * stride, last) for i in range(1, sampler.high + 1)]
        return [0] * (1 - sampler.low) + ahead
    if frame_id % stride == 0:
        return [min(frame_id + sampler.high * stride, last)]
    return []


def causal_sampler(config: Mapping[str, Any] | None, keeps_window: bool) -> dict[str, Any] | None:
    """Arguments of the sampler that takes the place of a test sampler when only the past counts.

    A window that ends at the key frame, for models that keep one. It holds as many references as
    the config uses. Its stride is that of the config's own window; references that the config
    spreads over the whole video come every PAST_STRIDE frames. None, no references, for the others.

    Args:
        config: arguments of the test sampler; None where there is none.
        keeps_window: see `BaseVideoDetector`.
    """
    if not keeps_window:
        return None
    offline = RefSampler(**config) if config else None
    refs = offline.num_ref_imgs if offline else PAST_FRAMES
    return dict(
        method='test_with_fix_stride',
        frame_range=[-refs, 0],
        num_ref_imgs=refs,
        stride=offline.stride if offline and offline.window else PAST_STRIDE,
    )


METHODS = {
    method.__name__: method
    for method in (uniform, bilateral_uniform, test_with_adaptive_stride, test_with_fix_stride)
}


def _draw(
    left: int, right: int, number: int, sampler: RefSampler, key: int, rng: np.random.Generator
) -> list[int]:
    """Up to `number` different frames of left..right, in random order."""
    skip_key = sampler.filter_key_img and left <= key <= right
    size = right - left + 1 - skip_key
    picks = left + rng.permutation(size)[:number] if size > 0 else np.empty(0, int)
    if skip_key:
        picks = picks + (picks >= key)
    return picks.tolist()


def _frame_range(given: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(given, int):
        low, high = -given, given
    elif isinstance(given, Sequence) and len(given) == 2 and all(type(g) is int for g in given):
        low, high = given
    else:
        low, high = 1, -1
    if low > 0 or high < 0:
        raise ConfigError(
            f'frame_range must be an integer >= 0 or [low, high] with low <= 0 <= high, '
            f'not {given!r}'
        )
    return low, high


def _at_least(name: str, value: int, least: int) -> int:
    if not isinstance(value, int) or value < least:
        raise ConfigError(f'{name} must be an integer of at least {least}, not {value!r}')
    return value
