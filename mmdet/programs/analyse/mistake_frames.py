"""Frames on which a detector is wrong, and frames of two runs beside each other.

Boxes of the ground truth are dashed and white, the mistake itself is red.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from mmdet.core.errors import EvaluationError
from mmdet.evaluation.evaluate import ScoredSet
from mmdet.programs.analyse.analysis import Analysis
from mmdet.programs.analyse.analysis_tables import speed_of
from mmdet.programs.analyse.annotated_frames import read_enlarged, short_name
from mmdet.programs.analyse.mistakes import KINDS
from mmdet.structures import Detections
from mmdet.visualization.contact_sheet import contact_sheet
from mmdet.visualization.draw import draw_boxes, draw_detections, draw_ground_truth
from mmdet.visualization.fonts import readable_names
from mmdet.visualization.palette import Color

MISTAKE_COLOR: Color = (40, 40, 235)
OTHER_COLOR: Color = (150, 150, 150)
WIDTH, WIDTH_OF_THREE = 960, 560  # pixels of a frame on its page


class MistakeFrames:
    """Draws mistakes of runs on the images of a scored set. Images are named by their row in it.

    Args:
        scored: the images and the annotation index.
        img_prefix: folder that the file names start from.
        score_thr: detections below this score (0..1) are not drawn.
    """

    def __init__(self, scored: ScoredSet, img_prefix: str | Path, score_thr: float) -> None:
        self.scored, self.img_prefix, self.score_thr = scored, Path(img_prefix), score_thr
        self.areas = scored.image_areas()

    def check(self, images: Iterable[int], decode: bool = False) -> None:
        """Make sure that frames can be drawn.

        Raises:
            EvaluationError: names the first that cannot, and what to do.
        """
        bad = []
        images = list(images)
        for image in images:
            path = self._path(image)
            try:
                if not path.is_file():
                    raise OSError(f'{path} does not exist.')
                if decode:
                    read_enlarged(path)
            except OSError as error:
                bad.append(str(error))
        if bad:
            raise EvaluationError(
                f'{len(bad)} of {len(images)} frames cannot be drawn: {bad[0]} Correct '
                f'test_dataloader.dataset.img_prefix (it is {str(self.img_prefix)!r}) with '
                f'--cfg-options, or leave the frames out with --no-frames.'
            )

    def false_positive(self, run: Analysis, number: int) -> np.ndarray:
        """The page of a row of `run.mistakes.false`; other detections are thin and grey."""
        mistakes, found = run.mistakes, run.detections
        row = mistakes.false[number]
        image = int(found.image[row])
        picture, factor = self._with_truth(run, image)
        others = self._rows(run, image)
        others = others[others != row]
        colors = [OTHER_COLOR] * len(others)
        boxes, texts = found.boxes[others] * factor, self._texts(run, others)
        picture = draw_boxes(picture, boxes, texts, colors)
        text = self._texts(run, [row])
        picture = draw_boxes(picture, found.boxes[[row]] * factor, text, [MISTAKE_COLOR])
        near, details = mistakes.near[number], []
        if near >= 0:
            details = [f'IoU {mistakes.iou[number]:.2f} with {self._name(run, near)}']
        return self._page(picture, image, f'{KINDS[mistakes.kind[number]]}: {text[0]}', details)

    def miss(self, run: Analysis, obj: int) -> np.ndarray:
        """The page of an object in `run.mistakes.missed`, with all detections of its frame."""
        objects, image = run.objects, int(run.objects.image[obj])
        picture, factor = self._with_truth(run, image, without=obj)
        picture = draw_detections(
            picture, self._detections(run, image, factor), objects.classes, self.score_thr
        )
        box, name = objects.boxes[[obj]] * factor, self._name(run, obj)
        picture = draw_boxes(picture, box, [f'missed {name}'], [MISTAKE_COLOR], dashed=True)
        score = run.mistakes.found[obj]
        details = [
            f'{objects.area[obj] / self.areas[image]:.1%} of the frame',
            f'motion {speed_of(objects.motion, obj)}',
            'found at no score' if np.isnan(score) else f'found only with score {score:.2f}',
        ]
        return self._page(picture, image, f'missed: {name}', details)

    def beside(self, runs: dict[str, Analysis], image: int) -> np.ndarray:
        """A page with the detections of each run, then the ground truth."""
        pictures, captions = [], []
        path = self._path(image)
        for name, run in runs.items():
            picture, factor = read_enlarged(path)
            detections = self._detections(run, image, factor)
            pictures.append(
                draw_detections(picture, detections, run.objects.classes, self.score_thr)
            )
            errors = run.errors_by_image()[image]
            captions.append(f'{name}: {errors} error{"" if errors == 1 else "s"}')
        pictures.append(self._with_truth(run, image)[0])
        captions.append('ground truth')
        title = short_name(self.scored.file_name(image))
        return contact_sheet(pictures, captions, title, len(pictures), WIDTH_OF_THREE)

    def _path(self, image: int) -> Path:
        return self.img_prefix / self.scored.file_name(image)

    def _page(
        self, picture: np.ndarray, image: int, title: str, details: Sequence[str]
    ) -> np.ndarray:
        caption = ', '.join([short_name(self.scored.file_name(image)), *details])
        return contact_sheet([picture], [caption], title, tile_width=WIDTH)

    def _name(self, run: Analysis, obj: int) -> str:
        return readable_names(run.objects.classes)[run.objects.label[obj]]

    def _rows(self, run: Analysis, image: int) -> np.ndarray:
        """Rows of the detections of an image from the threshold on."""
        start, stop = np.searchsorted(run.detections.image, [image, image + 1])
        return start + np.flatnonzero(run.detections.score[start:stop] >= self.score_thr)

    def _texts(self, run: Analysis, rows: Iterable[int]) -> list[str]:
        found, classes = run.detections, readable_names(run.objects.classes)
        return [f'{classes[found.label[r]]} {found.score[r]:.2f}' for r in rows]

    def _detections(self, run: Analysis, image: int, factor: int) -> Detections:
        rows, found = self._rows(run, image), run.detections
        return Detections(
            boxes=torch.from_numpy(found.boxes[rows] * factor),
            scores=torch.from_numpy(found.score[rows]),
            labels=torch.from_numpy(found.label[rows].astype(np.int64)),
        )

    def _with_truth(self, run: Analysis, image: int, without: int = -1) -> tuple[np.ndarray, int]:
        """The frame with its objects (but one), and by which factor it was enlarged."""
        picture, factor = read_enlarged(self._path(image))
        start, stop = np.searchsorted(run.objects.image, [image, image + 1])
        shown = np.arange(start, stop)
        shown = shown[shown != without]
        boxes, labels = run.objects.boxes[shown] * factor, run.objects.label[shown]
        return draw_ground_truth(picture, boxes, labels, run.objects.classes), factor
