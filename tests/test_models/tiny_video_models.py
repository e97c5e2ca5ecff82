"""Video models so small that a step takes milliseconds, and videos for them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from mmdet.models.base import BaseVideoDetector
from mmdet.models.batch import ClipBatch
from mmdet.plans import Plan, make_clip
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections, Frame

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_/models'
SIZE = (48, 64)  # height, width
# with fewer, the backward pass of torch 2.14's strided 1x1 convolution (channels last, on a CPU)
# writes outside of its memory
CHANNELS = 12
PIXELS = dict(type='PixelMemory', in_channels=96, num_attention_blocks=4, stride=8)
ADAPTIVE = dict(num_ref_imgs=14, frame_range=[-7, 7], method='test_with_adaptive_stride')
NAMED = ['selsa', 'mamba', 'pixel', 'both', 'stpn', 'stpn_selsa']
# parts that no registered name stands for
COMPOSED = ['mamba_on_swin', 'selsa_with_prompts', 'selsa_with_pixels']
METHODS = [*NAMED, *COMPOSED, 'tdvit']
STAGES = dict(method='stagewise_uniform', frame_range=[2, 2])  # of the two stages of a tiny TDViT


def tiny_config(method: str) -> dict:
    """The config of one of METHODS or `selsa_on_tdvit`, but narrow; `mamba` is the instance level
    alone."""
    if method in COMPOSED:
        return composed_config(method)
    if method.endswith('tdvit'):
        return tiny_tdvit_config(selsa=method == 'selsa_on_tdvit')
    if method.startswith('stpn'):
        return tiny_stpn_config(method)
    cfg = Config.fromfile(CONFIGS / f'{"selsa" if method == "selsa" else "mamba"}_r18_narrow.py')
    model = cfg.model
    model.detector.backbone.update(base_channels=CHANNELS, norm_eval=True)
    model.detector.neck.in_channels = [8 * CHANNELS]
    head = model.detector.roi_head.bbox_head
    head.update(fc_out_channels=32)
    head.aggregator.update(in_channels=32, num_attention_blocks=4)
    if method in ('pixel', 'both'):
        model.pixel_memory = dict(PIXELS)
    if method == 'pixel':
        model.detector.roi_head.type = 'StandardRoIHead'
        head.type = 'Shared2FCBBoxHead'
        head.pop('topk'), head.pop('aggregator')
    return model


def composed_config(method: str) -> dict:
    if method == 'selsa_with_pixels':
        return Config(dict(tiny_config('selsa').to_dict(), pixel_memory=dict(PIXELS)))
    model = tiny_stpn_config('stpn_selsa')
    if method == 'selsa_with_prompts':
        model.type = 'SELSA'
        return model
    model.type = 'MAMBA'
    model.pop('prompt_predictor')
    model.detector.backbone.update(type='SwinTransformer')
    model.detector.backbone.pop('num_tokens')
    roi_head = model.detector.roi_head
    roi_head.type, roi_head.bbox_head.type = 'MambaRoIHead', 'MambaBBoxHead'
    roi_head.bbox_head.topk = 20
    roi_head.bbox_head.aggregator.type = 'MambaAggregator'
    return model


def tiny_stpn_config(method: str) -> dict:
    model = Config.fromfile(CONFIGS / f'{method}_swint.py').model
    detector = model.detector
    detector.backbone.update(
        embed_dims=16, depths=(2, 2), num_heads=(1, 2), out_indices=(0, 1), init_cfg=None
    )
    detector.backbone.drop_path_rate = 0.0
    detector.neck.update(in_channels=[16, 32], out_channels=16, num_outs=3)
    detector.rpn_head.update(in_channels=16, feat_channels=16)
    detector.rpn_head.anchor_generator.strides = [4, 8, 16]
    detector.roi_head.bbox_roi_extractor.update(out_channels=16, featmap_strides=[4, 8])
    detector.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32)
    if method == 'stpn_selsa':
        detector.backbone.window_size = 3
        detector.roi_head.bbox_head.aggregator.update(in_channels=32, num_attention_blocks=4)
    detector.test_cfg.rpn.max_per_img = 30
    model.prompt_predictor.update(embed_dims=32, prompt_dims=16)
    return model


def tiny_tdvit_config(selsa: bool = False, **backbone) -> dict:
    """TDViT of two stages, alone or under SELSA; `backbone`: changed settings."""
    model = Config.fromfile(CONFIGS / f'{"selsa_tdvit_t" if selsa else "tdvit_t"}.py').model
    detector = model.detector
    detector.backbone.update(
        embed_dims=16, depths=(2, 2), num_heads=(1, 2), out_indices=(0, 1), dilations=(2, 3),
        window_size=3, drop_path_rate=0.0, init_cfg=None,
    )  # fmt: skip
    detector.backbone.update(backbone)
    detector.neck.update(in_channels=[16, 32], out_channels=16, num_outs=3)
    detector.rpn_head.update(in_channels=16, feat_channels=16)
    detector.rpn_head.anchor_generator.strides = [4, 8, 16]
    detector.roi_head.bbox_roi_extractor.update(out_channels=16, featmap_strides=[4, 8])
    head = detector.roi_head.bbox_head
    head.update(in_channels=16, fc_out_channels=32)
    if selsa:
        head.update(topk=5)
        head.aggregator.update(in_channels=32, num_attention_blocks=4)
    detector.test_cfg.rpn.max_per_img = 30
    return model


def tiny_model(method: str, **changes) -> BaseVideoDetector:
    """In eval mode, with random weights that give a spread of scores."""
    return random_model(dict(tiny_config(method), **changes))


def random_model(config: dict) -> BaseVideoDetector:
    torch.manual_seed(0)
    model = MODELS.build(config).eval()
    for name, weight in model.named_parameters():
        if name.endswith(('fc_cls.weight', 'rpn_cls.weight', 'rpn_reg.weight')):
            torch.nn.init.normal_(weight, std=0.2)
        if name.endswith('bn2.weight'):  # zero at the start, which would cut the branch off
            torch.nn.init.ones_(weight)
    return model


def video_frames(video: int, length: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """Frames [length, H, W, 3] of a scene that moves, different for every video."""
    rng = np.random.default_rng(video)
    scene = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
    frames = [np.roll(scene, 3 * i, axis=1) for i in range(length)]
    return torch.from_numpy(np.stack(frames))


def clip_of_frames(
    video: int, frames: torch.Tensor, ids: list[int], roles: list[str] | None = None
) -> Clip:
    """The packed clip of frame `ids[0]` with the others as references."""
    plan = zip(roles or ['ref'] * (len(ids) - 1), ids[1:], strict=True)
    return planned_clip(video, frames, ids[0], lambda *_: list(plan))


def planned_clip(video: int, frames: torch.Tensor, key: int, plan: Plan) -> Clip:
    """The packed clip of a key frame and what a plan gives it; every frame has an image."""
    shape = tuple(frames.shape[1:3])

    def frame_of(i: int) -> Frame:
        return Frame(
            path=f'video {video} frame {i}',
            image_id=1000 * video + i,
            video_id=video,
            frame_id=i,
            video_length=len(frames),
            ori_shape=shape,
            img_shape=shape,
        )

    clip = make_clip(plan, key, len(frames), np.random.default_rng(key), frame_of)
    clip.images = frames[[frame.frame_id for frame in clip.frames]]
    return clip


def packed_once(clip: Clip) -> Clip:
    """The clip with every distinct frame once."""
    ids = [frame.frame_id for frame in clip.frames]
    distinct = list(dict.fromkeys(ids))
    frames = [replace(frame) for frame in clip.frames]
    rows = [distinct.index(i) for i in ids]
    return Clip(frames, images=clip.images[[ids.index(i) for i in distinct]], rows=rows)


def planned_clips(
    model: BaseVideoDetector, video: int, length: int, sampler: dict, mode: str = 'offline'
) -> list[Clip]:
    """All clips of a video, as a model plans them."""
    frames, plan = video_frames(video, length), model.plan(mode, sampler)
    return [planned_clip(video, frames, i, plan) for i in range(length)]


def adaptive_clips(
    model: BaseVideoDetector, video: int, length: int, num_refs: int = 14
) -> list[Clip]:
    """All clips of a video, the first with references spread over it."""
    sampler = dict(ADAPTIVE, num_ref_imgs=num_refs, frame_range=[0, num_refs])
    return planned_clips(model, video, length, sampler)


def training_clips(
    model: BaseVideoDetector, count: int, size: tuple[int, int] = SIZE, num_refs: int = 2
) -> list[Clip]:
    """Clips of a key frame with two boxes and `num_refs` references around it."""
    method = 'uniform' if num_refs % 2 else 'bilateral_uniform'
    sampler = dict(num_ref_imgs=num_refs, frame_range=2, method=method)
    if model.temporal is not None:
        sampler = dict(method='combined', samplers=[STAGES, sampler]) if model.regions else STAGES
    plan = model.plan('train', sampler)
    clips = [planned_clip(video, video_frames(video, 5, size), 2, plan) for video in range(count)]
    for clip in clips:
        clip.key.boxes = np.array([[4, 6, 30, 28], [20, 10, 60, 44]], np.float32)
        clip.key.labels = np.array([3, 7])
    return clips


def training_batch(model: BaseVideoDetector, clips: list[Clip]) -> ClipBatch:
    return model.data_preprocessor(clips, training=True)['batches'][0]


def losses_of(model: BaseVideoDetector, clips: list[Clip]) -> dict[str, torch.Tensor]:
    return model(**model.data_preprocessor(clips, training=True))


def total(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return sum(value for name, value in losses.items() if 'loss' in name)


def unlimited(cfg: dict) -> dict:
    """The config without random choices in training."""
    for stage in ('rpn', 'rcnn'):
        cfg.detector.train_cfg[stage].sampler.num = 1_000_000
    if cfg.get('pixel_memory'):
        cfg.pixel_memory.train_cells = 1_000_000
    return cfg


def run(model: BaseVideoDetector, clips: list[Clip], seed: int = 0) -> list[Detections]:
    """Detections of a whole video with a fresh state."""
    state = model.init_state(video_id=clips[0].key.video_id, seed=seed)
    return [model.step(clip, state)[0] for clip in clips]


def assert_same(a: Detections, b: Detections) -> None:
    assert len(a) == len(b) > 0
    assert torch.equal(a.boxes, b.boxes)
    assert torch.equal(a.scores, b.scores)
    assert torch.equal(a.labels, b.labels)
