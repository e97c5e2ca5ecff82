"""Any supported annotation format to CocoVID: what tools/convert_datasets/to_cocovid.py runs."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from mmdet.core.errors import ConversionError
from mmdet.core.fileio import atomic_write
from mmdet.core.progress import FrameProgress
from mmdet.programs.check.statistics import count, print_statistics
from mmdet.programs.convert.coco_json import open_coco
from mmdet.programs.convert.cocovid_writer import ClassTable, CocoVIDWriter
from mmdet.programs.convert.cvat import open_cvat
from mmdet.programs.convert.ilsvrc import convert_vid
from mmdet.programs.convert.label_files import LayoutOptions
from mmdet.programs.convert.records import FrameRecord, VideoSource, named_rows
from mmdet.programs.convert.sequences import open_got10k, open_mot
from mmdet.programs.convert.voc import open_voc
from mmdet.programs.convert.yolo import open_yolo

READERS = {
    'yolo': open_yolo,
    'coco': open_coco,
    'voc': open_voc,
    'cvat': open_cvat,
    'mot': open_mot,
    'got10k': open_got10k,
}
FORMATS = (*READERS, 'imagenet-vid')
SPLITS = ('train', 'val')


@dataclass
class ConvertOptions:
    """How to convert; every field is an option of the command.

    Attributes:
        img_root: folder that file names start from, and that videos are extracted to; None: the
            folder that holds all inputs.
        classes: which classes, in the order of their ids; None: all.
        group: 'folder' or 'prefix', see `LayoutOptions`.
        first_frame: see `LayoutOptions`.
        val_fraction, seed, split_file: divide the videos.
        val: everything is for validation: no key frames.
        every: every N-th frame is a training key frame.
        fps: N key frames per second instead.
    """

    img_root: Path | None = None
    classes: Sequence[str] | None = None
    group: str = 'folder'
    first_frame: int | None = None
    val_fraction: float | None = None
    seed: int = 0
    split_file: Path | None = None
    val: bool = False
    every: int | None = None
    fps: float | None = None


def to_cocovid(kind: str, inputs: Sequence[Path], out: Path, options: ConvertOptions) -> list[Path]:
    """Convert `inputs` of format `kind` and print what they hold.

    Args:
        kind: one of FORMATS. 'imagenet-vid' has a converter of its own, which takes no options.
        inputs: folders or files, as the format has them.
        out: the JSON file; with a split, OUT_train.json and OUT_val.json beside it. For
            'imagenet-vid', a folder.

    Returns:
        the files written, all or, after an error, none.

    Raises:
        ConversionError: names the file and the row or element.
    """
    if kind not in FORMATS:
        raise ConversionError(f'Unknown format {kind!r}. Known: {", ".join(FORMATS)}.')
    if kind == 'imagenet-vid':
        return convert_vid(inputs[0], out)
    _check_options(inputs, options)
    inputs = [Path(path) for path in inputs]
    img_root = Path(options.img_root) if options.img_root else _common_folder(inputs)
    layout = LayoutOptions(img_root, options.group, options.first_frame, options.classes)
    source = READERS[kind](inputs, layout)  # video files are extracted now
    _check_names(source.videos)
    split_of = _splits([video.name for video in source.videos], options)
    divided = options.val_fraction is not None or options.split_file is not None
    paths = {
        split: out.with_name(f'{out.stem}_{split}{out.suffix}') if divided else out
        for split in SPLITS
        if split in split_of.values()
    }
    classes = ClassTable(options.classes, source)
    if source.classes is not None:
        classes.categories()  # refuses a selection that cannot be, before the labels are read
    total = sum(video.num_frames for video in source.videos)
    say = partial(Console().print, soft_wrap=True, markup=False)
    where = ', '.join(map(str, paths.values()))
    say(f'Converting {len(source.videos):,} videos with {total:,} frames to {where}')
    with ExitStack() as stack:
        writers = {
            split: CocoVIDWriter(stack.enter_context(atomic_write(path)), classes)
            for split, path in paths.items()
        }
        with FrameProgress(total, 'Reading labels') as progress:
            for video in source.videos:
                split = split_of[video.name]
                writers[split].add(video, _key_rule(video, split, options), progress.advance)
        say(f'Writing and checking {where}')
        statistics = {split: count(writer.finish()) for split, writer in writers.items()}
        if not any(writer.num_boxes for writer in writers.values()):
            why = [text for writer in writers.values() for text in writer.left_out()]
            none = f'None of the {total:,} frames has a labelled object.'
            raise ConversionError(' '.join([none, *why]))
    for note in source.notes:
        say(note)
    for split, writer in writers.items():
        say(f'\n{paths[split]} (file names start from {img_root})')
        print_statistics(statistics[split], Console())
        for remark in writer.remarks():
            say(remark)
    return list(paths.values())


def _check_options(inputs: Sequence[Path], options: ConvertOptions) -> None:
    missing = [path for path in inputs if not Path(path).exists()]
    if missing:
        raise ConversionError(f'There is no {missing[0]}.')
    if options.every is not None and options.every < 1:
        raise ConversionError(f'--every must be at least 1, got {options.every}.')
    if options.fps is not None and not options.fps > 0:
        raise ConversionError(f'--fps must be positive, got {options.fps}.')
    twice = [name for name, n in Counter(options.classes or ()).items() if n > 1]
    if twice or (options.classes is not None and not options.classes):
        raise ConversionError(
            f'--classes must name classes, each once{": " * bool(twice)}{", ".join(twice)}.'
        )


def _common_folder(inputs: Sequence[Path]) -> Path:
    folders = [path if path.is_dir() else path.parent for path in inputs]
    return Path(os.path.commonpath([folder.absolute() for folder in folders]))


def _check_names(videos: Sequence[VideoSource]) -> None:
    twice = [name for name, n in Counter(video.name for video in videos).items() if n > 1]
    if twice:
        raise ConversionError(
            f'{len(twice)} names stand for several videos, such as {twice[0]!r}. Give --img-root a '
            f'folder above all of them, or rename one.'
        )
    empty = [video.name for video in videos if video.num_frames == 0]
    if empty or not videos:
        raise ConversionError(f'There is no frame in {", ".join(empty) or "the input"}.')


# --- which videos and frames are for what --------------------------------------------------------


def _splits(names: Sequence[str], options: ConvertOptions) -> dict[str, str]:
    """Video name -> 'train' or 'val'."""
    if options.val_fraction is not None:
        return split_by_fraction(names, options.val_fraction, options.seed)
    if options.split_file is not None:
        return split_by_file(names, Path(options.split_file))
    return dict.fromkeys(names, SPLITS[options.val])


def split_by_fraction(names: Sequence[str], fraction: float, seed: int) -> dict[str, str]:
    """Which videos validate: `fraction` of them, at least one and not all.

    The choice depends on the names and the seed alone, not on their order, and a video that is
    added later moves hardly any other.
    """
    if not 0 < fraction < 1:
        raise ConversionError(f'--val-fraction must lie between 0 and 1, got {fraction}.')
    if len(names) < 2:
        raise ConversionError(
            f'--val-fraction divides whole videos, and there is only {len(names)}. Cut it into '
            f'several, or convert it twice (frames of one video in both parts would make '
            f'validation meaningless).'
        )
    number = min(max(round(fraction * len(names)), 1), len(names) - 1)
    drawn = sorted(names, key=lambda name: hashlib.sha256(f'{seed}:{name}'.encode()).digest())
    val = set(drawn[:number])
    return {name: SPLITS[name in val] for name in names}


def split_by_file(names: Sequence[str], path: Path) -> dict[str, str]:
    """By rows `train VIDEO` or `val VIDEO`, one for each video."""
    split_of: dict[str, str] = {}
    for row, line in named_rows(path):
        split, _, name = line.partition(' ')
        name, origin = name.strip(), f'{row} ({line!r})'
        if split not in SPLITS or not name:
            raise ConversionError(f'{origin}: expected "train VIDEO" or "val VIDEO"')
        if name not in names:
            raise ConversionError(f'{origin}: no such video. Videos: {", ".join(names)}')
        if name in split_of:
            raise ConversionError(f'{origin}: the video has a row already')
        split_of[name] = split
    missing = [name for name in names if name not in split_of]
    if missing:
        raise ConversionError(
            f'{path} has no row for {len(missing)} of {len(names)} videos: {", ".join(missing[:5])}'
            f'{", ..." * (len(missing) > 5)}'
        )
    return split_of


def _key_rule(
    video: VideoSource, split: str, options: ConvertOptions
) -> Callable[[int, FrameRecord], bool]:
    """Which frames are key frames in training."""
    if split == 'val':
        return lambda number, frame: False
    if options.every is None and options.fps is None:
        return lambda number, frame: frame.is_key is None or bool(frame.is_key)
    step = float(options.every or 1)
    if options.fps is not None:
        if video.fps is None:
            raise ConversionError(
                f'The frame rate of {video.name} is not known, so --fps cannot thin its key '
                f'frames. Use --every N.'
            )
        step = video.fps / options.fps  # below 1: every frame
    keys = {round(i * step) for i in range(int(video.num_frames / step) + 1)}
    return lambda number, frame: number in keys
