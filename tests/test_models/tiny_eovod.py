"""A small EOVOD on FCOS whose outputs vary, and clips of moving noise."""

import numpy as np
import torch
from alike import share_found
from torch import nn

import mmdet.models  # noqa: F401  (registers the models)
from mmdet.models.dense_heads import CenterNetHead, FCOSHead, YOLOXHead
from mmdet.models.vid import EOVOD
from mmdet.registry import MODELS
from mmdet.structures import Clip, Frame

SIZE = (64, 96)  # height, width of the resized frames
DETECTOR = dict(
    type='FCOS',
    backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(1, 2, 3)),
    neck=dict(type='FPN', in_channels=[16, 32, 64], out_channels=16, num_outs=3),
    bbox_head=dict(
        type='FCOSHead', num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1,
        strides=(8, 16, 32), reach=3,
    ),
    train_cfg=dict(),
    test_cfg=dict(
        nms_pre=50, score_thr=0.01, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20
    ),
)  # fmt: skip
YOLOX = dict(
    type='YOLOX',
    backbone=dict(type='CSPDarknet', deepen_factor=0.33, widen_factor=0.125),
    neck=dict(type='YOLOXPAFPN', in_channels=[32, 64, 128], out_channels=32, num_csp_blocks=1),
    bbox_head=dict(type='YOLOXHead', num_classes=3, in_channels=32, feat_channels=32),
    train_cfg=dict(assigner=dict(type='SimOTAAssigner')),
    test_cfg=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.65), max_per_img=20),
)
CENTERNET = dict(
    type='CenterNet',
    backbone=dict(type='ResNet', depth=18, base_channels=4, out_indices=(3,)),
    neck=dict(type='CTResNetNeck', in_channels=32, channels=(8, 8, 8)),
    bbox_head=dict(type='CenterNetHead', num_classes=3, in_channels=8, feat_channels=8),
    train_cfg=dict(),
    test_cfg=dict(score_thr=0.0, max_per_img=20),
)
PREPROCESSOR = dict(type='ClipPreprocessor', pad_size_divisor=32)
NO_SPOILING = dict(train_plain_prob=0.0, train_drop_prob=0.0, train_jitter=0.0, train_distractors=0)
RELEASED = dict(
    location_prior=dict(queries='all', **NO_SPOILING),
    memory=dict(update=True, max_length=300, key_length=100, cells_per_frame=40, train_keys=20),
    aggregator=dict(num_heads=4, site='backbone', levels=(1, 2), shared=False, branches='all'),
)


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """Scores around the validation threshold, boxes of all sizes, attention that matters."""
    torch.manual_seed(seed)
    for name, p in model.named_parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=(1.5 / p[0].numel()) ** 0.5)
        elif name.endswith('weight'):  # norms; some start at 0
            nn.init.normal_(p, 1.0, 0.1)
    head = getattr(model, 'detector', model).bbox_head
    if isinstance(head, YOLOXHead):
        for level in range(3):
            nn.init.normal_(head.multi_level_conv_cls[level].bias, -0.5, 0.3)
            nn.init.constant_(head.multi_level_conv_obj[level].bias, -0.3)
            nn.init.constant_(head.multi_level_conv_reg[level].bias, 1.0)
    elif isinstance(head, CenterNetHead):
        nn.init.normal_(head.heatmap_head[-1].bias, -0.5, 0.3)
        nn.init.constant_(head.wh_head[-1].bias, 6.0)
    if not isinstance(head, FCOSHead):
        return model
    nn.init.constant_(head.conv_reg.bias, 2.3)
    nn.init.normal_(head.conv_cls.bias, -2.1, 0.3)
    nn.init.constant_(head.conv_centerness.bias, 1.0)
    for i, scale in enumerate(head.scales):
        nn.init.constant_(scale.scale, 1 + 0.2 * i)
    return model


def tiny_eovod(**change) -> EOVOD:
    cfg = dict(
        type='EOVOD',
        detector=DETECTOR,
        data_preprocessor=PREPROCESSOR,
        location_prior=NO_SPOILING,
        memory=dict(num_keys=None),
        aggregator=dict(num_heads=4),
    )
    torch.manual_seed(0)
    model = lively(MODELS.build({**cfg, **change})).eval()
    if isinstance(model.detector.bbox_head, YOLOXHead):
        learn_statistics(model)
    return model


@torch.no_grad()
def learn_statistics(model: EOVOD) -> None:
    """Batch norms with the statistics of some frames, or outputs of a deep network explode."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    images = model.data_preprocessor([clip_of(1, 0, list(range(1, 12)))])['batches'][0].images
    model.train()
    feats = model.detector.feats(model.detector.encode(images))
    model.detector.bbox_head(feats)
    model.eval()


def tiny_detector() -> nn.Module:
    return lively(MODELS.build(dict(DETECTOR, data_preprocessor=PREPROCESSOR))).eval()


def picture(video: int, frame_id: int) -> np.ndarray:
    """A coarse random image that drifts to the right."""
    rng = np.random.default_rng(video)
    coarse = rng.integers(0, 256, (8, 24, 3), dtype=np.uint8)
    image = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    return np.roll(image, 3 * frame_id, axis=1)[: SIZE[0], : SIZE[1]]


def clip_of(video: int, frame_id: int, refs: list[int] = (), boxes: bool = False) -> Clip:
    """The frame of a video with references; `boxes` gives every frame two objects."""
    frames = []
    for number in (frame_id, *refs):
        frame = Frame(
            path=f'{video}/{number}',
            video_id=video,
            frame_id=number,
            ori_shape=SIZE,
            img_shape=SIZE,
        )
        if boxes:
            shift = 3.0 * number
            frame.boxes = np.array([[4 + shift, 6, 30 + shift, 40], [20, 20, 84, 60]], np.float32)
            frame.labels = np.array([0, 2])
        frames.append(frame)
    images = np.stack([picture(video, number) for number in (frame_id, *refs)])
    return Clip(frames, images=torch.from_numpy(np.ascontiguousarray(images)))


def run(model: nn.Module, video: int, frames: int, refs: list[int] = (0, 2, 5), state=None):
    """Detections of the first frames of a video, and its state."""
    state = model.init_state(video_id=video) if state is None else state
    found = []
    for i in range(frames):
        detections, state = model.step(clip_of(video, i, refs if i == 0 else ()), state)
        found.append(detections)
    return found, state


def same(a, b) -> bool:
    """Whether two lists of detections are equal but for rounding, by which near-equal ones change
    places."""
    return all(
        len(x) == len(y) and share_found(x, y, score=1e-4, box=1e-2) >= 0.98
        for x, y in zip(a, b, strict=True)
    )
