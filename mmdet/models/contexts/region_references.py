"""SELSA (arXiv 1907.06390): regions of a frame attend to regions of the whole video.

Shapes: B frames, R references, P proposals of a frame, M keys, K channels of a key.
"""

from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.contexts.base import FrameRegions, RegionContext
from mmdet.models.roi_heads.bbox_head import Keys
from mmdet.models.roi_heads.selsa_roi_head import SelsaBBoxHead
from mmdet.structures import Clip


@dataclass
class WindowFrame:
    """A frame of a sliding window: its regions (one frame), its keys [P, K] per layer and which of
    them exist [P]."""

    regions: FrameRegions
    keys: tuple[Tensor, ...]


@dataclass
class RegionReferencesState:
    """`refs`: the keys [M, K] per layer of the references that a video began with and which of them
    exist [M]; None where there are none. `window`: its frames, where one slides, of which number
    `slot` is the key frame."""

    refs: tuple[Tensor, ...] | None = field(default=None, repr=False)
    window: deque[WindowFrame] | None = field(default=None, repr=False)
    slot: int = 0


class RegionReferences(RegionContext):
    """References that come with the first frame of a video, or a window that slides along.

    The keys of a frame do not depend on the one that sees them: they are computed once, the key
    frame's own added.
    """

    def __init__(self, head: SelsaBBoxHead) -> None:
        self.head = head

    def init_state(self, generator: torch.Generator) -> RegionReferencesState:
        return RegionReferencesState()

    def keys_of_refs(self, refs: FrameRegions, refs_per_clip: int) -> Keys:
        return keys_of(self.head, refs, refs_per_clip)

    def begin(
        self, state: RegionReferencesState, refs: FrameRegions | None, key: FrameRegions
    ) -> None:
        if refs is not None:
            keys = keys_of(self.head, refs, len(refs))
            state.refs = (*(layer[0] for layer in keys.layers), keys.valid[0])

    def slides(self, clip: Clip, state: RegionReferencesState) -> bool:
        return 'window' in self.roles and (bool(clip.places('window')) or state.window is not None)

    def places(self, clip: Clip) -> list[int]:
        return clip.places('window') or [0]

    def slide(self, state: RegionReferencesState, clip: Clip, new: FrameRegions) -> FrameRegions:
        """Move the window to the key frame of a clip; the regions of that frame.

        The window is filled at the first frame and takes one frame per stride later; the key frame
        is then in it and was not computed again. Between, it was computed and takes its slot.

        Args:
            new: the clip's frames of role 'window', or the key frame where it has none.
        """
        places = clip.places('window')
        keys = keys_of(self.head, new, 1)
        frames = [
            WindowFrame(new[i : i + 1], (*(layer[i] for layer in keys.layers), keys.valid[i]))
            for i in range(len(new))
        ]
        if state.window is None:
            self._begin_window(state, clip, frames)
        elif places:
            state.window.extend(frames)
        else:
            state.window[state.slot] = frames[0]
        return state.window[state.slot].regions

    def _begin_window(
        self, state: RegionReferencesState, clip: Clip, frames: list[WindowFrame]
    ) -> None:
        ids = [clip.frames[i].frame_id for i in clip.places('window')]
        if clip.key.frame_id not in ids:
            raise ConfigError(
                f'Video {clip.key.video_id} starts at frame {clip.key.frame_id} without the frames '
                f"of its window ('test_with_fix_stride'). Start at frame 0 with them, or use "
                f"'test_with_adaptive_stride'."
            )
        state.window = deque(frames, maxlen=len(frames))
        # the frames before the first one are that one again: it is the last of them
        state.slot = len(ids) - 1 - ids[::-1].index(clip.key.frame_id)

    def read(self, state: RegionReferencesState) -> tuple[Tensor, ...] | None:
        if state.window is None:
            return state.refs
        others = [frame.keys for i, frame in enumerate(state.window) if i != state.slot]
        return tuple(torch.cat(tensors) for tensors in zip(*others, strict=True)) or None

    def keys(self, key: FrameRegions, read: tuple[Tensor, ...]) -> Keys:
        itself = keys_of(self.head, key, 1)
        if not read:
            return itself
        layers = [torch.cat(pair, dim=1) for pair in zip(read[:-1], itself.layers, strict=True)]
        return Keys(layers, torch.cat([read[-1], itself.valid], dim=1))


def keys_of(head: SelsaBBoxHead, frames: FrameRegions, frames_per_group: int) -> Keys:
    """The best regions of frames as keys, those of neighbouring frames together.

    Args:
        frames_per_group: as many frames make the references of one.
    """
    roi_feats = frames.roi_feats[:, : head.topk]
    valid = frames.proposals.valid[:, : head.topk]
    layers = head.project_refs(roi_feats)
    group = (-1, frames_per_group * valid.shape[1])
    return Keys([layer.reshape(*group, layer.shape[2]) for layer in layers], valid.reshape(group))
