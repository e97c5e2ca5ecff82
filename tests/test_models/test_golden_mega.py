"""MEGA and RDN against what mega.pytorch computes with the same weights (`shared/golden/mega`)."""

import numpy as np
import pytest
import torch
from golden import load_json
from golden_mega import LENGTH, frame, golden_model, matched, prepared
from mmengine.config import Config

from mmdet.plans import make_clip
from mmdet.programs.model_converters.mega import from_mega
from mmdet.registry import MODELS

RUNS = {
    'mega_r50_v12': ('mega_r50', 'mega_r50_c4_1x.py', LENGTH),
    'rdn_base_r50_v12': ('rdn_base_r50', 'rdn_r50_c4_1x.py', 8),
}


@pytest.mark.parametrize(
    ('keys', 'config'),
    [
        ('base_r50', 'faster_rcnn/faster_rcnn_r50_c4_1x.py'),
        ('mega_r50', 'mega/mega_r50_c4_1x.py'),
        ('mega_r101', 'mega/mega_r101_c4_1x.py'),
        ('rdn_base_r50', 'mega/rdn_r50_c4_1x.py'),
        ('rdn_adv_r50', 'mega/rdn_advanced_r50_c4_1x.py'),
    ],
)
def test_converted_names_and_shapes_are_those_of_the_config(shared, repo, keys, config):
    cfg = Config.fromfile(repo / 'configs/vid' / config)
    shapes = load_json(shared / 'golden/mega/keys.json')[keys]
    shapes.pop('rpn.anchor_generator.cell_anchors.0')
    weights = {name: torch.empty(shape, device='meta') for name, shape in shapes.items()}
    converted = from_mega(weights).weights
    with torch.device('meta'):
        own = MODELS.build(cfg.model).state_dict()
    assert {k: v.shape for k, v in converted.items()} == {k: v.shape for k, v in own.items()}


@pytest.mark.slow
@pytest.mark.parametrize('run', RUNS)
def test_every_frame_is_detected_as_there(run, shared, repo):
    keys, config, frames = RUNS[run]
    path, options = repo / 'configs/vid/mega' / config, {'model.legacy': True}
    model, golden = golden_model(shared, path, run, keys, **options)
    state, plan, rng = model.init_state(), model.plan('offline', None), np.random.default_rng(0)
    for t in range(frames):
        clip = make_clip(plan, t, LENGTH, rng, lambda i: frame(shared, i))
        found, _ = model.step(prepared(clip), state)
        strict, loose = matched(golden, t, found)
        assert strict >= 0.97 and loose >= 0.99, (t, strict, loose)
