"""Drawing: stable colours, labels inside the image, the input untouched."""

import itertools

import cv2
import numpy as np
import pytest
import torch

from mmdet.structures import Detections
from mmdet.visualization import class_color, draw_boxes, draw_detections, draw_ground_truth
from mmdet.visualization.draw import Scale
from mmdet.visualization.fonts import text_mask
from mmdet.visualization.palette import text_color

SIZES = [(128, 192), (1080, 1920)]
NAMES = [f'class_{i}' for i in range(30)]


def detections(boxes, scores, labels) -> Detections:
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.long),
    )


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


@pytest.mark.parametrize('shape', SIZES)
def test_a_detection_is_drawn_in_its_class_colour_on_a_copy(shape):
    height, width = shape
    image = np.full((height, width, 3), 90, np.uint8)
    box = [width * 0.25, height * 0.25, width * 0.75, height * 0.75]
    out = draw_detections(image, detections([box], [0.9], [4]), NAMES)
    assert (image == 90).all() and out.shape == image.shape and not np.shares_memory(out, image)
    assert tuple(out[height // 2, round(box[2])]) == class_color(4)
    assert (out[height // 2, width // 2] == 90).all()  # the object itself stays visible


@pytest.mark.parametrize('shape', SIZES)
@pytest.mark.parametrize(
    'box',
    [(0, 0, 0.3, 0.4), (0.7, 0.6, 0.999, 0.999), (0, 0, 0.999, 0.999), (-0.3, -0.3, 0.2, 0.4)],
)
def test_the_whole_label_lies_inside_the_image(shape, box):
    height, width = shape
    box = np.array(box) * [width, height, width, height]
    image = np.zeros((height, width, 3), np.uint8)
    without = draw_boxes(image, [box])
    rows, columns = np.nonzero((draw_boxes(image, [box], ['class_7 0.50']) != without).any(axis=2))
    text_height, text_width = text_mask('class_7 0.50', Scale.of(image).font).shape
    # what the box's own lines already covered is not counted as changed
    assert np.ptp(rows) + 1 >= text_height * 0.75
    assert np.ptp(columns) + 1 >= text_width


def test_labels_of_neighbours_do_not_cover_each_other():
    image = np.zeros((720, 1280, 3), np.uint8)
    boxes = [[300, 300, 600, 600], [305, 303, 610, 590], [310, 298, 605, 610]]
    colors = [class_color(i) for i in range(3)]
    texts = ['domestic_cat 0.91', 'dog 0.85', 'fox 0.50']
    out, without = draw_boxes(image, boxes, texts, colors), draw_boxes(image, boxes, None, colors)
    for text, color in zip(texts, colors, strict=True):
        background = (text_mask(text, Scale.of(image).font) == 0).sum()
        added = (out == color).all(axis=2) & (without != color).any(axis=2)
        assert added.sum() > 0.8 * background  # it is there, uncovered


def test_score_threshold_and_order():
    image = np.zeros((200, 300, 3), np.uint8)
    box = [50, 80, 250, 180]
    low_first = draw_detections(image, detections([box, box], [0.4, 0.9], [1, 2]), NAMES)
    high_first = draw_detections(image, detections([box, box], [0.9, 0.4], [2, 1]), NAMES)
    assert np.array_equal(low_first, high_first)
    assert tuple(low_first[180, 150]) == class_color(2)  # the surer one lies on top
    only_high = draw_detections(image, detections([box, box], [0.4, 0.9], [1, 2]), NAMES, 0.5)
    alone = draw_detections(image, detections([box], [0.9], [2]), NAMES)
    assert np.array_equal(only_high, alone)
    nothing = draw_detections(image, detections([box], [0.29], [2]), NAMES)
    assert np.array_equal(nothing, image)


def test_ground_truth_is_dashed_and_white():
    image = np.zeros((400, 600, 3), np.uint8)
    out = draw_ground_truth(image, np.array([[100, 100, 500, 300]]), np.array([3]), NAMES)
    edge = (out[100, 100:500] == 255).all(axis=1)
    assert 0.4 < edge.mean() < 0.75
    assert np.abs(np.diff(edge.astype(int))).sum() >= 10  # many dashes
    assert tuple(out[100, 100]) == tuple(out[300, 500]) == (255, 255, 255)


def test_no_boxes_and_broken_boxes_draw_nothing():
    image = np.full((50, 60, 3), 7, np.uint8)
    assert np.array_equal(draw_detections(image, Detections(), NAMES), image)
    nan = [[np.nan, 0, 10, 10], [0, 0, np.inf, 10]]
    assert np.array_equal(draw_boxes(image, nan, ['a', 'b']), image)


def test_errors_name_what_was_given():
    image = np.zeros((50, 60, 3), np.uint8)
    with pytest.raises(ValueError, match=r'uint8 image \[H, W, 3\].*float64 \[50, 60, 3\]'):
        draw_boxes(image.astype(float), [])
    with pytest.raises(ValueError, match='Labels run from 2 to 31 but there are 30 class names'):
        draw_detections(image, detections([[0, 0, 9, 9]] * 2, [0.9, 0.9], [2, 31]), NAMES)
    with pytest.raises(ValueError, match='1 boxes, 2 texts'):
        draw_boxes(image, [[0, 0, 1, 1]], ['a', 'b'])
