"""The commands against what 1.x detects on rendered frames, which lie in golden_rendered."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from golden_weights import frames_of, golden_state_dict, matched
from mmengine import Config

import mmdet.models  # noqa: F401
from mmdet.apis import test as run_test
from mmdet.registry import MODELS

REPO = Path(__file__).resolve().parents[2]
DATA = REPO / 'tests/golden_rendered'
# name -> config, factor of the classifier, frames per batch
CASES = {
    'frcnn_r101_dc5': ('faster_rcnn/faster_rcnn_r101_dc5_3x', 3.0, 8),
    'selsa_r50_dc5': ('selsa/selsa_r50_dc5_7x', 3.0, 4),
    'mamba_r101_dc5': ('mamba/mamba_r101_dc5_6x', 3.0, 8),
    'stpn_swint': ('stpn/stpn_swint_adam_9x', 0.6, 1),
}
REFS = dict(num_ref_imgs=14, frame_range=[-7, 7], method='test_with_adaptive_stride')


def config_of(name: str) -> Config:
    cfg = Config.fromfile(REPO / f'configs/vid/{CASES[name][0]}.py')
    detector = cfg.model.get('detector', cfg.model)
    detector.backbone.init_cfg = None
    loader = cfg.test_dataloader
    loader.update(batch_size=CASES[name][2], num_workers=0, persistent_workers=False)
    loader.dataset.update(
        ann_file=f'{DATA}/annotations.json',
        img_prefix=f'{DATA}/frames',
        shuffle_video_frames=False,
        ref_img_sampler=None if name.startswith('frcnn') else REFS,
    )
    loader.dataset.pipeline[1].scale = (288, 176)
    cfg.test_evaluator.ann_file = f'{DATA}/annotations.json'
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_detections_are_those_of_1x(name, tmp_path):
    cfg = config_of(name)
    model = MODELS.build(cfg.model)
    shapes = {k: list(v.shape) for k, v in model.state_dict().items()}
    assert shapes == json.loads((DATA / f'{name}.keys.json').read_text())
    weights = golden_state_dict(model.state_dict(), CASES[name][1])
    torch.save({'meta': {}, 'state_dict': weights}, tmp_path / 'w.pth')
    out = tmp_path / 'r.pkl'
    options = dict(evaluate=False, work_dir=str(tmp_path), device='cpu')
    run_test(cfg, tmp_path / 'w.pth', out=str(out), **options)
    found = pickle.loads(out.read_bytes())
    counts = [matched(e, f) for e, f in zip(frames_of(DATA / f'{name}.npz'), found, strict=True)]
    assert sum(h for h, _ in counts) >= 0.99 * sum(n for _, n in counts) > 2000
    assert min(h / n for h, n in counts) >= 0.9
