"""From records to CocoVID JSON: ids, boxes inside of the image, a file that is whole and checked.

The images are written as they come and the boxes are kept as plain numbers until their categories
are known: memory holds 100 bytes per box and nothing per frame.
"""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from mmdet.core.errors import ConversionError
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.convert.records import FrameRecord, ObjectRecord, VideoSource
from mmdet.programs.convert.summary import Summary

# per box: video, image, class, track, x, y, w, h, area, occluded, generated, crowd
KEPT_FIELDS = 12
DECIMALS = 3  # of coordinates, in pixels
CUT_BY = 1.0  # pixels beyond the border that are worth a remark
NAMED = 5  # boxes named where many are left out


class ClassTable:
    """Class names as they turn up, and which of them become categories, in which order.

    Args:
        selected: the user's choice, in the order of the ids; None: all.
        declared: names that the source lists; None: it lists none.
        keep_unused: keep declared classes without objects.
    """

    def __init__(
        self, selected: Sequence[str] | None, declared: Sequence[str] | None, keep_unused: bool
    ):
        self.selected, self.declared = selected, declared
        self._kept = set(declared or ()) if keep_unused else set()
        self._numbers: dict[str, int] = {
            name: i for i, name in enumerate(dict.fromkeys(declared or ()))
        }

    def add(self, record: ObjectRecord) -> int:
        """The number of an object's class. A class of crowds alone does not become a category."""
        if not record.crowd:
            self._kept.add(record.name)
        return self._numbers.setdefault(record.name, len(self._numbers))

    def categories(self) -> list[str]:
        """Names of the categories 1, 2, ...

        Raises:
            ConversionError: a selected class that no object has and the source does not know.
        """
        if self.selected is not None:
            unknown = [name for name in self.selected if name not in self._numbers]
            if unknown:
                raise ConversionError(
                    f'--classes names {unknown[0]!r}, but the classes of the input are: '
                    f'{", ".join(self._numbers) or "none"}.'
                )
            return list(self.selected)
        names = [name for name in self._numbers if name in self._kept]
        return names if self.declared is not None else sorted(names)

    def category_ids(self) -> list[int]:
        """Category id by class number, 0 for classes that are left out."""
        ids = {name: i for i, name in enumerate(self.categories(), 1)}
        return [ids.get(name, 0) for name in self._numbers]

    def names(self) -> list[str]:
        """Names by class number."""
        return list(self._numbers)


