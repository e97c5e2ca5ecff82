import math

import pytest
import torch

from mmdet.models.task_modules import AnchorGenerator
from mmdet.models.task_modules.anchor_generator import MAX_CACHED_SIZES

RATIOS = [0.5, 1.0, 2.0]


def dc5() -> AnchorGenerator:
    return AnchorGenerator(strides=[16], ratios=RATIOS, scales=[4, 8, 16, 32])


def fpn() -> AnchorGenerator:
    return AnchorGenerator(strides=[4, 8, 16, 32, 64], ratios=RATIOS, scales=[8])


def anchor(stride: int, x: int, y: int, ratio: float, scale: float) -> list[float]:
    """One anchor from its definition: area (stride * scale)^2, height / width = ratio."""
    side = stride * scale
    w, h = side / math.sqrt(ratio), side * math.sqrt(ratio)
    return [x * stride - w / 2, y * stride - h / 2, x * stride + w / 2, y * stride + h / 2]


def test_first_anchor_is_wide_and_centred_on_the_corner_of_its_cell():
    first = dc5().grid_anchors([(2, 3)])[0][0]
    expected = [-90.5097 / 2, -45.2548 / 2, 90.5097 / 2, 45.2548 / 2]
    torch.testing.assert_close(first, torch.tensor(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ('generator', 'sizes'),
    [(dc5(), [(3, 5)]), (fpn(), [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)])],
    ids=['dc5', 'fpn'],
)
def test_order_is_row_column_ratio_scale(generator, sizes):
    scales = [4, 8, 16, 32] if generator.num_levels == 1 else [8]
    levels = generator.grid_anchors(sizes)
    for level, stride, (height, width) in zip(levels, generator.strides, sizes, strict=True):
        expected = [
            anchor(stride, x, y, ratio, scale)
            for y in range(height)
            for x in range(width)
            for ratio in RATIOS
            for scale in scales
        ]
        torch.testing.assert_close(level, torch.tensor(expected), atol=1e-3, rtol=1e-6)


@pytest.mark.parametrize(('image', 'count'), [((576, 1008), 27_216), ((608, 800), 22_800)])
def test_number_of_anchors_of_real_sizes(image, count):
    assert len(dc5().grid_anchors([(image[0] // 16, image[1] // 16)])[0]) == count


def test_many_sizes_do_not_pile_up_and_stay_right():
    generator = dc5()
    for width in list(range(1, 3 * MAX_CACHED_SIZES)) * 2:
        assert len(generator.grid_anchors([(1, width)])[0]) == 12 * width
        assert len(generator._cache) <= MAX_CACHED_SIZES


def test_number_of_maps_must_be_that_of_strides():
    with pytest.raises(ValueError):
        fpn().grid_anchors([(4, 4)])


def test_constants_are_no_weights_and_anchors_made_in_testing_serve_training():
    generator = dc5()
    assert generator.state_dict() == {} and len(list(generator.buffers())) == 1
    with torch.inference_mode():
        generator.grid_anchors([(2, 3)])
    assert not generator.grid_anchors([(2, 3)])[0].is_inference()


# ratio first, then size 64, 128, 256, 512: what Detectron computes at stride 16
DETECTRON = [
    [-38, -16, 53, 31], [-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199],
    [-24, -24, 39, 39], [-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263],
    [-14, -36, 29, 51], [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359],
]  # fmt: skip


def test_legacy_anchors_are_those_of_detectron():
    legacy = AnchorGenerator(strides=[16], ratios=RATIOS, scales=[4, 8, 16, 32], legacy=True)
    grid = legacy.grid_anchors([(36, 63)])[0]
    assert len(grid) == 27_216
    assert grid[:12].tolist() == DETECTRON
    shift = torch.tensor([62.0, 35, 62, 35]) * 16
    assert torch.equal(grid[-12:], torch.tensor(DETECTRON) + shift)
