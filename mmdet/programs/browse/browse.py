"""Clips or a whole video of a config, drawn to a file: what tools/browse_dataset.py runs."""

import copy
import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from mmengine import Config
from rich.console import Console
from rich.progress import track

from mmdet.apis.common import checked_config
from mmdet.core.errors import ConfigError
from mmdet.core.images import write_image
from mmdet.core.progress import FrameProgress
from mmdet.datasets import CocoVideoDataset
from mmdet.programs.browse.clip_sheet import ShownClip, clip_sheet, video_picture
from mmdet.registry import DATASETS
from mmdet.structures import Clip
from mmdet.video.writer import VideoWriter

LOAD_ANNOTATIONS = dict(type='LoadAnnotations')


def browse_dataset(
    config: str | os.PathLike | Config,
    split: str = 'train',
    out: str | os.PathLike | None = None,
    *,
    num: int = 8,
    video: str | None = None,
    raw: bool = False,
    seed: int = 0,
    fps: float = 25,
    cfg_options: Mapping[str, Any] | None = None,
) -> Path:
    """Write a page of clips, or a whole video, with the annotations that belong to them.

    Args:
        config: path of a config file, or a config.
        split: 'train', 'val' or 'test'.
        out: a picture, an .mp4, or a folder; None: the work dir.
        num: clips of a page.
        video: name of a video, or the end of it; None: all of them (for an .mp4, the first one).
        raw: frames as they are on disk instead of after the pipeline.
        seed: of the order of training clips and of all random transforms.
        fps: frames per second of an .mp4.
        cfg_options: dotted config keys and values.

    Returns:
        the file.

    Raises:
        ConfigError: a mistake in the config or in the arguments.
    """
    cfg = checked_config(config, cfg_options)
    path = _out_path(out, cfg, split)
    clips = SplitClips(cfg, split, raw, seed)
    if path.suffix.lower() == '.mp4':
        number, frames = clips.video(video)
        with FrameProgress(number, 'Drawing') as progress, VideoWriter(path, fps) as writer:
            for shown in frames:
                writer.write(video_picture(shown, clips.dataset.classes))
                progress.advance(1)
    else:
        console = Console()
        bar = dict(console=console, transient=True, disable=not console.is_terminal)
        chosen = [clips.load(key) for key in track(clips.keys(num, video), 'Loading clips', **bar)]
        write_image(path, clip_sheet(chosen, clips.dataset.classes, clips.title))
    return path


def _out_path(out: str | os.PathLike | None, cfg: Config, split: str) -> Path:
    path = Path(out or cfg.work_dir)
    if path.is_dir() or not path.suffix:
        return path / f'browse_{Path(cfg.filename or "config").stem}_{split}.png'
    legal = ('.png', '.jpg', '.jpeg', '.mp4')
    if path.suffix.lower() not in legal:
        raise ConfigError(f'--out is a folder or ends in one of {", ".join(legal)}, not {out}.')
    return path