class CocoVIDWriter:
    """One CocoVID file in the making: `add` its videos, then `finish`.

    Attributes:
        cut: boxes that reached over the border of the image by more than a pixel.
        empty: (origin, box) of those without any area inside of it, which are left out.
        foreign: boxes of classes that were not selected, by name.
        unlabelled: frames that the source says nothing about.
        untracked: boxes without a track.
        num_boxes, num_keys: boxes, and key frames for training.
    """

    def __init__(self, file: IO[str], path: Path, classes: ClassTable):
        self._file, self.path, self._classes = file, path, classes
        self._boxes = array('d')
        self._videos: list[dict] = []
        self._num_images = self._num_tracks = 0
        self.cut = self.unlabelled = self.untracked = self.num_boxes = self.num_keys = 0
        self.empty: list[tuple[str, tuple]] = []
        self.foreign: Counter = Counter()
        file.write('{"images": [')

    def add(
        self,
        video: VideoSource,
        is_key: Callable[[int, FrameRecord], bool],
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Append a video.

        Args:
            video: its name must be new.
            is_key: of frame number and frame: is it a key frame in training.
            advance: called with the number of frames done.

        Raises:
            ConversionError: what is wrong in the source; frames of several sizes.
        """
        keys, tracks = [], {}
        number = len(self._videos) + 1
        first = None
        for frame_id, frame in enumerate(video.read()):
            first = first or frame
            _check_size(video, first, frame)
            if is_key(frame_id, frame):
                keys.append(frame_id)
            self._add_frame(number, frame_id, frame, bool(keys) and keys[-1] == frame_id)
            for record in frame.objects:
                self._add_object(number, frame, record, tracks)
            advance(1)
        self._num_tracks += len(tracks)
        self.num_keys += len(keys)
        self._videos.append({'id': number, 'name': video.name, 'vid_train_frames': keys})

    def _add_frame(self, video: int, frame_id: int, frame: FrameRecord, is_key: bool) -> None:
        entry = {
            'id': self._num_images + 1,
            'file_name': frame.file_name,
            'height': frame.height,
            'width': frame.width,
            'frame_id': frame_id,
            'video_id': video,
            'is_vid_train_frame': is_key,
        }
        self._file.write((', ' if self._num_images else '') + json.dumps(entry))
        self._num_images += 1
        self.unlabelled += not frame.labelled

    def _add_object(self, video: int, frame: FrameRecord, record: ObjectRecord, tracks: dict):
        number = self._classes.add(record)
        box = clip_box(record.bbox, frame.width, frame.height)
        if box is None:
            self.empty.append((record.origin, record.bbox))
            return
        self.cut += _reaches_over(record.bbox, frame.width, frame.height)
        track = 0  # none
        if record.track is not None:
            track = self._num_tracks + tracks.setdefault(record.track, len(tracks) + 1)
        flags = (record.occluded, record.generated, record.crowd)
        area = _area(record, box)
        self._boxes.extend((video, self._num_images, number, track, *box, area, *flags))

    def finish(self) -> Summary:
        """Write what follows the images, and read the whole file as training will.

        Raises:
            AnnotationError: the file breaks a rule, which is a mistake in the reader.
        """
        names = self._classes.categories()
        self._file.write(']')
        self._write_list('annotations', self._annotations())
        self._write_list('videos', self._videos)
        categories = [{'id': i, 'name': name} for i, name in enumerate(names, 1)]
        self._write_list('categories', categories)
        self._file.write('}')
        self._file.flush()
        CocoVideoIndex.read(self._file.name)
        return self._summary(names)

    def _write_list(self, key: str, entries: Iterable[dict]) -> None:
        self._file.write(f', "{key}": [')
        for i, entry in enumerate(entries):
            self._file.write((', ' if i else '') + json.dumps(entry))
        self._file.write(']')

    def _annotations(self) -> Iterator[dict]:
        names, instances = self._classes.names(), {}
        for category, row in self._rows():
            video, image, number, track, *box, area, occluded, generated, crowd = row
            if not category:
                self.foreign[names[int(number)]] += 1
                continue
            self.num_boxes += 1
            self.untracked += not track
            # from 1 in the order of appearance, without those of foreign classes
            instance = instances.setdefault(track, len(instances) + 1) if track else None
            yield {
                'id': self.num_boxes,
                'video_id': int(video),
                'image_id': int(image),
                'category_id': category,
                **({'instance_id': instance} if track else {}),
                'bbox': [_plain(value) for value in box],
                'area': _plain(area),
                'iscrowd': bool(crowd),
                'occluded': bool(occluded),
                'generated': bool(generated),
            }

    def _rows(self) -> Iterator[tuple[int, Sequence[float]]]:
        """(category id or 0, KEPT_FIELDS numbers) of every box."""
        ids = self._classes.category_ids()
        for i in range(0, len(self._boxes), KEPT_FIELDS):
            row = self._boxes[i : i + KEPT_FIELDS]
            yield ids[int(row[2])], row

    def _summary(self, names: list[str]) -> Summary:
        summary = Summary(names)
        summary.add_frames(self._num_images, len(self._videos))
        for category, row in self._rows():
            if category:
                summary.add_box(int(row[0]), int(row[1]), category, has_area=True)
        return summary

    def remarks(self) -> list[str]:
        """What was left out or changed, one sentence each."""
        remarks = [f'{self.num_keys:,} training key frames.']
        if self.cut:
            remarks.append(f'{self.cut:,} boxes reached over the border and were cut there.')
        remarks += self.left_out()
        if self.unlabelled:
            remarks.append(
                f'{self.unlabelled:,} frames have no label file and count as frames without '
                f'objects.'
            )
        if self.untracked:
            remarks.append(
                f'{self.untracked:,} of {self.num_boxes:,} boxes have no track id: '
                f'there will be no AP by motion.'
            )
        return remarks

    def left_out(self) -> list[str]:
        """Which boxes are not in the file and why, one sentence each."""
        remarks = []
        if self.empty:
            shown = '; '.join(f'{origin} {_numbers(box)}' for origin, box in self.empty[:NAMED])
            remarks.append(
                f'{len(self.empty):,} boxes have no area inside of the image and were left out: '
                f'{shown}{"; ..." if len(self.empty) > NAMED else ""}.'
            )
        if self.foreign:
            counts = ', '.join(f'{name} ({n:,})' for name, n in self.foreign.most_common())
            remarks.append(f'Boxes of other classes were left out: {counts}.')
        return remarks


def clip_box(
    box: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float] | None:
    """The part of a box (x, y, w, h) inside of the image; None if it has no area.

    A detector cannot see more of an object, and training cuts boxes in the same way.
    """
    x, y, w, h = box
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + w, width), min(y + h, height)
    if round(right - left, DECIMALS) <= 0 or round(bottom - top, DECIMALS) <= 0:
        return None
    return left, top, right - left, bottom - top


def _area(record: ObjectRecord, box: tuple[float, float, float, float]) -> float:
    """Pixels of an object whose box was cut to `box`; a mask loses the same part as its box."""
    if record.area is None or not record.area > 0:  # some tools write 0, or NaN
        return box[2] * box[3]
    return record.area * (box[2] * box[3]) / (record.bbox[2] * record.bbox[3])


def _reaches_over(box: tuple[float, float, float, float], width: int, height: int) -> bool:
    x, y, w, h = box
    return x < -CUT_BY or y < -CUT_BY or x + w > width + CUT_BY or y + h > height + CUT_BY


def _check_size(video: VideoSource, first: FrameRecord, frame: FrameRecord) -> None:
    if (frame.width, frame.height) != (first.width, first.height):
        raise ConversionError(
            f'{frame.file_name} has {frame.width}x{frame.height} pixels, but {first.file_name} of '
            f'the same video ({video.name}) has {first.width}x{first.height}. Frames of a video '
            f'have one size; are these unrelated images? (Such a set needs no videos: use its COCO '
            f'file with load_as_video=False.)'
        )


def _plain(value: float) -> float | int:
    value = round(value, DECIMALS)
    return int(value) if value == int(value) else value


def _numbers(box: Sequence[float]) -> list[float | int]:
    return [_plain(value) for value in box]
