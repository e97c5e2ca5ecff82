"""Detecting on any video: `for frame in VideoDetector(config, checkpoint).stream(source)`."""

import logging
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
from mmdet.engine.optim import amp_dtype
from mmdet.structures import Detections
from mmdet.video.frame_source import FrameSource
from mmdet.video.prefetch import Prefetcher
from mmdet.video.sources import Source, open_source

if TYPE_CHECKING:  # torchvision's models take seconds to import
    from mmdet.models.base import PendingResults, VideoState


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
        amp: 'bf16' or 'fp16' casts the weights, but for the layers that decide boxes and scores.
        score_thr: detections below this score (0..1) are left out.
        trust_checkpoint: unpickle freely when loading; any code in the file then runs.
        graphs: replay CUDA graphs on a GPU.

    Attributes:
        model, classes (names by label), clip_maker (its plans choose the references).

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
        graphs: bool = True,
    ) -> None:
        if amp:
            check_amp(amp, device)
        self.model = init_detector(config, checkpoint, device, trust_checkpoint=trust_checkpoint)
        self.model.prepare(amp_dtype(amp), graphs=graphs)
        self.score_thr = score_thr
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
        _check_counts(stride=stride, prefetch=prefetch)
        frames = open_source(source, fps)
        causal = causal or not frames.offline
        drop_late = frames.live if drop_late is None else drop_late
        clips = self.clip_maker.clips(frames, stride, causal, drop_late, video_id)
        state = self.model.init_state(video_id=video_id)
        return VideoStream(self, frames, Prefetcher(clips, prefetch), state, causal, stride)

    def stream_many(
        self,
        sources: Iterable[Source],
        batch: int = 4,
        failed: Callable[[int, Exception], None] | None = None,
        **options,
    ) -> Iterator[tuple[int, FrameResult]]:
        """Up to `batch` videos at a time on one model, each with a state of its own.

        The results of each video are those of `stream`, in its order. A video that ends makes
        room for the next one. A source that cannot be read, or breaks off, ends alone: what it gave
        before is valid, and the others go on.

        Args:
            sources: see `stream`; opened when their turn comes.
            batch: videos at a time.
            failed: told at once of a source that failed: its position, and the error. None: when
                all others have ended, a VideoError names every such source.
            options: of `stream`, the same for all.

        Yields:
            (position of the source in `sources`, its next FrameResult).

        Raises:
            VideoError: an option is wrong; at the end, see `failed`.
        """
        counts = {'stride': 1, 'prefetch': 1, **options}
        _check_counts(batch=batch, stride=counts['stride'], prefetch=counts['prefetch'])
        kept: list[str] = []

        def fail(number: int, error: Exception) -> None:
            if failed is not None:
                failed(number, error)
            else:
                kept.append(f'source {number}: {error}')

        waiting = enumerate(sources)
        running: dict[int, VideoStream] = {}
        try:
            while True:
                while len(running) < batch and (new := next(waiting, None)) is not None:
                    number, source = new
                    try:
                        running[number] = self.stream(source, **options)
                    except (VideoError, OSError) as error:
                        fail(number, error)
                if not running:
                    break
                taken = {}
                for number, stream in running.items():
                    try:
                        prepared = next(stream.clips, None)
                    except (VideoError, OSError) as error:
                        fail(number, error)
                    else:
                        if prepared is not None:
                            taken[number] = prepared
                for number in running.keys() - taken.keys():
                    running.pop(number).end()
                clips = [prepared.clip for prepared in taken.values()]
                states = [running[number].state for number in taken]
                batched = self.model.step_batch(clips, states) if clips else []
                for (number, prepared), detections in zip(taken.items(), batched, strict=True):
                    yield number, self.result(prepared, detections)
        finally:
            for stream in running.values():
                stream.close()
        if kept:
            raise VideoError(f'{len(kept)} source(s) failed. {" ".join(kept)}')

    def result(self, prepared: PreparedClip, detections: Detections) -> FrameResult:
        """What is found on the key frame of a clip, from `score_thr` on."""
        frame, kept = prepared.frame, detections.scores >= self.score_thr
        above = Detections(
            detections.boxes[kept],
            detections.scores[kept],
            detections.labels[kept],
            detections.image_id,
        )
        image = cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB)
        return FrameResult(frame.index, frame.timestamp_s, image, above)


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
        # frames that the model begins with before the result of an earlier one is asked for; with a
        # live source that would be a delay
        self._ahead = 0 if source.live or not detector.clip_maker.on_gpu else 1
        self._started: deque[tuple[PreparedClip, PendingResults]] = deque()
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
        while len(self._started) <= self._ahead:
            prepared = next(self.clips, None)
            if prepared is None:
                break
            pending = self.detector.model.start([prepared.clip], [self.state])
            self._started.append((prepared, pending))
        if not self._started:
            self.end()
            raise StopIteration
        prepared, pending = self._started.popleft()
        (detections,) = pending.get()
        return self.detector.result(prepared, detections)

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


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise VideoError(f'{name} must be an integer of at least 1, not {value!r}.')


def _release(clips: Prefetcher, source: FrameSource) -> None:
    clips.close()
    if not clips.started:  # else the thread closes the source, when it no longer reads from it
        source.close()


def _numbered_classes(model: torch.nn.Module) -> tuple[str, ...]:
    """Names for the labels of a model whose config and checkpoint name none."""
    counts = (getattr(module, 'num_classes', None) for module in model.modules())
    count = next((c for c in counts if isinstance(c, int)), 0)
    return tuple(f'class {label}' for label in range(count))
