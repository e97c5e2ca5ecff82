"""Which frames MEGA and RDN take with a key frame (arXiv 2003.12063, section 4; 1908.09511).

Roles: 'local' frames lie around the key frame, 'global' ones anywhere in the video, 'memory' ones
(training only) around a frame that left the window some time ago.
"""

import numpy as np

from mmdet.plans import Refs


class WindowPlan:
    """Testing: a window slides along; every clip brings the frame that enters it.

    The first clip brings the window and different random global frames, which stay for the whole
    video: each later frame costs one pass of the detector.

    Args:
        after: frames of the window after the key.
        num_global: global frames; fewer in shorter videos.
        seed: of the global frames, with the length of the video: they are the same whether it is
            read from a data set or a file, and whatever was tested before it.
    """

    in_order = True

    def __init__(self, after: int, num_global: int, seed: int = 0) -> None:
        self.after, self.num_global, self.seed = after, num_global, seed
        self.lookahead = after

    def __call__(self, frame_id: int, length: int, rng: np.random.Generator) -> Refs:
        if frame_id > 0:
            return _entering(frame_id + self.after, length)
        number = min(self.num_global, length)
        chosen = np.random.default_rng((self.seed, length)).choice(length, number, replace=False)
        return _beginning(self.after, length) + [('global', int(i)) for i in chosen]


class PastWindowPlan:
    """Testing where only the past counts: every frame enters the window when it is the key."""

    in_order = True
    lookahead = 0

    def __call__(self, frame_id: int, length: int, rng: np.random.Generator) -> Refs:
        return [('local', frame_id)]


class LegacyWindowPlan:
    """Testing as the original does it: a new global frame at every step, from one shuffled order.

    The first clip brings the numbers n - 1, ..., 0 of the order, that of frame t number t + n - 1;
    short videos start over. Each frame costs two passes of the detector.

    Args:
        after, num_global: as in `WindowPlan`.
        seed: of the order, drawn by numpy's legacy generator as the original does.
    """

    in_order = True

    def __init__(self, after: int, num_global: int, seed: int = 0) -> None:
        self.after, self.num_global, self.seed = after, num_global, seed
        self.lookahead = after

    def __call__(self, frame_id: int, length: int, rng: np.random.Generator) -> Refs:
        order = np.arange(length)
        np.random.RandomState(self.seed).shuffle(order)

        def globals_(numbers: list[int]) -> Refs:
            return [('global', int(order[i % length])) for i in numbers]

        if frame_id > 0:
            newest = globals_([frame_id + self.num_global - 1]) if self.num_global else []
            return _entering(frame_id + self.after, length) + newest
        return _beginning(self.after, length) + globals_(list(reversed(range(self.num_global))))


def _beginning(after: int, length: int) -> Refs:
    return [('local', i) for i in range(min(after + 1, length))]


def _entering(frame_id: int, length: int) -> Refs:
    return [('local', frame_id)] if frame_id < length else []


class WindowTrainingPlan:
    """Training: frames around the key, around a frame of its past, and from anywhere.

    Local offsets are different, may be 0, and are cut off at the ends of the video. The frame of
    the past lies a window before the key, but not before the first one.

    Args:
        reach: a local or memory frame is at most so far from its centre.
        num_local, num_memory, num_global: frames of each role.
    """

    in_order = False
    lookahead = 0

    def __init__(
        self, reach: int, num_local: int = 2, num_memory: int = 0, num_global: int = 0
    ) -> None:
        self.reach = reach
        self.num_local, self.num_memory, self.num_global = num_local, num_memory, num_global

    def __call__(self, frame_id: int, length: int, rng: np.random.Generator) -> Refs:
        numbers = {'local': self.num_local, 'memory': self.num_memory, 'global': self.num_global}
        if frame_id < 0 or length == 1:  # an image: it stands for all frames
            return [(role, frame_id) for role, number in numbers.items() for _ in range(number)]
        past = max(frame_id - (2 * self.reach + 1), 0)
        chosen = {}
        for role, centre in (('local', frame_id), ('memory', past)):
            offsets = rng.choice(2 * self.reach + 1, numbers[role], replace=False) - self.reach
            chosen[role] = np.clip(centre + offsets, 0, length - 1)
        chosen['global'] = rng.choice(length, self.num_global, replace=self.num_global > length)
        return [(role, int(i)) for role, frames in chosen.items() for i in frames]
