"""Which frames of its video a key frame sees, and as what: the plans of training and testing.

A plan maps (frame id of the key, length of the video, rng) to pairs of a role and a frame id, in
0..length-1. Every frame of the video is a candidate, labelled or not. A method owns three plans:
for training, for testing offline, and for testing where only the past counts (`VideoModel.plan`).
The dataset and the video API make clips from them, both with `make_clip`.

The `ref_img_sampler` of 1.x configs becomes a plan in `sampler_plan`. Training: `uniform`,
`bilateral_uniform`. Testing: `test_with_adaptive_stride` (at the first frame, frames spread over
the whole video), `test_with_fix_stride` (a sliding window, frame by frame).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from mmengine.logging import print_log

from mmdet.core.errors import ConfigError
from mmdet.registry import check_arguments, closest
from mmdet.stage_plans import STAGE_METHODS, StagePlan
from mmdet.structures import Clip, Frame

PAST_FRAMES = 14  # references of a causal window when the config does not say how many
PAST_STRIDE = 10  # frames between them: 14 references reach back 140 frames

DEFAULT_METHOD = 'uniform'  # of a `ref_img_sampler` that names none

Refs = list[tuple[str, int]]  # roles and frame ids


class Plan(Protocol):
    """The references of a key frame.

    Attributes:
        in_order: frames must be taken in their order in the video, because each clip brings only
            what is new in a window.
        lookahead: the furthest frame after the key that clips other than the first ask for.
    """

    in_order: bool
    lookahead: int

    def __call__(self, frame_id: int, length: int, rng: np.random.Generator) -> Refs: ...


class SamplerPlan:
    """References by one of `METHODS`.

    Args:
        num_ref_imgs: how many references; even for `bilateral_uniform`, at least 2 for
            `test_with_adaptive_stride`. The `test_with_*` methods use `hi - lo` references in any
            case (1.x did so from its second call on), with a warning where the two differ.
        frame_range: an int r for [-r, r], or [lo, hi] with lo <= 0 <= hi, in frames around the key.
        filter_key_img: the key frame is no candidate (training methods).
        method: a name in `METHODS`.
        stride: frames between two window positions of `test_with_fix_stride`.

    Attributes:
        roles: gives each of the chosen frame ids a role; None: all are 'window' in a sliding window
            and 'ref' elsewhere.

    Raises:
        ConfigError: an argument out of its range.
    """

    def __init__(
        self,
        frame_range: int | Sequence[int],
        num_ref_imgs: int = 1,
        filter_key_img: bool = True,
        method: str = DEFAULT_METHOD,
        stride: int = 1,
    ):
        if method not in METHODS:
            known = (*METHODS, *STAGE_METHODS, 'combined')
            raise ConfigError(f'Unknown reference sampler {method!r}. {closest(method, known)}')
        self.low, self.high = _frame_range(frame_range)
        self.num_ref_imgs = _at_least('num_ref_imgs', num_ref_imgs, 1)
        self.stride = _at_least('stride', stride, 1)
        self.filter_key_img = filter_key_img
        self.method = method
        self.roles: Callable[[list[int]], Refs] | None = None
        if method == 'bilateral_uniform' and num_ref_imgs % 2:
            raise ConfigError(
                f'bilateral_uniform takes as many references before the key as after it: '
                f'num_ref_imgs must be even, not {num_ref_imgs}'
            )
        if not self.for_training and self.low < self.high:
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
    def for_training(self) -> bool:
        """The method draws at random, for training."""
        return not self.method.startswith('test')

    @property
    def in_order(self) -> bool:
        """A window slides over the video."""
        return self.method == 'test_with_fix_stride' and self.low < self.high

    @property
    def lookahead(self) -> int:
        return self.high * self.stride if self.in_order else 0

    def __call__(self, frame_id: int, length: int, rng: np.random.Generator) -> Refs:
        ids = self.frame_ids(frame_id, length, rng)
        if not self.in_order:
            return self.roles(ids) if self.roles else [('ref', i) for i in ids]
        refs = [('window', i) for i in ids]
        if self.roles and frame_id == 0:  # the window serves as 'ref'; the method starts with more
            refs += [(role, i) for role, i in self.roles(ids) if role != 'ref']
        return refs

    def frame_ids(self, frame_id: int, length: int, rng: np.random.Generator) -> list[int]:
        """Frame ids of the references, ascending.

        In training they are filled up to `num_ref_imgs`: with the first selected reference, or with
        the key if none was selected. In testing, frames may have no reference.

        Args:
            frame_id: of the key. Negative, or with an empty `frame_range`: the key is repeated.
            length: frames of the video.
            rng: draws of the training methods.
        """
        if frame_id < 0 or self.low == self.high == 0:
            return [frame_id] * self.num_ref_imgs
        ids = METHODS[self.method](self, frame_id, length, rng)
        if self.for_training:
            ids = ids + [ids[0] if ids else frame_id] * (self.num_ref_imgs - len(ids))
        return sorted(ids)


class Combined:
    """What several plans give, one after the other."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.plans = plans
        self.in_order = any(plan.in_order for plan in plans)
        self.lookahead = max(plan.lookahead for plan in plans)

    def __call__(self, frame_id: int, length: int, rng: np.random.Generator) -> Refs:
        return [ref for plan in self.plans for ref in plan(frame_id, length, rng)]


class InOrder:
    """A plan (None: no references) of a method that follows a video frame by frame."""

    in_order = True

    def __init__(self, plan: Plan | None) -> None:
        self.plan = plan
        self.lookahead = plan.lookahead if plan is not None else 0

    def __call__(self, frame_id: int, length: int, rng: np.random.Generator) -> Refs:
        return self.plan(frame_id, length, rng) if self.plan is not None else []


