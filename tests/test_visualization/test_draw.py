"""Drawing: stable colours, labels inside the image, the input untouched; names in any script."""

import itertools

import cv2
import numpy as np
import pytest
import torch

from mmdet.structures import Detections
from mmdet.visualization import class_color, draw_boxes, draw_detections
from mmdet.visualization.draw import Scale
from mmdet.visualization.fonts import text_mask
from mmdet.visualization.palette import text_color

NAMES = [f'class_{i}' for i in range(30)]


def blank(height: int, width: int, color=0) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def detections(boxes, scores, labels) -> Detections:
    boxes, scores = (torch.tensor(x, dtype=torch.float32) for x in (boxes, scores))
    return Detections(boxes.reshape(-1, 4), scores, torch.tensor(labels))


def luminance(color) -> float:
    """WCAG 2."""
    c = np.array(color[::-1]) / 255
    c = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(c @ [0.2126, 0.7152, 0.0722])


def test_colours_are_far_apart_and_never_change_and_text_on_them_can_be_read():
    colors = [class_color(i) for i in range(64)]
    lab = cv2.cvtColor(np.float32([colors]) / 255, cv2.COLOR_BGR2LAB)[0]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab[:30], 2)) > 15
    assert len(set(colors)) == 64 and class_color(64) == colors[0]
    # videos made before an update must keep their colours
    assert colors[:3] == [(230, 49, 237), (4, 239, 4), (22, 116, 169)]
    for color in colors[:30]:
        dark, bright = sorted([luminance(color), luminance(text_color(color))])
        assert (bright + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2, level AA


def test_a_detection_is_drawn_in_its_class_colour_on_a_copy():
    height, width = 128, 192
    image = blank(height, width, 90)
    box = [width * 0.25, height * 0.25, width * 0.75, height * 0.75]
    out = draw_detections(image, detections([box], [0.9], [4]), NAMES)
    assert (image == 90).all() and out.shape == image.shape and not np.shares_memory(out, image)
    assert tuple(out[height // 2, round(box[2])]) == class_color(4)
    assert (out[height // 2, width // 2] == 90).all()  # the object itself stays visible


@pytest.mark.parametrize(('height', 'width'), [(128, 192), (1080, 1920)])
@pytest.mark.parametrize(
    'box', [(0, 0, 0.3, 0.4), (0.7, 0.6, 0.999, 0.999), (-0.3, -0.3, 0.2, 0.4)]
)
def test_the_whole_label_lies_inside_the_image(height, width, box):
    image, box = blank(height, width), np.array(box) * [width, height, width, height]
    text = 'class_7 0.50'
    changed = (draw_boxes(image, [box], [text]) != draw_boxes(image, [box])).any(axis=2)
    rows, columns = np.nonzero(changed)
    text_height, text_width = text_mask(text, Scale.of(image).font).shape
    # what the box's own lines already covered is not counted as changed
    assert np.ptp(rows) + 1 >= text_height * 0.75 and np.ptp(columns) + 1 >= text_width


def test_the_surest_lies_on_top_and_what_is_below_the_threshold_is_not_drawn():
    image, box = blank(200, 300), [50, 80, 250, 180]

    def drawn(scores, labels, *threshold) -> np.ndarray:
        found = detections([box] * len(scores), scores, labels)
        return draw_detections(image, found, NAMES, *threshold)

    low_first, alone = drawn([0.4, 0.9], [1, 2]), drawn([0.9], [2])
    assert np.array_equal(low_first, drawn([0.9, 0.4], [2, 1]))
    assert tuple(low_first[180, 150]) == class_color(2)
    assert np.array_equal(drawn([0.4, 0.9], [1, 2], 0.5), alone)
    assert np.array_equal(drawn([0.29], [2]), image)
    assert not np.array_equal(drawn([0.3], [2]), image)
