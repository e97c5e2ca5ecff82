"""From records to CocoVID JSON: ids, boxes inside of the image, a file that is whole and checked.

The images are written as they come and the boxes are kept as plain numbers until their categories
are known: memory holds 100 bytes per box and nothing per frame.
"""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO

from mmdet.core.errors import ConversionError
from mmdet.datasets.parsers import CocoVideoIndex
from mmdet.programs.convert.records import Box, FrameRecord, ObjectRecord, Source, VideoSource

# per box: video, image, class, track, x, y, w, h, area, occluded, generated, crowd
KEPT_FIELDS = 12
DECIMALS = 3  # of coordinates, in pixels
CUT_BY = 1.0  # pixels beyond the border that are worth a remark
NAMED = 5  # boxes named where many are left out


class ClassTable:
    """Class names as they turn up, and which of them become categories, in which order.

    Args:
        selected: the user's choice, in the order of the ids; None: all.
        source: may list classes.
    """

    def __init__(self, selected: Sequence[str] | None, source: Source) -> None:
        self.selected, self.declared = selected, source.classes is not None
        self.numbers = {name: i for i, name in enumerate(dict.fromkeys(source.classes or ()))}
        self._kept = set(self.numbers) if source.keep_unused else set()

    def add(self, record: ObjectRecord) -> int:
        """The number of an object's class. A class of crowds alone does not become a category."""
        if not record.crowd:
            self._kept.add(record.name)
        return self.numbers.setdefault(record.name, len(self.numbers))

    def categories(self) -> list[str]:
        """Names of the categories 1, 2, ...; refuses a selected one that is nowhere."""
        if self.selected is not None:
            unknown = [name for name in self.selected if name not in self.numbers]
            if unknown:
                raise ConversionError(
                    f'--classes names {unknown[0]!r}, but the classes of the input are: '
                    f'{", ".join(self.numbers) or "none"}.'
                )
            return list(self.selected)
        names = [name for name in self.numbers if name in self._kept]
        return names if self.declared else sorted(names)


