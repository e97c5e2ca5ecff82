"""Clips of a CocoVID (or plain COCO) file.

A sample is a key frame with its references. The dataset holds index arrays only: one position per
sample, and the annotation file as memory-mapped arrays shared by all workers.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmengine.registry import FUNCTIONS

from mmdet.core.errors import ConfigError, UndecodableFrameError
from mmdet.datasets.frame_faults import FrameFaults
from mmdet.datasets.imagenet_classes import IMAGENET_VID_CLASSES
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.datasets.selection import (
    annotate,
    aspect_flags,
    frames_in_video_order,
    has_object_of,
    is_large_enough,
    label_of_category,
)
from mmdet.datasets.transforms import LoadAnnotations, LoadFrames, Pipeline
from mmdet.plans import Plan, make_clip, sampler_plan
from mmdet.registry import DATASETS
from mmdet.structures import Clip, Frame

MAX_REPLACEMENTS = 20


@DATASETS.register_module()
class CocoVideoDataset:
    """Training: frames flagged `is_vid_train_frame` that pass the filters. Testing: every frame.

    `dataset[key]` gives a Clip; a key is an index, or (index, draw_seed), where all random draws of
    the sample come from a generator with that seed. With an index alone the seed is the index.

    A frame that cannot be decoded is fatal in testing; in training another sample of the same
    orientation takes its place (see `FrameFaults`). A missing file is fatal. A frame whose size is
    not that of the annotation file is fatal in testing, since its boxes cannot be compared; in
    training it is reported once per file (some DET photos are turned by their EXIF orientation).

    Args:
        ann_file: CocoVID JSON.
        img_prefix: folder that the file names start from.
        pipeline: clip transforms, see `Pipeline`.
        ref_img_sampler: arguments of `sampler_plan`; None: the key frame alone. A method may have a
            plan of its own (`use_plan`).
        test_mode: see above.
        load_as_video: False: images on their own, whose references are copies of them, and whose
            objects are numbered within the image.
        load_img_as_vid: a file without videos becomes videos of one frame.
        classes: names to detect, in the order of the labels; None: all of the file in its order.
        filter_empty: training only: leave out frames without an annotation of the classes.
        min_size: training only: leave out frames with a side of fewer pixels.
        shuffle_video_frames: shuffle the frames of each video but the first one.
        shuffle_seed: of that shuffling.
        cache_dir: of the index, see `CocoVideoIndex.open`.

    Attributes:
        classes, ann_file, index.
        positions: [samples] position of each key frame in the index.
        aspect_flags: [samples] uint8, 1 for frames wider than high.
        video_lengths: samples of each video in order; None where samples are no whole videos.
    """

    CLASSES: tuple[str, ...] | None = None

    def __init__(
        self,
        ann_file: str | os.PathLike,
        img_prefix: str | os.PathLike,
        pipeline: Sequence[Mapping | Callable],
        ref_img_sampler: Mapping[str, Any] | None = None,
        test_mode: bool = False,
        load_as_video: bool = True,
        load_img_as_vid: bool = False,
        classes: Sequence[str] | None = None,
        filter_empty: bool = True,
        min_size: int = 32,
        shuffle_video_frames: bool = False,
        shuffle_seed: int = 10,
        cache_dir: str | os.PathLike | None = None,
    ):
        self.ann_file, self.img_prefix = str(ann_file), str(img_prefix)
        self.test_mode, self.load_as_video = test_mode, load_as_video
        self._open_index = (self.ann_file, cache_dir, load_img_as_vid)
        self.index = CocoVideoIndex.open(*self._open_index)
        names = classes or self.CLASSES or [c['name'] for c in self.index.categories]
        self.classes = tuple(names)
        self._label_of = label_of_category(self.index, self.classes)
        self.ref_img_sampler, self.shuffled = ref_img_sampler, shuffle_video_frames
        self.use_plan(sampler_plan(ref_img_sampler))
        self.pipeline = Pipeline(pipeline)
        self.faults = FrameFaults()
        self._odd_sizes: set[str] = set()
        if load_as_video and not len(self.index.video_ids):
            raise ConfigError(
                f'{ann_file} has no videos. Set load_as_video=False for an image set, or '
                f'load_img_as_vid=True to see each image as a video of one frame.'
            )
        self.positions = self._samples(shuffle_seed if shuffle_video_frames else None)
        if not test_mode:
            self.positions = self._filtered(filter_empty, min_size)
        self.aspect_flags = aspect_flags(self.index, self.positions)
        whole = test_mode and load_as_video
        self.video_lengths = np.diff(self.index.video_offsets) if whole else None

    def _samples(self, shuffle_seed: int | None) -> np.ndarray:
        if self.load_as_video:
            frames = frames_in_video_order(self.index, shuffle_seed)
        else:
            frames = np.arange(len(self.index), dtype=np.int32)
        return frames if self.test_mode else frames[self.index.image_is_train_frame[frames]]

    def _filtered(self, filter_empty: bool, min_size: int) -> np.ndarray:
        flagged = self.positions
        keep = is_large_enough(self.index, min_size)
        if filter_empty:
            keep &= has_object_of(self.index, list(self._label_of))
        filtered = flagged[keep[flagged]]
        if not len(filtered):
            raise ConfigError(
                f'{self.ann_file} has no training frame left: of {len(self.index)} frames '
                f'{len(flagged)} have is_vid_train_frame, and none of these has sides of at least '
                f'{min_size} pixels' + ' and an annotation of the classes' * filter_empty
            )
        return filtered

    def annotate(self, frame: Frame) -> None:
        """Give a frame its ground truth, as `LoadAnnotations` asks for it."""
        annotate(frame, self.index, self._label_of, tracks=self.load_as_video)

    def other_clip(self, rng: np.random.Generator) -> Clip:
        """A random sample for a transform that mixes clips: read and annotated, nothing else."""
        clip = self.clip_of(int(rng.integers(len(self))), rng)
        clip.dataset = self
        loaders = (LoadFrames, LoadAnnotations)
        for transform in takewhile(lambda t: isinstance(t, loaders), self.pipeline):
            clip = transform(clip, rng)
        return clip

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def metainfo(self) -> dict[str, Any]:
        """What mmengine hands to evaluators and visualizers."""
        return {'classes': self.classes, 'ann_file': self.ann_file}

    def __getitem__(self, key: int | tuple[int, int]) -> Clip:
        index, draw_seed = key if isinstance(key, tuple) else (key, key)
        if not 0 <= index < len(self):
            raise IndexError(f'sample {index} of {len(self)}')
        rng = np.random.default_rng(draw_seed)
        self.faults.add_sample()
        for _ in range(MAX_REPLACEMENTS):
            try:
                clip = self._sample(index, rng)
                if clip is not None:
                    return clip
            except UndecodableFrameError as error:
                if self.test_mode:
                    raise
                self.faults.add_fault(error)
            if self.test_mode:
                raise ConfigError(f'The test pipeline of {self.ann_file} rejected sample {index}')
            index = rng.choice(np.flatnonzero(self.aspect_flags == self.aspect_flags[index]))
        raise UndecodableFrameError(
            f'{MAX_REPLACEMENTS} samples of {self.ann_file} in a row were rejected by the pipeline '
            f'or cannot be decoded (last one: {self.index.file_name(self.positions[index])})'
        )

    def _sample(self, index: int, rng: np.random.Generator) -> Clip | None:
        return self.transformed(self.clip_of(index, rng), rng)

    def transformed(self, clip: Clip, rng: np.random.Generator) -> Clip | None:
        """The clip after the pipeline; None when that rejects it.

        Raises:
            FileNotFoundError: says where the file was looked up.
            UndecodableFrameError: names the file.
            ValueError: in testing, a frame of another size than the annotation file says.
        """
        expected = [(frame, frame.ori_shape) for frame in clip.frames]
        clip.dataset = self
        try:
            result = self.pipeline(clip, rng)
        except FileNotFoundError as error:
            raise FileNotFoundError(self._missing(error.filename, clip)) from error
        for frame, size in expected:
            if frame.ori_shape != size:
                self._size_differs(frame, size)
        if result is not None:
            result.dataset = None
        return result

    def clip_of(self, index: int, rng: np.random.Generator) -> Clip:
        """The frames of a sample, before the pipeline."""
        position = int(self.positions[index])
        if not self.load_as_video:  # an image, whose references are copies of it
            return make_clip(self.plan, -1, 1, rng, lambda _: self._frame(position))
        frames = self.index.frames_of(self.index.image_video[position])
        frame_id = int(self.index.image_frame_ids[position])

        def frame_of(wanted: int) -> Frame:
            return self._frame(position if wanted == frame_id else int(frames[wanted]))

        return make_clip(self.plan, frame_id, len(frames), rng, frame_of)

    def use_plan(self, plan: Plan | None) -> None:
        """Take references by a plan of the method (`BaseVideoDetector.plan`).

        Raises:
            ConfigError: it needs frames in their order, and they are shuffled.
        """
        if plan is not None and plan.in_order and self.shuffled:
            raise ConfigError(
                'The method follows a video frame by frame (a window of test_with_fix_stride, or a '
                'backbone with a memory): it needs shuffle_video_frames=False.'
            )
        self.plan = plan

    def frames_of_video(self, video: int) -> list[Frame]:
        """Every frame of the video at this position of the index, before the pipeline."""
        return [self._frame(int(position)) for position in self.index.frames_of(video)]

    def _frame(self, position: int) -> Frame:
        index = self.index
        image_id = int(index.image_ids[position])
        frame = Frame(
            path=os.path.join(self.img_prefix, index.file_name(position)),
            image_id=image_id,
            video_id=image_id,  # an image is a video of its own
            ori_shape=(int(index.image_heights[position]), int(index.image_widths[position])),
        )
        if self.load_as_video:
            video = int(index.image_video[position])
            frame.video_id = int(index.video_ids[video])
            frame.frame_id = int(index.image_frame_ids[position])
            frame.video_length = len(index.frames_of(video))
        return frame

    def _missing(self, path: str, clip: Clip) -> str:
        ids = [frame.image_id for frame in clip.frames if frame.path == path]
        return (
            f'{path} does not exist (image id {ids[0] if ids else clip.key.image_id} of '
            f'{self.ann_file}, looked up in img_prefix={self.img_prefix!r}). '
            f'Correct `img_prefix`, or complete the data.'
        )

    def _size_differs(self, frame: Frame, size: tuple[int, int]) -> None:
        message = (
            f'{frame.path} is {frame.ori_shape[1]}x{frame.ori_shape[0]}, but {self.ann_file} says '
            f'{size[1]}x{size[0]} for image id {frame.image_id}: its boxes may not fit'
        )
        if self.test_mode:
            raise ConfigError(message)
        if frame.path not in self._odd_sizes:
            self._odd_sizes.add(frame.path)
            print_log(message, logger='current', level=logging.WARNING)

    def __getstate__(self) -> dict[str, Any]:
        """Without the index: a worker that is not forked maps the file again."""
        state = self.__dict__.copy()
        del state['index']
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.index = CocoVideoIndex.open(*self._open_index)


@DATASETS.register_module()
class ImagenetVIDDataset(CocoVideoDataset):
    """ImageNet VID and the ImageNet DET images it is trained with: its 30 classes, unless `classes`
    names others."""

    CLASSES = IMAGENET_VID_CLASSES


# in mmengine's own registry: its Runner looks functions up there, without regard to the scope
@FUNCTIONS.register_module()
def collate_clips(clips: list[Clip]) -> list[Clip]:
    """A batch is a list of clips, one per video; the preprocessor makes device tensors of it."""
    return clips
