import torch

from mmdet.models.task_modules import AnchorGenerator
from mmdet.models.task_modules.anchor_generator import MAX_CACHED_SIZES

RATIOS = [0.5, 1.0, 2.0]


def dc5() -> AnchorGenerator:
    return AnchorGenerator(strides=[16], ratios=RATIOS, scales=[4, 8, 16, 32])


def test_many_sizes_do_not_pile_up_and_stay_right():
    generator = dc5()
    for width in list(range(1, 3 * MAX_CACHED_SIZES)) * 2:
        assert len(generator.grid_anchors([(1, width)])[0]) == 12 * width
        assert len(generator._cache) <= MAX_CACHED_SIZES


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
