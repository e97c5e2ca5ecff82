"""Video models so small that a step takes milliseconds, and videos for them."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict

from mmdet.models.base import BaseVideoDetector
from mmdet.models.batch import ClipBatch
from mmdet.models.vid.video_model import VideoModel
from mmdet.models.vid.window_model import WindowModel
from mmdet.plans import Plan, make_clip
from mmdet.registry import MODELS
from mmdet.structures import Clip, Detections, Frame

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SIZE = (48, 64)  # height, width
# with fewer, torch 2.14's backward pass of a strided 1x1 convolution writes outside of its memory
CHANNELS = 12
PIXELS = dict(type='PixelMemory', in_channels=8 * CHANNELS, num_attention_blocks=4, stride=8)
ADAPTIVE = dict(num_ref_imgs=14, frame_range=[-7, 7], method='test_with_adaptive_stride')
WINDOW = dict(num_ref_imgs=2, frame_range=[-1, 1], method='test_with_fix_stride')
STAGES = dict(method='stagewise_uniform', frame_range=[2, 2])  # of the two stages of a tiny TDViT
DETECTORS = {  # of single frames
    'faster_rcnn': '_base_/models/faster_rcnn_r18_narrow',
    'faster_rcnn_fpn': '_base_/models/faster_rcnn_swint_fpn',
}
NAMED = {
    'selsa': '_base_/models/selsa_r18_narrow',
    'mamba': '_base_/models/mamba_r18_narrow',  # the instance level alone
    'pixel': '_base_/models/mamba_pixel_r18_narrow',
    'both': '_base_/models/mamba_full_r18_narrow',
    'stpn': '_base_/models/stpn_swint',
    'stpn_selsa': '_base_/models/stpn_selsa_swint',
    'tdvit': '_base_/models/tdvit_t',
    'selsa_on_tdvit': '_base_/models/selsa_tdvit_t',
    'mamba_on_swin': 'vid/mamba/mamba_swint_fpn_3x',
}
RELATIONS = {'mega': '_base_/models/mega_r50_c4', 'rdn': '_base_/models/rdn_r50_c4'}


def methods() -> list[str]:
    """Every base config that puts other parts together than those before it, but for RELATIONS, and
    two of which we have no config."""
    names = [*NAMED, 'selsa_with_prompts', 'selsa_with_pixels']
    found = {parts(tiny_config(name)): name for name in names}
    for path in sorted((CONFIGS / '_base_/models').glob('*.py')):
        model = Config.fromfile(path).model
        kind = MODELS.get(model.type)
        if issubclass(kind, VideoModel) and not issubclass(kind, WindowModel):
            found.setdefault(parts(model), f'_base_/models/{path.stem}')
    return list(found.values())


def parts(model: Config) -> tuple:
    names, detector = ('prompt_predictor', 'pixel_memory'), model.detector
    own = [model, *(model.get(name) for name in names), detector.backbone, detector.roi_head]
    return tuple(part and part['type'] for part in own)


def tiny_config(method: str, options: dict | None = None) -> ConfigDict:
    """The model config of one of `methods` or DETECTORS, but narrow; `options` replace what lies
    under their dotted names."""
    model = narrow_config(method)
    for name, value in (options or {}).items():
        *path, last = name.split('.')
        functools.reduce(getattr, path, model)[last] = value
    return model


def narrow_config(method: str) -> ConfigDict:
    if method == 'selsa_with_prompts':
        return ConfigDict(narrow_config('stpn_selsa'), type='SELSA')
    if method == 'selsa_with_pixels':
        return ConfigDict(narrow_config('selsa'), pixel_memory=dict(PIXELS))
    path = {**DETECTORS, **NAMED, **RELATIONS}.get(method, method)
    model = Config.fromfile(CONFIGS / f'{path}.py').model
    detector = model.get('detector', model)
    if method in RELATIONS:
        return narrow_c4(model)
    if 'depth' in detector.backbone:
        backbone = detector.backbone
        backbone.update(depth=18, base_channels=CHANNELS, norm_eval=True, init_cfg=None)
        detector.neck.in_channels = [CHANNELS * 2**i for i in backbone.out_indices]
    else:
        narrow_swin(detector)
    head = detector.roi_head.bbox_head
    head.fc_out_channels = 32
    if 'aggregator' in head:
        head.aggregator.update(in_channels=32, num_attention_blocks=4)
    if 'topk' in head:
        head.topk = 10
    if 'prompt_predictor' in model:
        model.prompt_predictor.update(embed_dims=32, prompt_dims=16)
    if 'pixel_memory' in model:
        model.pixel_memory = dict(PIXELS)
    detector.test_cfg.rpn.max_per_img = 20
    return model


def narrow_c4(model: ConfigDict) -> ConfigDict:
    """A window of 7 frames; with MEGA 4 global ones and a memory of 5."""
    model.update(dict(num_global=4, memory_frames=5) if model.type == 'MEGA' else {}, window=7)
    model.data_preprocessor.std = (58.0, 57.0, 57.0)
    detector, head = model.detector, model.detector.roi_head.bbox_head
    detector.backbone.update(
        depth=18, base_channels=CHANNELS, norm_eps=1e-5, frozen_stages=-1, norm_frozen=False,
        init_cfg=None,
    )  # fmt: skip
    detector.neck.update(in_channels=[8 * CHANNELS], out_channels=8)
    detector.rpn_head.update(in_channels=4 * CHANNELS, feat_channels=16)
    detector.rpn_head.anchor_generator.scales = [0.5, 1, 2]
    detector.roi_head.bbox_roi_extractor.out_channels = 8
    head.update(in_channels=8, fc_out_channels=32, topk=8)
    head.aggregator.update(in_channels=32, num_attention_blocks=4, distilled=3)
    detector.test_cfg.rpn.max_per_img = detector.train_cfg.rpn_proposal.max_per_img = 20
    return model


def narrow_swin(detector: Config) -> None:
    """Of two stages, with a pyramid of three levels."""
    detector.backbone.update(
        embed_dims=16, depths=(2, 2), num_heads=(1, 2), out_indices=(0, 1), window_size=3,
        drop_path_rate=0.0, init_cfg=None,
    )  # fmt: skip
    if detector.backbone.type == 'TDViTTransformer':
        detector.backbone.dilations = (2, 3)
    detector.neck.update(in_channels=[16, 32], out_channels=16, num_outs=3)
    detector.rpn_head.update(in_channels=16, feat_channels=16)
    detector.rpn_head.anchor_generator.strides = [4, 8, 16]
    detector.roi_head.bbox_roi_extractor.update(out_channels=16, featmap_strides=[4, 8])
    detector.roi_head.bbox_head.in_channels = 16


def tiny_model(method: str, options: dict | None = None, **changes) -> BaseVideoDetector:
    """In eval mode, with random weights that give a spread of scores; `changes` are of the model's
    settings, `options` see `tiny_config`."""
    torch.manual_seed(0)
    model = MODELS.build(dict(tiny_config(method, options), **changes)).eval()
    for name, weight in model.named_parameters():
        if name.endswith(('fc_cls.weight', 'rpn_cls.weight', 'rpn_reg.weight', '.v.weight')):
            torch.nn.init.normal_(weight, std=0.2)
        if name.endswith('pos.bias'):  # keeps the logarithm of the gate away from its pole
            torch.nn.init.constant_(weight, 0.5)
        if name.endswith('bn2.weight'):  # zero at the start, which would cut the branch off
            torch.nn.init.ones_(weight)
    return model


def training_model(method: str) -> BaseVideoDetector:
    """In training mode, without random choices, as initialised."""
    torch.manual_seed(0)
    return MODELS.build(unlimited(tiny_config(method))).train()


def unlimited(cfg: Config) -> Config:
    """The config without random choices in training."""
    for stage in ('rpn', 'rcnn'):
        cfg.get('detector', cfg).train_cfg[stage].sampler.num = 1_000_000
    if cfg.get('pixel_memory'):
        cfg.pixel_memory.train_cells = 1_000_000
    return cfg


def without_proposals(model: BaseVideoDetector) -> BaseVideoDetector:
    """On the frames that are tested, and on references."""
    detector = getattr(model, 'detector', model)
    detector.test_proposals = dict(detector.test_proposals, min_bbox_size=1e6)
    return model


# ---- clips


def video_frames(
    video: int, length: int, size: tuple[int, int] = SIZE, cell: int = 1
) -> torch.Tensor:
    """Frames [length, H, W, 3] of a scene that moves, different for every video, in squares of
    `cell` pixels."""
    rng = np.random.default_rng(video)
    coarse = rng.integers(0, 255, (size[0] // cell, size[1] // cell, 3), dtype=np.uint8)
    scene = coarse.repeat(cell, axis=0).repeat(cell, axis=1)
    frames = [np.roll(scene, 3 * i, axis=1) for i in range(length)]
    return torch.from_numpy(np.stack(frames))


def planned_clip(
    video: int, frames: torch.Tensor, key: int, plan: Plan, seed: int | None = None
) -> Clip:
    """The packed clip of a key frame and what a plan gives it; every frame has an image. `seed` is
    that of the plan; None: the key frame's number."""
    shape = tuple(frames.shape[1:3])
    shared = dict(video_id=video, video_length=len(frames), ori_shape=shape, img_shape=shape)

    def frame_of(i: int) -> Frame:
        return Frame(f'{video}/{i}', image_id=1000 * video + i, frame_id=i, **shared)

    rng = np.random.default_rng(key if seed is None else seed)
    clip = make_clip(plan, key, len(frames), rng, frame_of)
    clip.images = frames[[frame.frame_id for frame in clip.frames]]
    return clip


