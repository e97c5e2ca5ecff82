"""MEGA and RDN as models: against the original's procedure, in batches, in training."""

import copy

import naive_mega
import numpy as np
import pytest
import torch
from host_waits import CountHostWaits, static_nms
from mmengine.config import Config
from tiny_video_models import video_frames
from tiny_window_models import (
    same_detections,
    tiny_window_model,
    training_window_clip,
    window_clip,
)
from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators.regions import Regions, beside
from mmdet.models.dense_heads.rpn_head import Proposals
from mmdet.models.detections import PendingDetections
from mmdet.models.task_modules import nms
from mmdet.registry import MODELS
from mmdet.structures import Detections

LENGTHS = [1, 5, 11, 30]


def regions_of(model, frames: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores, rows after the ReLU of a frame, computed on its own."""
    clip = window_clip(model, frames, number, mode='causal')
    batch = model.data_preprocessor([clip])['batches'][0]
    with torch.inference_mode():
        feats = model.detector.feats(model.detector.encode(batch.images))
        found = model.regions_of(feats, batch.img_shapes)
    assert found.proposals.valid.all()
    return found.proposals.boxes[0], found.proposals.scores[0], found.rows[0].relu()


def detections(model, frames: Tensor, key: int, boxes: Tensor, rows: Tensor) -> Detections:
    """What the classifier says of rows [P, F]."""
    clip = window_clip(model, frames, key, mode='causal')
    batch = model.data_preprocessor([clip])['batches'][0]
    head = model.detector.roi_head
    with torch.inference_mode():
        logits, deltas = head.bbox_head.fc_cls(rows)[None], head.bbox_head.fc_reg(rows)[None]
        valid = torch.ones(1, len(boxes), dtype=torch.bool)
        found = head.detections(
            logits, deltas, Proposals(boxes[None], valid.float(), valid), batch.img_shapes
        )
    return PendingDetections(found, [clip.key]).get()[0]


@pytest.mark.parametrize('length', LENGTHS)
@pytest.mark.parametrize('method', ['mega', 'rdn'])
def test_one_pass_per_frame_equals_the_original(method, length):
    model = tiny_window_model(method, legacy=True)
    frames, head = video_frames(3, length), model.bbox_head
    cache = {i: regions_of(model, frames, i) for i in range(length)}

    def regions(frame: int, number: int) -> tuple[Tensor, Tensor]:
        boxes, _, rows = cache[int(frame)]
        return boxes[:number], rows[:number]

    sizes = dict(reach=3, proposals=20, base=8, distilled=3)
    local, fcs = head.aggregator.local, head.shared_fcs[1:]
    if method == 'mega':
        order = np.arange(length)
        np.random.RandomState(0).shuffle(order)
        expected = naive_mega.mega(
            regions, local, head.aggregator.get_submodule('global'), fcs, order,
            first_key=int(order[0]), memory_frames=5, num_global=4, **sizes,
        )  # fmt: skip
    else:
        expected = naive_mega.rdn(regions, local, fcs, length, **sizes)
    state = model.init_state()
    with torch.inference_mode():
        for t, (boxes, rows) in enumerate(expected):
            found, _ = model.step(window_clip(model, frames, t), state)
            same_detections(found, detections(model, frames, t, boxes, rows))
            assert len(found) > 3
    assert t == length - 1


@pytest.mark.parametrize('length', LENGTHS)
def test_by_default_every_frame_counts_once(length):
    model = tiny_window_model('mega')
    frames, head = video_frames(4, length), model.bbox_head
    cache = [regions_of(model, frames, i) for i in range(length)]
    first = window_clip(model, frames, 0, seed=7)
    chosen = [f.frame_id for f in first.frames if f.role == 'global']
    assert len(set(chosen)) == min(4, length)

    def of(numbers, best: int) -> Regions:
        boxes, rows = (torch.stack([cache[i][k][:best] for i in numbers])[None] for k in (0, 2))
        return Regions(rows, boxes, torch.ones(1, len(numbers), best, dtype=torch.bool))

    memory: list[list[Regions]] = [[], [], []]
    state = model.init_state()
    with torch.inference_mode():
        for t in range(length):
            window = list(range(max(0, t - 3), min(t + 3, length - 1) + 1))
            key = of([t], 20).flat()
            read = [_joined(bank[-5:]) for bank in memory] if memory[0] else None
            rows, kept = head.aggregator(
                head.shared_fcs[1:], key, of(window, 8), of(chosen, 8).flat(), read
            )
            if t >= 3:
                for bank, refs in zip(memory, kept, strict=True):
                    bank.append(Regions(refs.rows[:, 0], refs.boxes[:, 0], refs.valid[:, 0]))
            found, _ = model.step(window_clip(model, frames, t, seed=7), state)
            same_detections(found, detections(model, frames, t, key.boxes[0], rows[0]))


def _joined(bank: list[Regions]) -> Regions:
    joined = bank[0]
    for write in bank[1:]:
        joined = beside(joined, write)
    return joined


@pytest.mark.parametrize('mode', ['offline', 'causal'])
@pytest.mark.parametrize('method', ['mega', 'rdn'])
def test_videos_and_frames_of_a_batch_do_not_matter(method, mode):
    model = tiny_window_model(method)
    videos = {0: video_frames(0, 9), 5: video_frames(5, 6)}

    def clips(video: int) -> list:
        frames = videos[video]
        return [window_clip(model, frames, t, video, mode) for t in range(len(frames))]

    alone = {}
    for video in videos:
        state = model.init_state(video)
        alone[video] = [model.step(clip, state)[0] for clip in clips(video)]
    states = {video: model.init_state(video) for video in videos}
    a, b = clips(0), clips(5)
    together = []
    for batch in (a[:3] + b[:1], b[1:4] + a[3:4], [a[4], b[4], a[5], b[5]], a[6:]):
        together += model.step_batch(batch, [states[c.key.video_id] for c in batch])
    order = [*a[:3], *b[:1], *b[1:4], a[3], a[4], b[4], a[5], b[5], *a[6:]]
    for clip, found in zip(order, together, strict=True):
        same_detections(found, alone[clip.key.video_id][clip.key.frame_id])


def test_each_image_passes_the_detector_once(monkeypatch):
    model = tiny_window_model('mega')
    frames, counts = video_frames(1, 12), []
    encode = model.detector.encode
    monkeypatch.setattr(model.detector, 'encode', lambda x: (counts.append(len(x)), encode(x))[1])
    state = model.init_state()
    for t in range(12):
        clip = window_clip(model, frames, t)
        before = sum(counts)
        model.step(clip, state)
        # the first clip: four frames of the window, four global ones, some of them the same
        wanted = {f.frame_id for f in clip.frames[1:]}
        assert sum(counts) - before == len(wanted) == (len(wanted) if t == 0 else int(t < 9))


@pytest.mark.parametrize('method', ['mega', 'rdn'])
def test_nothing_waits_between_a_frame_and_its_results(method, monkeypatch):
    monkeypatch.setattr(nms, 'sorted_nms', static_nms)
    model, frames = tiny_window_model(method), video_frames(1, 8)
    state = model.init_state()
    for t in range(8):
        (batch,) = model.data_preprocessor([window_clip(model, frames, t)])['batches']
        with torch.inference_mode(), CountHostWaits() as waits:
            found = model.detect_batch(batch, [state])
        assert t == 0 or waits.total == 0, waits.waits
        assert found.valid.any()


def test_the_memory_of_the_configs_is_as_long_as_the_window(repo):
    for window in (25, 7):
        cfg = Config.fromfile(repo / 'configs/vid/mega/mega_r50_c4_1x.py')
        cfg.model.window = window
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        assert model.regions.memory_frames == window


def test_a_video_starts_with_a_clip_of_the_plan():
    model = tiny_window_model('mega')
    clip = window_clip(model, video_frames(1, 12), 4)
    with pytest.raises(ValueError, match='one by one'):
        model.step(clip, model.init_state())


# ---- training


def losses(model, clips) -> dict[str, Tensor]:
    model.train()
    return model(**model.data_preprocessor(clips, training=True), mode='loss')


def total(values: dict[str, Tensor]) -> Tensor:
    return sum(v for k, v in values.items() if 'loss' in k)


UNLIMITED = {f'detector.train_cfg.{stage}.sampler.num': 100_000 for stage in ('rpn', 'rcnn')}


@pytest.mark.parametrize('method', ['mega', 'rdn'])
def test_every_weight_gets_a_gradient(method):
    model = tiny_window_model(method)
    total(losses(model, [training_window_clip(model)])).backward()
    for name, parameter in model.named_parameters():
        # shifts all logits of a head alike
        if not name.endswith('.k.bias'):
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_gradient_flows_to_local_and_global_frames_and_not_to_memory_frames():
    model = tiny_window_model('mega', **UNLIMITED)
    clip = training_window_clip(model, key=29)
    roles = {role: {clip.row_of(i) for i in clip.places(role)} for role in
             ('key', 'local', 'memory', 'global')}  # fmt: skip
    batch = model.data_preprocessor([clip], training=True)['batches'][0]
    batch.images.requires_grad_()
    model.train()
    total(model([batch], mode='loss')).backward()
    touched = {i for i, g in enumerate(batch.images.grad) if g.abs().max() > 0}
    assert touched == roles['key'] | roles['local'] | roles['global']
    assert roles['memory'] - touched


def test_memory_frames_change_the_loss():
    model = tiny_window_model('mega', **UNLIMITED)
    clip = training_window_clip(model, key=29)
    before = total(losses(model, [clip]))
    only_memory = {clip.row_of(i) for i in clip.places('memory')} - {
        clip.row_of(i) for i in clip.places('key', 'local', 'global')
    }
    clip.images = clip.images.clone()
    for row in only_memory:
        clip.images[row] = 255 - clip.images[row]
    after = total(losses(model, [clip]))
    assert (before - after).abs() > 1e-4


@pytest.mark.parametrize('method', ['mega', 'rdn'])
def test_a_batch_of_two_clips_is_the_mean_of_both(method):
    model = tiny_window_model(method, **UNLIMITED)
    clips = [training_window_clip(model, seed=s, objects=s + 1) for s in (0, 1)]
    single = [losses(model, [clip]) for clip in clips]
    for name, value in losses(model, clips).items():
        if 'loss' in name:
            expected = (single[0][name] + single[1][name]) / 2
            torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('method', ['mega', 'rdn'])
def test_an_image_is_computed_once_and_trained_on(method):
    model = tiny_window_model(method)
    clip = training_window_clip(model, image=True)
    assert len(clip.images) == 1 and len(clip.frames) == (8 if method == 'mega' else 3)
    total(losses(model, [clip])).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize('method', ['mega', 'rdn'])
def test_one_clip_is_learned(method):
    model = tiny_window_model(method)
    clip = training_window_clip(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    torch.manual_seed(0)
    history = []
    for _ in range(15):
        value = total(losses(model, [copy.deepcopy(clip)]))
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        history.append(float(value))
    assert np.isfinite(history).all() and np.mean(history[-3:]) < 0.7 * np.mean(history[:3])


# ---- configs


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'window': 6}, 'odd'),
        ({'num_global': 0}, 'at least one global'),
        ({'detector.roi_head.bbox_head.topk': 2}, 'distilled=3'),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_window_model('mega', **changes)


def test_other_contexts_are_refused():
    pixels = dict(type='PixelMemory', in_channels=32, num_attention_blocks=4)
    with pytest.raises(ConfigError, match='pixel_memory'):
        tiny_window_model('mega', pixel_memory=pixels, **{'detector.backbone.out_indices': (3,)})


@pytest.mark.parametrize('method', ['mega', 'rdn'])
def test_half_precision_stays_near(method):
    frames = video_frames(2, 4)
    model, half = tiny_window_model(method), tiny_window_model(method)
    half.prepare(torch.bfloat16)
    positions = [m.pos for m in half.modules() if getattr(m, 'pos', None) is not None]
    assert positions and all(layer.weight.dtype == torch.float32 for layer in positions)
    states = model.init_state(), half.init_state()
    for t in range(4):
        full, low = (
            m.step(window_clip(m, frames, t), s)[0]
            for m, s in zip((model, half), states, strict=True)
        )
        assert low.boxes.isfinite().all() and len(low) > 3
        assert abs(float(full.scores[0] - low.scores[0])) < 0.2  # random weights exaggerate


def test_a_sampler_of_references_is_refused():
    with pytest.raises(ConfigError, match='ref_img_sampler=None'):
        tiny_window_model('rdn').plan('offline', dict(frame_range=3, method='uniform'))


def test_the_head_of_the_other_method_is_refused():
    with pytest.raises(ConfigError, match='RDNAggregator'):
        tiny_window_model('mega', type='RDN')