class SplitClips:
    """The samples of one data loader of a config, with their annotations.

    Args:
        cfg: a checked config.
        split: which data loader.
        raw: leave out all transforms but loading.
        seed: see `browse_dataset`.
    """

    def __init__(self, cfg: Config, split: str, raw: bool = False, seed: int = 0) -> None:
        self.loader = cfg.get(f'{split}_dataloader')
        if not self.loader:
            raise ConfigError(f'The config has no {split}_dataloader. Choose another --split.')
        self.seed = seed
        shown = _with_annotations(copy.deepcopy(self.loader['dataset']), raw)
        try:
            self.dataset = DATASETS.build(shown)
        except ValueError as error:
            raise ConfigError(f'{split}_dataloader: {error}') from error
        self.parts: list[CocoVideoDataset] = getattr(self.dataset, 'datasets', [self.dataset])
        steps = [type(step).__name__ for step in self.parts[0].pipeline.transforms]
        self.title = f'{Path(cfg.filename or "config").name}, {split}: {", ".join(steps)}'

    def keys(self, num: int, video: str | None = None) -> list[tuple[int, int]]:
        """Of `num` samples: (index, draw seed).

        Training: the first ones of the first epoch, as `tools/train.py --seed` of the same seed
        gets them in one process. Testing: spread evenly, from the first frame on.
        """
        wanted = list(range(len(self.dataset)))
        if video is not None:
            owner, position = self._find_video(video)
            located = ((i, *self._locate(i)) for i in wanted)
            inside = ((i, local) for i, part, local in located if part is owner)
            video_of = owner.index.image_video
            wanted = [i for i, local in inside if video_of[owner.positions[local]] == position]
            if not wanted:
                raise ConfigError(f'No frame of the video {video!r} is a sample of this split.')
        if not all(part.test_mode for part in self.parts):
            chosen = set(wanted)
            return [key for key in self._training_keys() if key[0] in chosen][:num]
        spread = np.linspace(0, len(wanted) - 1, min(num, len(wanted))).round().astype(int)
        return [(wanted[i], wanted[i]) for i in np.unique(spread)]

    def _training_keys(self) -> Iterator[tuple[int, int]]:
        from mmdet.engine.data_loading import build_loader

        loader = {**self.loader, 'dataset': self.dataset, 'num_workers': 0}
        for batch in build_loader(loader, self.seed).batch_sampler:
            yield from (key if isinstance(key, tuple) else (key, key) for key in batch)

    def load(self, key: tuple[int, int]) -> ShownClip:
        part, _ = self._locate(key[0])
        return _shown(self.dataset[key], part)

    def video(self, name: str | None) -> tuple[int, Iterator[ShownClip]]:
        """The number of frames of a video, and each of them through the pipeline, in order.

        Random transforms draw the same for every frame, as they do within a clip.
        """
        part, position = self._find_video(name)
        frames = part.frames_of_video(position)

        def through_the_pipeline() -> Iterator[ShownClip]:
            for frame in frames:
                clip = part.transformed(Clip([frame]), np.random.default_rng(self.seed))
                if clip is not None:
                    yield _shown(clip, part)

        return len(frames), through_the_pipeline()

    def _locate(self, index: int) -> tuple[CocoVideoDataset, int]:
        locate = getattr(self.dataset, 'locate', None)
        return (self.dataset, index) if locate is None else locate(index)

    def _find_video(self, name: str | None) -> tuple[CocoVideoDataset, int]:
        """The video of this name, of which it is the end, or the first one."""
        with_videos = [part for part in self.parts if part.load_as_video]
        if not with_videos:
            raise ConfigError('This split has images only, no videos: omit --video and .mp4.')
        if name is None:
            return with_videos[0], 0
        videos = [(part, v) for part in with_videos for v in part.index.videos()]
        names = [part.index.video_name(v) for part, v in videos]
        exact = [i for i, full in enumerate(names) if full == name]
        parts = [i for i, full in enumerate(names) if full.endswith(f'/{name}')]
        found = exact or parts or [i for i, full in enumerate(names) if full.endswith(name)]
        if len(found) == 1:
            return videos[found[0]]
        others = [names[i] for i in found] or names
        near = get_close_matches(name, others, n=3, cutoff=0.5)
        raise ConfigError(
            f'{"Several videos are" if found else "No video is"} called {name!r}. '
            f'{"The closest" if near else "The first"} of {len(others)} names: '
            f'{", ".join(near or others[:3])}.'
        )


def _shown(clip: Clip, part: CocoVideoDataset) -> ShownClip:
    position = part.index.position_of(clip.key.image_id)
    video = int(part.index.image_video[position])
    name = part.index.video_name(video) if part.load_as_video else part.index.file_name(position)
    return ShownClip(clip, name, tracks=part.load_as_video)


def _with_annotations(dataset: Any, raw: bool) -> Any:
    """The dataset config, whose pipelines load annotations also where the model gets none."""
    if isinstance(dataset, (list, tuple)):
        return [_with_annotations(part, raw) for part in dataset]
    for key in ('dataset', 'datasets'):
        if key in dataset:
            dataset[key] = _with_annotations(dataset[key], raw)
    pipeline = dataset.get('pipeline')
    if pipeline:
        if raw:
            dataset['pipeline'] = [pipeline[0], LOAD_ANNOTATIONS]
        elif LOAD_ANNOTATIONS['type'] not in str(pipeline):
            dataset['pipeline'] = [pipeline[0], LOAD_ANNOTATIONS, *pipeline[1:]]
    return dataset