class CocoVIDWriter:
    """One CocoVID file in the making: `add` its videos, then `finish`.

    Attributes:
        cut: boxes that reached over the border of the image by more than a pixel.
        empty: (origin, box) of those without any area inside of it, which are left out.
        foreign: boxes of classes that were not selected, by name.
        unlabelled: frames that the source says nothing about.
        untracked: boxes without a track.
        num_boxes: boxes in the file.
    """

    def __init__(self, file: IO[str], classes: ClassTable) -> None:
        self._file, self._classes = file, classes
        self._boxes = array('d')
        self._videos: list[dict] = []
        self._num_images = self._num_tracks = 0
        self.cut = self.unlabelled = self.untracked = self.num_boxes = 0
        self.empty: list[tuple[str, Box]] = []
        self.foreign: Counter = Counter()
        file.write('{"images": [')

    def add(
        self,
        video: VideoSource,
        is_key: Callable[[int, FrameRecord], bool],
        advance: Callable[[int], None],
    ) -> None:
        """Append a video, whose name must be new and whose frames must have one size.

        Args:
            is_key: of frame number and frame: is it a key frame in training.
            advance: called with the number of frames done.
        """
        keys, tracks = [], {}
        number, first = len(self._videos) + 1, None
        for frame_id, frame in enumerate(video.read()):
            first = first or frame
            _check_size(video, first, frame)
            entry = {
                'id': self._num_images + 1,
                'file_name': frame.file_name,
                'height': frame.height,
                'width': frame.width,
                'frame_id': frame_id,
                'video_id': number,
                'is_vid_train_frame': bool(is_key(frame_id, frame)),
            }
            keys += [frame_id] if entry['is_vid_train_frame'] else []
            self._file.write((', ' if self._num_images else '') + json.dumps(entry))
            self._num_images += 1
            self.unlabelled += not frame.labelled
            for record in frame.objects:
                self._add_object(number, frame, record, tracks)
            advance(1)
        self._num_tracks += len(tracks)
        self._videos.append({'id': number, 'name': video.name, 'vid_train_frames': keys})

    def _add_object(
        self, video: int, frame: FrameRecord, record: ObjectRecord, tracks: dict
    ) -> None:
        number = self._classes.add(record)
        box = _clip(record.bbox, frame.width, frame.height)
        if box is None:
            self.empty.append((record.origin, record.bbox))
            return
        x, y, w, h = record.bbox
        right, bottom = frame.width + CUT_BY, frame.height + CUT_BY
        self.cut += x < -CUT_BY or y < -CUT_BY or x + w > right or y + h > bottom
        track = 0  # none
        if record.track is not None:
            track = self._num_tracks + tracks.setdefault(record.track, len(tracks) + 1)
        area = box[2] * box[3]
        if record.area is not None and record.area > 0:  # not 0 or NaN, as some tools write
            area = record.area * area / (w * h)  # a mask loses the same part as its box
        flags = (record.occluded, record.generated, record.crowd)
        self._boxes.extend((video, self._num_images, number, track, *box, area, *flags))

    def finish(self) -> CocoVideoIndex:
        """Write what follows the images, and read the whole file as training will."""
        self._file.write(']')
        names = self._classes.categories()
        write_list(self._file, 'annotations', self._annotations(names))
        write_list(self._file, 'videos', self._videos)
        categories = [{'id': i, 'name': name} for i, name in enumerate(names, 1)]
        write_list(self._file, 'categories', categories)
        self._file.write('}')
        self._file.flush()
        return CocoVideoIndex.read(self._file.name)

    def _annotations(self, categories: Sequence[str]) -> Iterator[dict]:
        ids, instances = {name: i for i, name in enumerate(categories, 1)}, {}
        names = list(self._classes.numbers)
        for i in range(0, len(self._boxes), KEPT_FIELDS):
            video, image, number, track, *box, area, occluded, generated, crowd = self._boxes[
                i : i + KEPT_FIELDS
            ]
            name = names[int(number)]
            if name not in ids:
                self.foreign[name] += 1
                continue
            self.num_boxes += 1
            self.untracked += not track
            # from 1 in the order of appearance, without those of foreign classes
            instance = instances.setdefault(track, len(instances) + 1) if track else None
            yield {
                'id': self.num_boxes,
                'video_id': int(video),
                'image_id': int(image),
                'category_id': ids[name],
                **({'instance_id': instance} if track else {}),
                'bbox': [_plain(value) for value in box],
                'area': _plain(area),
                'iscrowd': bool(crowd),
                'occluded': bool(occluded),
                'generated': bool(generated),
            }

    def remarks(self) -> list[str]:
        """What was left out or changed, one sentence each."""
        remarks = self.left_out()
        if self.cut:
            remarks.append(f'{self.cut:,} boxes reached over the border and were cut there.')
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
            named = self.empty[:NAMED]
            shown = '; '.join(f'{origin} {[_plain(v) for v in box]}' for origin, box in named)
            remarks.append(
                f'{len(self.empty):,} boxes have no area inside of the image and were left out: '
                f'{shown}{"; ..." if len(self.empty) > NAMED else ""}.'
            )
        if self.foreign:
            counts = ', '.join(f'{name} ({n:,})' for name, n in self.foreign.most_common())
            remarks.append(f'Boxes of other classes were left out: {counts}.')
        return remarks


def write_list(file: IO[str], key: str, entries: Iterable[dict]) -> None:
    """One more key of the open JSON object, its list written entry by entry."""
    file.write(f', "{key}": [')
    for i, entry in enumerate(entries):
        file.write((', ' if i else '') + json.dumps(entry))
    file.write(']')


def _clip(box: Box, width: int, height: int) -> Box | None:
    """The part of a box inside of the image; None if it has no area.

    A detector cannot see more of an object, and training cuts boxes in the same way.
    """
    x, y, w, h = box
    left, top = max(x, 0.0), max(y, 0.0)
    sides = min(x + w, width) - left, min(y + h, height) - top
    return None if round(min(sides), DECIMALS) <= 0 else (left, top, *sides)


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
