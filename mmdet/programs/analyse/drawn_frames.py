"""Frames of scored images with results: detections in the colour of their class, the ground truth
white and dashed, a mistake red.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from mmdet.core.errors import EvaluationError, UndecodableFrameError
from mmdet.core.images import read_image
from mmdet.evaluation.evaluate import ScoredSet
from mmdet.evaluation.results import DetectionArrays
from mmdet.programs.analyse.analysis import Analysis
from mmdet.programs.analyse.mistakes import KINDS
from mmdet.programs.analyse.tables import speed_of
from mmdet.structures import Detections
from mmdet.visualization.contact_sheet import contact_sheet
from mmdet.visualization.draw import draw_boxes, draw_detections, draw_ground_truth
from mmdet.visualization.fonts import readable_names
from mmdet.visualization.palette import Color

MAX_LONG_SIDE = 4000  # of an enlarged frame
MIN_SHORT_SIDE = 480  # pixels: smaller frames are enlarged so that labels stay readable
MISTAKE_COLOR: Color = (40, 40, 235)
OTHER_COLOR: Color = (150, 150, 150)
WIDTH, WIDTH_OF_THREE = 960, 560  # pixels of a frame on its page


class DrawnFrames:
    """Images are named by their row in the scored set, objects by theirs without the crowds.

    Args:
        scored: the images and their ground truth.
        img_prefix: folder that the file names start from.
        score_thr: detections below this score (0..1) are not drawn.
    """

    def __init__(self, scored: ScoredSet, img_prefix: str | Path, score_thr: float) -> None:
        self.scored, self.img_prefix, self.score_thr = scored, Path(img_prefix), score_thr
        self.objects = scored.truth.select(~scored.truth.crowd)
        self.classes = self.objects.classes
        self.names = readable_names(self.classes)

    def check(self, images: Iterable[int], decode: bool = False) -> None:
        """Make sure that frames can be drawn.

        Raises:
            EvaluationError: names the first that cannot, and what to do.
        """
        bad, images = [], list(images)
        for image in images:
            try:
                if decode:
                    self._read(image)
                elif not self._path(image).is_file():
                    raise OSError(f'{self._path(image)} does not exist.')
            except OSError as error:
                bad.append(str(error))
        if bad:
            raise EvaluationError(
                f'{len(bad)} of {len(images)} frames cannot be drawn: {bad[0]} Correct '
                f'test_dataloader.dataset.img_prefix (it is {str(self.img_prefix)!r}) with '
                f'--cfg-options, or leave the frames out with --no-frames.'
            )

    # -- frames and videos -------------------------------------------------------------------------

    def draw(self, detections: DetectionArrays, image: int) -> np.ndarray:
        """[H, W, 3] uint8 BGR with ground truth and detections, enlarged when the frame is small.

        Raises:
            OSError: the frame is missing or cannot be decoded.
        """
        picture, factor = self._with_truth(image)
        return self._with_detections(picture, factor, detections, image)

    def video(self, detections: DetectionArrays, video: int) -> Iterator[np.ndarray]:
        """The drawn frames of the video at this position of the index, in order."""
        for image in self._rows_of_video(video):
            yield self.draw(detections, int(image))

    def busiest_video(self) -> int:
        """Position of the video with the most objects."""
        counts = np.bincount(self.objects.image, minlength=len(self.objects.image_ids))
        videos = self.scored.index.videos()
        return int(np.argmax([counts[self._rows_of_video(video)].sum() for video in videos]))

    def spread(self, count: int) -> list[int]:
        """`count` images, from as many videos and from all parts of them."""
        frames = [self._rows_of_video(video) for video in self.scored.index.videos()]
        frames = np.concatenate(frames) if frames else np.arange(len(self.objects.image_ids))
        chosen = np.round(np.linspace(0, len(frames) - 1, min(count, len(frames)) * 2 + 1)[1::2])
        return frames[chosen.astype(int)].tolist()

    def caption(self, image: int) -> str:
        """Folder and name of a frame's file, without the rest."""
        parts = Path(self.scored.file_name(image)).parts[-2:]
        return str(Path(*parts).with_suffix(''))

    # -- mistakes ----------------------------------------------------------------------------------

    def false_positive(self, run: Analysis, number: int) -> np.ndarray:
        """The page of a row of `run.mistakes.false`; other detections are thin and grey."""
        mistakes, detections = run.mistakes, run.detections
        row = mistakes.false[number]
        image = int(detections.image[row])
        picture, factor = self._with_truth(image)
        others = self._rows(detections, image)
        others = others[others != row]
        for rows, color in ((others, OTHER_COLOR), (np.array([row]), MISTAKE_COLOR)):
            labels, scores = detections.label[rows], detections.score[rows]
            texts = [f'{self.names[c]} {s:.2f}' for c, s in zip(labels, scores, strict=True)]
            picture = draw_boxes(
                picture, detections.boxes[rows] * factor, texts, [color] * len(rows)
            )
        near, details = mistakes.near[number], []
        if near >= 0:
            details = [f'IoU {mistakes.iou[number]:.2f} with {self._name(near)}']
        return self._page(picture, image, f'{KINDS[mistakes.kind[number]]}: {texts[0]}', details)

    def miss(self, run: Analysis, obj: int) -> np.ndarray:
        """The page of an object in `run.mistakes.missed`, with all detections of its frame."""
        objects, image, name = self.objects, int(self.objects.image[obj]), self._name(obj)
        picture, factor = self._with_truth(image, without=obj)
        picture = self._with_detections(picture, factor, run.detections, image)
        box, score = objects.boxes[[obj]] * factor, run.mistakes.hit_score[obj]
        picture = draw_boxes(picture, box, [f'missed {name}'], [MISTAKE_COLOR], dashed=True)
        details = [
            f'{objects.area[obj] / self.scored.image_areas()[image]:.1%} of the frame',
            f'motion {speed_of(objects.motion, obj)}',
            'found at no score' if np.isnan(score) else f'found only with score {score:.2f}',
        ]
        return self._page(picture, image, f'missed: {name}', details)

    def beside(self, runs: dict[str, Analysis], image: int) -> np.ndarray:
        """A page with the detections of each run, then the ground truth."""
        pictures, captions = [], []
        picture, factor = self._read(image)
        for name, run in runs.items():
            pictures.append(self._with_detections(picture, factor, run.detections, image))
            errors = run.errors_by_image()[image]
            captions.append(f'{name}: {errors} error{"" if errors == 1 else "s"}')
        pictures.append(self._with_truth(image)[0])
        captions.append('ground truth')
        width = WIDTH_OF_THREE
        return contact_sheet(pictures, captions, self.caption(image), len(pictures), width)

    # -- parts -------------------------------------------------------------------------------------

    def _path(self, image: int) -> Path:
        return self.img_prefix / self.scored.file_name(image)

    def _read(self, image: int) -> tuple[np.ndarray, int]:
        """A frame, and by which whole factor it was enlarged, if it is small."""
        path = self._path(image)
        try:
            picture = read_image(str(path))
        except (FileNotFoundError, UndecodableFrameError) as error:
            raise OSError(f'{path} is missing or cannot be decoded.') from error
        factor = -(-MIN_SHORT_SIDE // min(picture.shape[:2]))
        factor = max(min(factor, MAX_LONG_SIDE // max(picture.shape[:2])), 1)
        enlarged = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        return enlarged, factor

    def _with_truth(self, image: int, without: int = -1) -> tuple[np.ndarray, int]:
        """The frame with its objects (but one), and by which factor it was enlarged."""
        picture, factor = self._read(image)
        shown = np.arange(*np.searchsorted(self.objects.image, [image, image + 1]))
        shown = shown[shown != without]
        boxes, labels = self.objects.boxes[shown] * factor, self.objects.label[shown]
        return draw_ground_truth(picture, boxes, labels, self.classes), factor

    def _with_detections(
        self, picture: np.ndarray, factor: int, detections: DetectionArrays, image: int
    ) -> np.ndarray:
        rows = self._rows(detections, image)
        shown = Detections(
            boxes=torch.from_numpy(detections.boxes[rows] * factor),
            scores=torch.from_numpy(detections.score[rows]),
            labels=torch.from_numpy(detections.label[rows].astype(np.int64)),
        )
        return draw_detections(picture, shown, self.classes, self.score_thr)

    def _rows(self, detections: DetectionArrays, image: int) -> np.ndarray:
        """Rows of the detections of an image from the threshold on."""
        start, stop = np.searchsorted(detections.image, [image, image + 1])
        return start + np.flatnonzero(detections.score[start:stop] >= self.score_thr)

    def _rows_of_video(self, video: int) -> np.ndarray:
        """The scored images of a video, in the order of its frames."""
        ids = self.scored.index.image_ids[self.scored.index.frames_of(video)]
        ids = ids[np.isin(ids, self.objects.image_ids)]
        return np.searchsorted(self.objects.image_ids, ids)

    def _name(self, obj: int) -> str:
        return self.names[self.objects.label[obj]]

    def _page(
        self, picture: np.ndarray, image: int, title: str, details: Sequence[str]
    ) -> np.ndarray:
        caption = ', '.join([self.caption(image), *details])
        return contact_sheet([picture], [caption], title, tile_width=WIDTH)
