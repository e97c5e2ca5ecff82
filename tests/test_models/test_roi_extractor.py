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


@pytest.mark.parametrize('sampling_ratio', [2, 0])
def test_each_region_comes_from_its_image_and_level_and_order_is_kept(sampling_ratio):
    # every map is constant: 10 * level + image
    feats = tuple(
        torch.stack([torch.full((3, 256 // s, 512 // s), 10.0 * i + n) for n in range(2)])
        for i, s in enumerate([4, 8, 16, 32])
    )
    boxes = torch.tensor(
        [
            [[0, 0, 230.0, 230], [10, 10, 30, 30], [0, 0, 500, 240]],  # levels 2 0 2
            [[20, 20, 140, 140], [0, 0, 0, 0], [0, 0, 512, 256]],  # levels 1 0 2
        ]
    )
    found = extractor([4, 8, 16, 32], sampling_ratio)(feats, boxes)
    assert found.shape == (2, 3, 3, 7, 7)
    assert found[0, :, 0, 3, 3].tolist() == [20, 0, 20]
    assert found[1, [0, 2], 0, 3, 3].tolist() == [11, 21]


@pytest.mark.parametrize('sampling_ratio', [2, 0])
def test_regions_of_all_levels_and_images_equal_a_loop(sampling_ratio):
    rng = np.random.default_rng(4)
    strides = [4, 8, 16, 32]
    feats = [rng.normal(size=(2, 3, 128 // s, 160 // s)) for s in strides]
    sides = np.array([[20.0, 130, 300, 60], [500, 8, 240, 110]])  # every level in some image
    low = rng.uniform(-20, 60, (2, 4, 2))
    boxes = np.concatenate([low, low + sides[..., None] * rng.uniform(0.9, 1.1, (2, 4, 2))], 2)
    layer = extractor(strides, sampling_ratio)
    boxes = torch.tensor(boxes).float()
    levels = layer.levels(boxes)
    assert set(levels.flatten().tolist()) == {0, 1, 2, 3}
    found = layer(tuple(torch.tensor(x).float() for x in feats), boxes)
    for i, n in np.ndindex(2, 4):
        level = levels[i, n]
        expected = naive.roi_align(
            feats[level][i], boxes[i, n].numpy(), strides[level], sampling_ratio
        )
        np.testing.assert_allclose(found[i, n].numpy(), expected, atol=2e-4)


def test_rois_number_the_images():
    rows = boxes_to_rois(torch.tensor([[[1.0] * 4] * 2, [[7.0] * 4] * 2]))
    assert rows.tolist() == [[0, 1, 1, 1, 1]] * 2 + [[1, 7, 7, 7, 7]] * 2


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
