"""Detecting on any video: `for frame in VideoDetector(config, checkpoint).stream(source)`."""

import logging
import os
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
from mmengine import Config
from mmengine.logging import print_log

from mmdet.apis.common import check_amp
from mmdet.apis.inference import init_detector
from mmdet.apis.video_clips import ClipMaker, PreparedClip
from mmdet.core.errors import VideoError
from mmdet.engine.amp import autocast
from mmdet.structures import Clip, Detections
from mmdet.video.frame_source import FrameSource
from mmdet.video.prefetch import Prefetcher
from mmdet.video.sources import Source, open_source

if TYPE_CHECKING:  # torchvision's models take seconds to import
    from mmdet.models.base import VideoState


class FrameResult(NamedTuple):
    """What was found on one frame.

    Attributes:
        frame_index: number of the frame in its source, from 0.
        timestamp_s: seconds since the first frame.
        image: the frame, [H, W, 3] uint8 in **RGB** order.
        detections: on the CPU, in pixels of `image`; `image_id` is `frame_index + 1`.
    """

    frame_index: int
    timestamp_s: float
    image: np.ndarray
    detections: Detections


class VideoDetector:
    """A model that detects on videos of any kind and length, in bounded memory.

    Args:
        config: path of a config file, or a config.
        checkpoint: a file or an http(s) address; None leaves the weights random.
        device: 'cpu', 'cuda', 'cuda:1'; the GPU where there is one when None.
        amp: 'bf16' or 'fp16' runs the model in mixed precision.
        score_thr: detections below this score (0..1) are left out.
        trust_checkpoint: unpickle freely when loading; any code in the file then runs.

    Attributes:
        model, classes (names by label), clip_maker (its samplers choose the references).

    Raises:
        ConfigError, CheckpointError: say what to do.
    """

    def __init__(
        self,
        config: str | os.PathLike | Config,
        checkpoint: str | os.PathLike | None = None,
        device: str | None = None,
        amp: str | None = None,
        score_thr: float = 0.3,
        trust_checkpoint: bool = False,
    ) -> None:
        if amp:
            check_amp(amp, device)
        self.model = init_detector(config, checkpoint, device, trust_checkpoint=trust_checkpoint)
        self.amp, self.score_thr = amp, score_thr
        self.classes: tuple[str, ...] = self.model.classes or _numbered_classes(self.model)
        self.clip_maker = ClipMaker(self.model.cfg, self.model)

    def stream(
        self,
        source: Source,
        causal: bool = False,
        stride: int = 1,
        prefetch: int = 4,
        fps: float | None = None,
        drop_late: bool | None = None,
        video_id: int = 1,
    ) -> 'VideoStream':
        """An iterator of `FrameResult`; frames are decoded while it is read, never all at once.

        Args:
            source: video file, folder or glob pattern of images (natural order), number of a
                camera, address (rtsp://, http://, ...), or iterable of uint8 arrays [H, W, 3] in
                **RGB** order.
            causal: take references from past frames only: what is found on a frame never depends
                on later ones. Always so for cameras, addresses and arrays. Otherwise references
                are spread over the whole video, as in testing.
            stride: look at every `stride`-th frame, as if there were no others.
            prefetch: frames that are decoded and resized ahead of the model.
            fps: frame rate of images and arrays, which have none of their own; 25 when None.
            drop_late: skip frames that come faster than the model is, so that results stay
                current; when None, for cameras and addresses other than http.
            video_id: seeds the random draws of memories, as the id of a video does in testing.

        Raises:
            VideoError: the source cannot be read (later: it gives no frame, or its size changes).
        """
        for name, value in (('stride', stride), ('prefetch', prefetch)):
            if not isinstance(value, int) or value < 1:
                raise VideoError(f'{name} must be an integer of at least 1, not {value!r}.')
        frames = open_source(source, fps)
        causal = causal or not frames.offline
        drop_late = frames.live if drop_late is None else drop_late
        clips = self.clip_maker.clips(frames, stride, causal, drop_late, video_id)
        state = self.model.init_state(video_id=video_id)
        return VideoStream(self, frames, Prefetcher(clips, prefetch), state, causal, stride)

    def stream_many(
        self, sources: Iterable[Source], batch: int = 4, **options
    ) -> Iterator[tuple[int, FrameResult]]:
        """Up to `batch` videos at a time on one model, each with a state of its own.

        The results of each video are those of `stream`, in its order. A video that ends makes
        room for the next one.

        Args:
            sources: see `stream`; opened when their turn comes.
            batch: videos at a time.
            options: of `stream`, the same for all.

        Yields:
            (position of the source in `sources`, its next FrameResult).
        """
        waiting = enumerate(sources)
        running: dict[int, VideoStream] = {}
        try:
            while True:
                while len(running) < batch and (new := next(waiting, None)) is not None:
                    running[new[0]] = self.stream(new[1], **options)
                if not running:
                    return
                taken = {number: next(s.clips, None) for number, s in running.items()}
                for number in [n for n, prepared in taken.items() if prepared is None]:
                    del taken[number]
                    running.pop(number).end()
                found = self.detect(
                    [prepared.clip for prepared in taken.values()],
                    [running[number].state for number in taken],
                )
                for (number, prepared), detections in zip(taken.items(), found, strict=True):
                    yield number, _result(prepared, detections)
        finally:
            for stream in running.values():
                stream.close()

    def detect(self, clips: list[Clip], states: 'list[VideoState]') -> list[Detections]:
        """Detections at or above `score_thr` on the key frame of each clip; see `step_batch`."""
        if not clips:
            return []
        device = next(self.model.parameters()).device
        with autocast(self.amp, device):
            found = self.model.step_batch(clips, states)
        return [_above(detections, self.score_thr) for detections in found]


