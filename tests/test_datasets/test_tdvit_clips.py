"""The augmentation of TDViT's configs: one draw for all frames of a clip."""

import copy

import numpy as np
import pytest
from mmengine.config import Config

from mmdet.datasets.transforms import Pipeline
from mmdet.structures import Clip, Frame

IMAGE = np.random.default_rng(0).integers(0, 255, (180, 320, 3), dtype=np.uint8)


@pytest.mark.parametrize('name', ['imagenet_vid_tdvit', 'imagenet_vid_tdvit_plain'])
def test_frames_of_a_clip_are_changed_alike(name, repo):
    """Five files with one picture: after the pipeline they still hold one picture."""
    config = Config.fromfile(repo / f'configs/_base_/datasets/{name}.py')
    vid, det = config.train_dataloader.dataset.datasets
    assert vid.pipeline == det.pipeline and vid.ref_img_sampler == det.ref_img_sampler
    changes = Pipeline(vid.pipeline[2:-1])  # without reading and packing
    seen = set()
    for seed in range(12):
        frames = [Frame(path=str(i), image=IMAGE.copy(), img_shape=(180, 320)) for i in range(5)]
        clip = changes(Clip(copy.copy(frames)), np.random.default_rng(seed))
        first = clip.frames[0]
        for frame in clip.frames[1:]:
            assert np.array_equal(frame.image, first.image)
            assert (frame.flip, frame.img_shape) == (first.flip, first.img_shape)
        seen.add((first.flip, first.img_shape))
    assert {flip for flip, _ in seen} == {False, True}
    assert (len({shape for _, shape in seen}) == 1) == name.endswith('plain')