def clip_of_frames(
    video: int, frames: torch.Tensor, ids: Sequence[int], roles: Sequence[str] | None = None
) -> Clip:
    """The packed clip of frame `ids[0]` with the others as references."""
    plan = zip(roles or ['ref'] * (len(ids) - 1), ids[1:], strict=True)
    return planned_clip(video, frames, ids[0], lambda *_: list(plan))


def packed_once(clip: Clip) -> Clip:
    """The clip with every distinct frame once."""
    ids = [frame.frame_id for frame in clip.frames]
    distinct = list(dict.fromkeys(ids))
    images = clip.images[[ids.index(i) for i in distinct]]
    frames = [replace(frame) for frame in clip.frames]
    return Clip(frames, images=images, rows=[distinct.index(i) for i in ids])


def plan_of(model: BaseVideoDetector, mode: str, sampler: dict) -> Plan | None:
    """MEGA and RDN choose their frames themselves."""
    return model.plan(mode, None if isinstance(model, WindowModel) else sampler)


def lone_clip(model: BaseVideoDetector, video: int, frames: torch.Tensor, key: int) -> Clip:
    """A key frame of which a model sees no other; in a window it is one of the frames."""
    window = isinstance(model, WindowModel)
    return clip_of_frames(video, frames, [key] * (1 + window), ['local'] * window)


