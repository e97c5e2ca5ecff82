import naive
import numpy as np
import pytest
import torch

from mmdet.core.errors import ConfigError
from mmdet.models.roi_heads import SingleRoIExtractor
from mmdet.models.roi_heads.roi_extractor import boxes_to_rois

# the map below is 9 x 13 cells of 8 pixels: 72 x 104 pixels
BOXES = {
    'inside': [10.3, 8.1, 70.9, 50.2],
    'whole map': [0, 0, 104, 72],
    'over the left and top border': [-30, -20, 25, 30],
    'over the right and bottom border': [80, 50, 140, 110],
    'outside': [200, 150, 260, 190],
    'far beyond on one side': [-500, 20, 600, 40],
    'smaller than a cell': [33.3, 17.2, 35.1, 18.4],
    'no size': [40, 30, 40, 30],
    'no width': [40, 30, 40, 60],
}


def extractor(strides: list[int], sampling_ratio: int, channels: int = 3) -> SingleRoIExtractor:
    layer = dict(type='RoIAlign', output_size=7, sampling_ratio=sampling_ratio)
    return SingleRoIExtractor(layer, out_channels=channels, featmap_strides=strides)


@pytest.mark.parametrize('sampling_ratio', [2, 0])
@pytest.mark.parametrize('box', BOXES.values(), ids=BOXES)
def test_roi_align_equals_a_loop(box, sampling_ratio):
    feature = np.random.default_rng(0).normal(size=(3, 9, 13))
    expected = naive.roi_align(feature, box, stride=8, sampling_ratio=sampling_ratio)
    feats = (torch.tensor(feature[None], dtype=torch.float32),)
    found = extractor([8], sampling_ratio)(feats, boxes_to_rois([torch.tensor([box]).float()]))
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-4)


@pytest.mark.parametrize(
    ('side', 'level'),
    [
        (0, 0),
        (1, 0),
        (111.99, 0),
        (111.99995, 1),
        (112, 1),
        (223.9, 1),
        (224, 2),
        (447, 2),
        (448, 3),
        (1e4, 3),
    ],
)
def test_level_of_a_square(side, level):
    rois = torch.tensor([[0, 0.0, 0.0, side, side]])
    assert extractor([4, 8, 16, 32], 0).levels(rois).tolist() == [level]


def test_each_region_comes_from_its_image_and_level_and_order_is_kept():
    # every map is constant: 10 * level + image
    feats = tuple(
        torch.stack([torch.full((3, 256 // s, 512 // s), 10.0 * i + n) for n in range(2)])
        for i, s in enumerate([4, 8, 16, 32])
    )
    boxes = [
        torch.tensor([[0, 0, 230.0, 230], [10, 10, 30, 30], [0, 0, 500, 240]]),  # levels 2 0 2
        torch.tensor([[20.0, 20, 140, 140, 0.9]])[:, :4],  # level 1
    ]
    found = extractor([4, 8, 16, 32], 0)(feats, boxes_to_rois(boxes))
    assert found.shape == (4, 3, 7, 7)
    assert found[:, 0, 3, 3].tolist() == [20, 0, 20, 11]


def test_rois_number_the_images_also_those_without_boxes():
    rows = boxes_to_rois([torch.ones(2, 5), torch.zeros(0, 4), torch.full((1, 4), 7.0)])
    assert rows.tolist() == [[0, 1, 1, 1, 1]] * 2 + [[2, 7, 7, 7, 7]]


@pytest.mark.parametrize('strides', [[16], [4, 8, 16, 32]])
def test_no_regions(strides):
    feats = tuple(torch.rand(1, 3, 8, 8) for _ in strides)
    assert extractor(strides, 0)(feats, torch.zeros(0, 5)).shape == (0, 3, 7, 7)


def test_regions_stay_float32_under_autocast():
    feature = torch.rand(1, 3, 60, 80)
    # half precision has no odd numbers up there
    rois = torch.tensor([[0, 1001.0, 700.0, 1013.0, 709.0]])
    with torch.autocast('cpu', torch.bfloat16):
        found = extractor([16], 2)((feature.bfloat16(),), rois)
    exact = extractor([16], 2)((feature.bfloat16().float(),), rois)
    assert found.dtype == torch.float32 and torch.equal(found, exact)


def test_unknown_setting():
    with pytest.raises(ConfigError, match=r"`roi_layer` has no key 'sample_num'.*sampling_ratio"):
        SingleRoIExtractor(dict(type='RoIAlign', output_size=7, sample_num=2), 3, [16])
