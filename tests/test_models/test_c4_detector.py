"""The C4 detector of Detectron against mega.pytorch; its legacy options have tests of their own."""

import pytest
import torch
from golden_mega import LENGTH, assert_first, frame, golden_model, matched, prepared
from mmengine.config import Config

from mmdet.registry import MODELS
from mmdet.structures import Clip

CONFIG = 'configs/vid/faster_rcnn/faster_rcnn_r50_c4_1x.py'


@pytest.mark.parametrize(
    ('config', 'original'),
    [
        ('faster_rcnn/faster_rcnn_r101_c4_1x.py', 155_864_471),
        ('mega/mega_r50_c4_1x.py', 61_185_735),
        ('mega/mega_r101_c4_1x.py', 172_666_311),
    ],
)
def test_parameters_are_those_of_the_original(repo, config, original):
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(repo / 'configs/vid' / config).model)
    norms = sum(p.numel() for n, p in model.named_parameters() if 'bn' in n or 'downsample.1' in n)
    boxes_of_background = 4 * (1024 + 1)
    total = sum(p.numel() for p in model.parameters())
    assert total - norms + boxes_of_background == original
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert not any('bn' in n or 'downsample.1' in n or 'layer1' in n for n in trained)
    assert any('backbone.layer4' in n for n in trained)


def test_parts_of_a_frame_equal_the_original(shared, repo):
    model, golden = golden_model(shared, repo / CONFIG, 'base_r50_v12', 'base_r50')
    batch = model.data_preprocessor([prepared(Clip([frame(shared, 1)]))])['batches'][0]
    with torch.inference_mode():
        maps = model.encode(batch.images)
        assert_first(golden, 'f1.feat', maps[0], 1e-4)
        feats = model.feats(maps)
        proposals = model.propose(feats, batch.img_shapes)
        assert proposals.valid.all()
        boxes, scores = golden['f1.rpn.boxes'], golden['f1.rpn.objectness']
        torch.testing.assert_close(proposals.boxes[0], torch.tensor(boxes), atol=0.02, rtol=0)
        torch.testing.assert_close(proposals.scores[0], torch.tensor(scores), atol=1e-4, rtol=0)
        rows = model.roi_head.roi_feats(feats, proposals.boxes)
        logits, deltas, layers = model.roi_head.bbox_head.classify(rows)
        assert_first(golden, 'f1.x_final', layers[-1][0].relu(), 1e-3)
        # background is last here; the coder's factors lie in its stds
        for found, expected in (
            (logits[0], torch.tensor(golden['f1.cls_logits']).roll(-1, 1)),
            (deltas[0, :24], torch.tensor(golden['f1.bbox_deltas'])[:, 4:]),
        ):
            assert (found - expected).abs().max() < 2e-3 * expected.abs().max()


@pytest.mark.slow
def test_detections_of_all_frames_equal_the_original(shared, repo):
    model, golden = golden_model(shared, repo / CONFIG, 'base_r50_v12', 'base_r50')
    for number in range(LENGTH):
        found, _ = model.step(prepared(Clip([frame(shared, number)])), model.init_state())
        strict, loose = matched(golden, number, found)
        assert strict >= 0.97 and loose >= 0.99, (number, strict, loose)
