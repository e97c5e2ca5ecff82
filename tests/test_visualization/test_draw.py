"""Drawing: stable colours, labels inside the image, the input untouched."""

import itertools

import cv2
import numpy as np
import pytest
import torch

from mmdet.structures import Detections
from mmdet.visualization import class_color, draw_boxes, draw_detections, draw_ground_truth
from mmdet.visualization.draw import Scale
from mmdet.visualization.palette import text_color
from mmdet.visualization.text import fit_text, put_text, text_mask

SIZES = [(128, 192), (720, 1280), (1080, 1920)]
NAMES = [f'class_{i}' for i in range(30)]


def detections(boxes, scores, labels) -> Detections:
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.long),
    )


def lab(color) -> np.ndarray:
    """CIELAB by OpenCV, independent of the OKLab the palette is made in."""
    return cv2.cvtColor(np.float32([[color]]) / 255, cv2.COLOR_BGR2LAB)[0, 0]


def test_colours_are_far_apart_and_never_change():
    colors = [class_color(i) for i in range(30)]
    distances = [np.linalg.norm(lab(a) - lab(b)) for a, b in itertools.combinations(colors, 2)]
    assert min(distances) > 15  # about 2.3 is just noticeable
    # videos made before an update must keep their colours
    assert colors[:3] == [(230, 49, 237), (4, 239, 4), (22, 116, 169)]
    assert class_color(64) == class_color(0)


@pytest.mark.parametrize('index', range(30))
def test_label_text_contrasts_with_its_background(index):
    def luminance(color):
        c = np.array(color[::-1]) / 255
        c = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]

    pair = sorted([luminance(class_color(index)), luminance(text_color(class_color(index)))])
    assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5  # WCAG 2, level AA


@pytest.mark.parametrize('shape', SIZES)
def test_detection_is_drawn_in_its_class_colour_on_a_copy(shape):
    height, width = shape
    image = np.full((height, width, 3), 90, np.uint8)
    before = image.copy()
    box = [width * 0.25, height * 0.25, width * 0.75, height * 0.75]
    out = draw_detections(image, detections([box], [0.9], [4]), NAMES)
    assert np.array_equal(image, before)
    assert out.shape == image.shape and out.dtype == np.uint8 and not np.shares_memory(out, image)
    right_edge = out[height // 2, round(box[2])]
    assert tuple(right_edge) == class_color(4)
    assert (out[height // 2, width // 2] == 90).all()  # the object itself stays visible


@pytest.mark.parametrize('shape', SIZES)
@pytest.mark.parametrize('where', ['top left', 'bottom right', 'whole', 'outside'])
def test_the_whole_label_lies_inside_the_image(shape, where):
    """The filled box of the label has the same area wherever the object is."""
    height, width = shape
    boxes = {
        'top left': [0, 0, width * 0.3, height * 0.4],
        'bottom right': [width * 0.7, height * 0.6, width - 1, height - 1],
        'whole': [0, 0, width - 1, height - 1],
        'outside': [-50, -50, width * 0.2, height * 0.4],
    }
    image = np.zeros((height, width, 3), np.uint8)
    color = class_color(7)
    without = draw_boxes(image, [boxes[where]], colors=[color])
    label = draw_boxes(image, [boxes[where]], ['class_7 0.50'], [color]) != without
    rows, columns = np.nonzero(label.any(axis=2))
    text_height, text_width = text_mask('class_7 0.50', Scale.of(image).font).shape
    # what the box's own lines already covered is not counted as changed
    assert np.ptp(rows) + 1 >= text_height * 0.75
    assert np.ptp(columns) + 1 >= text_width


def test_labels_of_neighbours_do_not_cover_each_other():
    image = np.zeros((720, 1280, 3), np.uint8)
    boxes = [[300, 300, 600, 600], [305, 303, 610, 590], [310, 298, 605, 610]]
    colors = [class_color(i) for i in range(3)]
    texts = ['domestic_cat 0.91', 'dog 0.85', 'fox 0.50']
    out = draw_boxes(image, boxes, texts, colors)
    for text, color in zip(texts, colors, strict=True):
        area = (out == color).all(axis=2).sum()
        mask = text_mask(text, Scale.of(image).font)
        assert area > (mask == 0).sum()  # its background is there, uncovered


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


def test_text_is_cut_at_the_border_and_shortened_to_a_width():
    image = np.zeros((20, 40, 3), np.uint8)
    for left, top in ((-5, -3), (35, 15), (100, 100), (-500, 0)):
        put_text(image, 'gx', left, top, 12, (255, 255, 255))
    assert image.any()
    long = 'a_very_long_class_name 0.99'
    assert fit_text(long, 12, 1000) == long
    short = fit_text(long, 12, 60)
    assert short.endswith('…') and text_mask(short, 12).shape[1] <= 60
    assert fit_text(long, 12, 2) == ''
