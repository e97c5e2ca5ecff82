import naive
import numpy as np
import pytest
import torch

from mmdet.core.errors import ConfigError
from mmdet.models.roi_heads import SingleRoIExtractor

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
    found = extractor([8], sampling_ratio)(feats, torch.tensor([[box]]).float())
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=2e-4)


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
    boxes = torch.tensor([[[0.0, 0.0, side, side]]])
    assert extractor([4, 8, 16, 32], 0).levels(boxes).tolist() == [[level]]


def test_regions_stay_float32_under_autocast():
    feature = torch.rand(1, 3, 60, 80)
    # half precision has no odd numbers up there
    boxes = torch.tensor([[[1001.0, 700.0, 1013.0, 709.0]]])
    with torch.autocast('cpu', torch.bfloat16):
        found = extractor([16], 2)((feature.bfloat16(),), boxes)
    exact = extractor([16], 2)((feature.bfloat16().float(),), boxes)
    assert found.dtype == torch.float32 and torch.equal(found, exact)


@pytest.mark.parametrize(
    ('layer', 'message'),
    [
        (dict(sample_num=2), r"`roi_layer` has no key 'sample_num'.*sampling_ratio"),
        (dict(type='RoIPool'), r"`roi_layer.type` is 'RoIPool'. Known: RoIAlign."),
    ],
)
def test_settings_that_would_be_ignored_are_refused(layer, message):
    with pytest.raises(ConfigError, match=message):
        SingleRoIExtractor(dict(output_size=7, **layer), 3, [16])
