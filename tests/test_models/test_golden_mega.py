"""MEGA and RDN against what mega.pytorch computes with the same weights (`shared/golden/mega`)."""

import numpy as np
import pytest
import torch
from golden import load_json
from golden_mega import LENGTH, assert_first, frame, golden_model, matched, prepared
from mmengine.config import Config
from torch import Tensor

from mmdet.models.aggregators import MegaAggregator, RDNAggregator
from mmdet.models.aggregators.relation import Relation
from mmdet.plans import make_clip
from mmdet.programs.model_converters.mega import from_mega
from mmdet.registry import MODELS
from mmdet.structures import Clip

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


@pytest.fixture(scope='module', params=RUNS)
def run(request, shared, repo):
    """The model of a run, its golden file, its clips as they are asked for."""
    keys, config, frames = RUNS[request.param]
    config = repo / 'configs/vid/mega' / config
    options = {'model.legacy': True}
    model, golden = golden_model(shared, config, request.param, keys, **options)
    plan = model.plan('offline', None)

    def clip(t: int) -> Clip:
        rng = np.random.default_rng(0)
        return prepared(make_clip(plan, t, LENGTH, rng, lambda i: frame(shared, i)))

    return model, golden, clip, frames


@pytest.fixture
def relations(run, monkeypatch) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Query rows, keys, results of every relation, in the order of the calls."""
    calls, forward = [], Relation.forward

    def recorded(self, query, keys, *others):
        result = forward(self, query, keys, *others)
        calls.append((query[0], keys[0], result[0]))
        return result

    monkeypatch.setattr(Relation, 'forward', recorded)
    return calls


@pytest.mark.slow
def test_every_frame_and_the_parts_of_the_first_ones(run, relations):
    model, golden, clip, frames = run
    state, parts = model.init_state(), 3 if model.num_global else 2
    check = {MegaAggregator: mega_parts, RDNAggregator: rdn_parts}[model.aggregator]
    for t in range(frames):
        found, _ = model.step(clip(t), state)
        strict, loose = matched(golden, t, found)
        assert strict >= 0.97 and loose >= 0.99, (t, strict, loose)
        if t < parts:
            check(golden, f'f{t}', relations)
        relations.clear()


def mega_parts(golden: dict, name: str, calls: list) -> None:
    """The original enhances the window twice, all of it and the distilled part."""
    refs, key, *stages = calls
    for number, (query, _, result) in enumerate((key, refs)):
        # its window begins with the oldest frame, here a frame has its slot
        if number == 0:
            assert_first(golden, f'{name}.global{number}.in', query, 1e-3)
            assert_first(golden, f'{name}.global{number}.out', query + result, 1e-3)
        else:
            statistics(golden, f'{name}.global{number}.out', query + result)
    statistics(golden, f'{name}.ref_feats', refs[0])
    query, _, result = stages[-1]
    assert_first(golden, f'{name}.x_final', query + result, 2e-3)
    # what left the window, at every stage
    for number, width in enumerate((75, 15, 15)):
        if f'{name}.stage{number}.mem_feats.shape' not in golden:
            continue
        kept = int(golden[f'{name}.stage{number}.mem_feats.shape'][0])
        memory = stages[number][1][-25 * width :]
        steps = kept // width
        # frame t - 12 of the window lies in slot (t - 12) mod 25 of the memory, from -12 on
        slots = [(step - 12) % 25 for step in range(steps)]
        rows = memory.unflatten(0, (25, width))[slots].flatten(0, 1)
        assert_first(golden, f'{name}.stage{number}.mem_feats', rows, 2e-3)


def rdn_parts(golden: dict, name: str, calls: list) -> None:
    for number, (query, keys, result) in enumerate(calls):
        assert_first(golden, f'{name}.stage{number}.in', query, 2e-3)
        assert_first(golden, f'{name}.stage{number}.att', result, 2e-3)
        statistics(golden, f'{name}.stage{number}.ref', keys)


def statistics(golden: dict, name: str, rows: Tensor) -> None:
    """Mean, deviation and range, which do not depend on the order of the frames."""
    assert tuple(rows.shape) == tuple(golden[f'{name}.shape'])
    found = torch.stack([rows.mean(), rows.std(), rows.abs().mean(), rows.min(), rows.max()])
    expected = torch.tensor(golden[f'{name}.stat'])
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-3)
