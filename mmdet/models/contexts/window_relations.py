"""MEGA's and RDN's context: a window of frames around the key frame, frames from the whole video,
and what earlier windows left (arXiv 2003.12063, section 3; 1908.09511).

Shapes: B frames, P regions of a frame of which the best R are seen by others, W frames of the
window, G global frames, M frames of the memory, F width of the region head's layers.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet.models.aggregators.regions import Regions
from mmdet.models.contexts.base import FrameRegions, RegionContext
from mmdet.models.contexts.frame_ring import FrameRing
from mmdet.models.roi_heads.relation_head import RelationBBoxHead, RelationKeys
from mmdet.structures import Clip

LOCAL, GLOBAL = 'local', 'global'  # roles


@dataclass
class WindowState:
    """What is known of a video, in tensors that never grow.

    `ahead`: all regions of the frames from the key frame on. `window`, `globals`: the best ones.
    `memory`: for every local stage, what it computed of the window's oldest frame. `before`,
    `after`: frames of the window beside the key frame `key`; `newest`: the last one that entered.
    `past_only`: clips bring nothing but the key frame.
    """

    generator: torch.Generator = field(repr=False)
    window: FrameRing = field(repr=False)
    globals: FrameRing = field(repr=False)
    memory: list[FrameRing] = field(repr=False)
    before: int
    after: int
    ahead: dict[int, FrameRegions] = field(default_factory=dict, repr=False)
    past_only: bool = False
    key: int | None = None
    newest: int = -1
    global_frames: int = 0


class WindowRelations(RegionContext):
    """Slides a window over a video; each frame is computed once, when it enters.

    Where the first clip brings frames after the key frame, or global ones, the window looks ahead.
    Otherwise it ends at the key frame, as long as before, and the global frames are a uniform
    sample of the frames so far.

    Args:
        head: the region head.
        before, after: frames of the window beside the key frame.
        num_global: G.
        memory_frames: M.
        legacy: what the original does at the ends of a video: frames outside are copies of the
            first or last one, which count several times, and the last global frame of the first
            clip stands for the first frame.
    """

    roles = (LOCAL, GLOBAL)
    sequential = True

    def __init__(
        self,
        head: RelationBBoxHead,
        before: int,
        after: int,
        num_global: int = 0,
        memory_frames: int = 0,
        legacy: bool = False,
    ) -> None:
        self.head = head
        self.before, self.after = before, after
        self.num_global = num_global
        self.memory_frames = memory_frames
        self.legacy = legacy

    def init_state(self, generator: torch.Generator) -> WindowState:
        best = self.head.topk
        kept = self.head.aggregator.kept_per_frame(best) if self.memory_frames else []
        return WindowState(
            generator,
            window=FrameRing(self.before + 1 + self.after, best),
            globals=FrameRing(self.num_global, best),
            memory=[FrameRing(self.memory_frames, regions) for regions in kept],
            before=self.before,
            after=self.after,
        )

    # ---- frames come in

    def slides(self, clip: Clip, state: WindowState) -> bool:
        return True

    def places(self, clip: Clip) -> list[int]:
        return clip.places(*self.roles)

    def slide(self, state: WindowState, clip: Clip, new: FrameRegions | None) -> FrameRegions:
        """Move the window to the key frame of a clip; the regions of that frame.

        Raises:
            ValueError: the key frame did not enter the window, because frames were left out.
        """
        self._check_order(state, clip)
        key, first = clip.key.frame_id, state.key is None
        if first:
            self._begin(state, clip)
        entering = {place: new[i : i + 1].copy() for i, place in enumerate(self.places(clip))}
        globals_ = [entering[place] for place in clip.places(GLOBAL)]
        for regions in globals_:
            state.globals.put(state.global_frames, _best(regions))
            state.global_frames += 1
        for place in clip.places(LOCAL):
            self._enter(state, clip.frames[place].frame_id, entering[place])
        if first and self.legacy and globals_:
            self._enter(state, key, globals_[-1])
        self._fill_up(state, key, first)
        state.key = key
        return state.ahead.pop(key)

    @staticmethod
    def _check_order(state: WindowState, clip: Clip) -> None:
        key = clip.key.frame_id
        entering = {clip.frames[place].frame_id for place in clip.places(LOCAL)}
        in_order = state.key is None or key == state.key + 1
        if not in_order or key not in entering | state.ahead.keys():
            raise ValueError(
                f'Frame {key} of video {clip.key.video_id} did not enter the window. Give its '
                f'frames one by one, from the first one on, each with the references of its plan.'
            )

    def _begin(self, state: WindowState, clip: Clip) -> None:
        key = clip.key.frame_id
        local = [clip.frames[place].frame_id for place in clip.places(LOCAL)]
        if max(local, default=key) == key and not clip.places(GLOBAL):
            state.past_only = True
            state.before, state.after = self.before + self.after, 0
        state.newest = key - state.before - 1

    def _enter(self, state: WindowState, number: int, frame: FrameRegions) -> None:
        regions = _best(frame)
        for ring in (state.window, *state.memory):
            ring.reserve(regions)
        state.window.put(number, regions)
        state.ahead[number] = frame
        state.newest = max(state.newest, number)
        if state.past_only and self.num_global:
            self._sample(state, regions)

    def _sample(self, state: WindowState, frame: Regions) -> None:
        """Reservoir sampling: every frame so far is a global one with the same probability."""
        slot = state.global_frames
        if slot >= self.num_global:
            slot = int(torch.randint(slot + 1, (), generator=state.generator))
        if slot < self.num_global:
            state.globals.put(slot, frame)
        state.global_frames += 1

    def _fill_up(self, state: WindowState, key: int, first: bool) -> None:
        """Places of the window before the first frame and after the last one."""
        if first and self.legacy:
            for number in range(key - state.before, key):
                state.window.put(number, state.window.get(key))
        while state.newest < key + state.after:
            state.newest += 1
            if self.legacy:
                state.window.put(state.newest, state.window.get(state.newest - 1))
            else:
                state.window.drop(state.newest)

    # ---- and are seen

    def read(self, state: WindowState) -> tuple[Tensor, ...]:
        """Features, boxes and which exist, of the window, the global frames and each memory."""
        rings = [state.window, *([state.globals] if self.num_global else []), *state.memory]
        return tuple(tensor for ring in rings for tensor in ring.tensors())

    def keys(self, key: FrameRegions, read: tuple[Tensor, ...]) -> RelationKeys:
        window, *others = (Regions(*read[i : i + 3]) for i in range(0, len(read), 3))
        others = [ring.flat() for ring in others]
        globals_ = others.pop(0) if self.num_global else None
        return RelationKeys(window, globals_, others or None)

    def written(self, key: FrameRegions, layers: list[Tensor]) -> tuple[Tensor, ...]:
        return tuple(layers)

    def write(self, states: list[WindowState], written: tuple[Tensor, ...]) -> None:
        """Remember what was computed of the frame that leaves the window next."""
        for i, state in enumerate(states):
            oldest = state.key - state.before
            frame, slot = state.window.get(oldest), state.window.slot(oldest)
            for ring, feats in zip(state.memory, written, strict=True):
                ring.put(oldest, Regions(feats[i, slot], frame.boxes, frame.valid))


def _best(frame: FrameRegions) -> Regions:
    """A frame [1, P, ...] as others see it; a ring takes the best of it."""
    p = frame.proposals
    return Regions(F.relu(frame.roi_feats[0]), p.boxes[0], p.valid[0])