def sampler_plan(
    config: Mapping[str, Any] | None, roles: Callable[[list[int]], Refs] | None = None
) -> Plan | None:
    """The plan of a `ref_img_sampler`; None for None, a key frame alone.

    Raises:
        ConfigError, TypeError: an unknown argument, or one out of its range.
    """
    if config is None:
        return None
    method = config.get('method')
    if method == 'combined':
        return _combined(config, roles)
    if method in STAGE_METHODS:
        check_arguments(StagePlan, config, 'ref_img_sampler')
        return StagePlan(**config)
    check_arguments(SamplerPlan, config, 'ref_img_sampler')
    plan = SamplerPlan(**config)
    plan.roles = roles
    return plan


def _combined(config: Mapping[str, Any], roles: Callable[[list[int]], Refs] | None) -> Combined:
    samplers = config.get('samplers')
    if set(config) != {'method', 'samplers'} or not isinstance(samplers, Sequence) or not samplers:
        raise ConfigError(
            f"A ref_img_sampler with method='combined' has a list of `samplers`, each with a "
            f'method of its own, and nothing else, not {dict(config)!r}.'
        )
    return Combined([sampler_plan(sampler, roles) for sampler in samplers])


def past_window(
    config: Mapping[str, Any] | None, roles: Callable[[list[int]], Refs] | None = None
) -> SamplerPlan:
    """A window that ends at the key frame, in place of what a test config takes offline.

    It holds as many references as the config uses. Its stride is that of the config's own window;
    references that the config spreads over the whole video come every PAST_STRIDE frames.
    """
    offline = SamplerPlan(**config) if config else None
    refs = offline.num_ref_imgs if offline else PAST_FRAMES
    stride = offline.stride if offline and offline.in_order else PAST_STRIDE
    plan = SamplerPlan([-refs, 0], refs, method='test_with_fix_stride', stride=stride)
    plan.roles = roles
    return plan


def make_clip(
    plan: Plan | None,
    frame_id: int,
    length: int,
    rng: np.random.Generator,
    frame_of: Callable[[int], Frame],
) -> Clip:
    """The key frame and what the plan gives it, before any transform.

    Args:
        frame_of: makes the frame of an id.
    """
    refs = plan(frame_id, length, rng) if plan is not None else []
    return Clip([frame_of(frame_id), *(replace(frame_of(i), role=role) for role, i in refs)])


def uniform(plan: SamplerPlan, frame_id: int, length: int, rng: np.random.Generator) -> list[int]:
    """Without replacement from the range around the key, clipped to the video."""
    left, right = max(0, frame_id + plan.low), min(frame_id + plan.high, length - 1)
    return _draw(left, right, plan.num_ref_imgs, plan, frame_id, rng)


def bilateral_uniform(
    plan: SamplerPlan, frame_id: int, length: int, rng: np.random.Generator
) -> list[int]:
    """Half of the references before the key, half after it; a short side gives what it has."""
    left, right = max(0, frame_id + plan.low), min(frame_id + plan.high, length - 1)
    half = plan.num_ref_imgs // 2
    before = _draw(left, frame_id, half, plan, frame_id, rng)
    return before + _draw(frame_id, right, half, plan, frame_id, rng)


def test_with_adaptive_stride(
    plan: SamplerPlan, frame_id: int, length: int, rng: np.random.Generator
) -> list[int]:
    """At frame 0: frames evenly spread over the video, first and last included; then none."""
    if frame_id > 0:
        return []
    step = (length - 1) / (plan.num_ref_imgs - 1)
    return [round(i * step) for i in range(plan.num_ref_imgs)]


def test_with_fix_stride(
    plan: SamplerPlan, frame_id: int, length: int, rng: np.random.Generator
) -> list[int]:
    """At frame 0 the whole window (frame 0 stands for what lies before it); then the newest frame.

    Frames come in their order in the video: the model slides its window by one at every `stride`.
    """
    last, stride = length - 1, plan.stride
    if frame_id == 0:
        ahead = [min(i * stride, last) for i in range(1, plan.high + 1)]
        return [0] * (1 - plan.low) + ahead
    if frame_id % stride == 0:
        return [min(frame_id + plan.high * stride, last)]
    return []


METHODS = {
    method.__name__: method
    for method in (uniform, bilateral_uniform, test_with_adaptive_stride, test_with_fix_stride)
}


def _draw(
    left: int, right: int, number: int, plan: SamplerPlan, key: int, rng: np.random.Generator
) -> list[int]:
    """Up to `number` different frames of left..right, in random order."""
    skip_key = plan.filter_key_img and left <= key <= right
    size = right - left + 1 - skip_key
    picks = left + rng.permutation(size)[:number] if size > 0 else np.empty(0, int)
    if skip_key:
        picks = picks + (picks >= key)
    return picks.tolist()


def _frame_range(given: int | Sequence[int]) -> tuple[int, int]:
    pair = (-given, given) if isinstance(given, int) else given
    known = isinstance(pair, Sequence) and len(pair) == 2 and all(type(g) is int for g in pair)
    if not known or pair[0] > 0 or pair[1] < 0:
        raise ConfigError(
            f'frame_range must be an integer >= 0 or [low, high] with low <= 0 <= high, '
            f'not {given!r}'
        )
    return tuple(pair)


def _at_least(name: str, value: int, least: int) -> int:
    if not isinstance(value, int) or value < least:
        raise ConfigError(f'{name} must be an integer of at least {least}, not {value!r}')
    return value