class VideoStream:
    """The results of one video, frame by frame; made by `VideoDetector.stream`.

    Reading ahead stops and files are closed when the video ends, `close` is called, a `with` block
    ends, or the stream is not referenced any more.

    Attributes:
        source: name, `frame_name(index)` and `broken` of what is read.
        causal: references come from past frames only.
    """

    def __init__(
        self,
        detector: VideoDetector,
        source: FrameSource,
        clips: Prefetcher[PreparedClip],
        state: 'VideoState',
        causal: bool,
        stride: int,
    ) -> None:
        self.detector, self.source, self.clips, self.state = detector, source, clips, state
        self.causal, self.stride = causal, stride
        self._finalizer = weakref.finalize(self, _release, clips, source)

    @property
    def fps(self) -> float | None:
        """Results per second of the video; None where the source does not tell."""
        return self.source.fps / self.stride if self.source.fps else None

    @property
    def num_frames(self) -> int | None:
        """Results to come in all, as the source announces; None where nobody knows."""
        frames = self.source.num_frames
        return None if frames is None else -(-frames // self.stride)

    @property
    def broken(self) -> str | None:
        """Where and how the source is damaged, as far as it was read; None if it is not."""
        return self.source.broken

    def __iter__(self) -> 'VideoStream':
        return self

    def __next__(self) -> FrameResult:
        prepared = next(self.clips, None)
        if prepared is None:
            self.end()
            raise StopIteration
        return _result(prepared, self.detector.detect([prepared.clip], [self.state])[0])

    def end(self) -> None:
        """Close, and say what was damaged."""
        if self._finalizer.alive and self.broken:
            print_log(f'{self.broken}. What decodes was used.', 'current', logging.WARNING)
        self.close()

    def close(self) -> None:
        self._finalizer()

    def __enter__(self) -> 'VideoStream':
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def _release(clips: Prefetcher, source: FrameSource) -> None:
    clips.close()
    if not clips.started:  # else the thread closes the source, when it no longer reads from it
        source.close()


def _result(prepared: PreparedClip, detections: Detections) -> FrameResult:
    frame = prepared.frame
    image = cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB)
    return FrameResult(frame.index, frame.timestamp_s, image, detections)


def _above(detections: Detections, score_thr: float) -> Detections:
    kept = detections.scores >= score_thr
    return Detections(
        detections.boxes[kept],
        detections.scores[kept],
        detections.labels[kept],
        detections.image_id,
    )


def _numbered_classes(model: torch.nn.Module) -> tuple[str, ...]:
    """Names for the labels of a model whose config and checkpoint name none."""
    counts = (getattr(module, 'num_classes', None) for module in model.modules())
    count = next((c for c in counts if isinstance(c, int)), 0)
    return tuple(f'class {label}' for label in range(count))