def planned_clips(
    model: BaseVideoDetector, video: int, length: int, sampler: dict, mode: str = 'offline'
) -> list[Clip]:
    """All clips of a video, as a model plans them."""
    frames, plan = video_frames(video, length), plan_of(model, mode, sampler)
    return [planned_clip(video, frames, i, plan) for i in range(length)]


def adaptive_clips(model, video: int, length: int, num_refs: int = 14) -> list[Clip]:
    """All clips of a video, the first with references spread over it."""
    sampler = dict(ADAPTIVE, num_ref_imgs=num_refs, frame_range=[0, num_refs])
    return planned_clips(model, video, length, sampler)


def training_clips(
    model: BaseVideoDetector, count: int, size: tuple[int, int] = SIZE, num_refs: int = 2
) -> list[Clip]:
    """Clips of a key frame with two boxes and `num_refs` references around it."""
    method = 'uniform' if num_refs % 2 else 'bilateral_uniform'
    sampler = dict(num_ref_imgs=num_refs, frame_range=2, method=method)
    if getattr(model, 'temporal', None) is not None:
        sampler = dict(method='combined', samplers=[STAGES, sampler]) if model.regions else STAGES
    plan = plan_of(model, 'train', sampler)
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


def run(model: BaseVideoDetector, clips: list[Clip], seed: int = 0) -> list[Detections]:
    """Detections of a whole video with a fresh state."""
    state = model.init_state(video_id=clips[0].key.video_id, seed=seed)
    return [model.step(clip, state)[0] for clip in clips]


def assert_same(a: Detections, b: Detections) -> None:
    assert len(a) == len(b) > 0
    assert all(torch.equal(getattr(a, x), getattr(b, x)) for x in ('boxes', 'scores', 'labels'))
