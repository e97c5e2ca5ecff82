"""Weights of Scalsol/mega.pytorch: MEGA, RDN and its single-frame detector.

Its background class comes first and has boxes of its own; here the background is the last class,
without boxes. The last stage of the backbone belongs to its region head.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from mmdet.core.errors import CheckpointError
from mmdet.models.task_modules import AnchorGenerator
from mmdet.programs.model_converters.renaming import Converted, Rule, rename

EXTRACTOR = 'roi_heads.box.feature_extractor.'
HEAD = 'roi_head.bbox_head.'
ANCHORS = 'rpn.anchor_generator.cell_anchors.0'
DETECTOR = 'detector.'  # before the names of the single-frame detector inside a video model
# Their files are recognised by the beginning of a name that no other model has.
FLOW_METHODS = {'flownet.Convolution5_scale': 'DFF', 'embednet.': 'FGFA', 'flownet.': 'flow-based'}
KINDS = {'l_fcs.': 'MEGA', 'fcs.': 'RDN', 'fc6.': 'single-frame detector'}


def _to_matrix(weight: Tensor) -> Tensor:
    """A 1x1 convolution as a matrix; biases stay."""
    return weight.flatten(1) if weight.dim() == 4 else weight


def _to_convolution(weight: Tensor) -> Tensor:
    return weight[..., None, None] if weight.dim() == 2 else weight


def _relations(prefix: str, ours: str) -> list[Rule]:
    names = {'Wqs': 'q', 'Wks': 'k', 'Wvs': 'v', 'Wgs': 'pos'}
    ours, theirs = f'{HEAD}aggregator.{ours}.{{i}}.', EXTRACTOR + prefix
    rules = [Rule(f'{theirs}us.{{i}}', f'{ours}u')]
    for name, part in names.items():
        change = (_to_matrix, _to_convolution) if part in ('v', 'pos') else ()
        rules.append(Rule(f'{theirs}{name}.{{i}}.{{rest}}', f'{ours}{part}.{{rest}}', *change))
    return rules


DETECTOR_RULES = [
    Rule(f'{EXTRACTOR}head.layer4.{{rest}}', 'backbone.layer4.{rest}'),
    Rule('backbone.body.layer{i}.{rest}', 'backbone.layer{i}.{rest}'),
    Rule('backbone.body.stem.{rest}', 'backbone.{rest}'),
    Rule('rpn.head.conv.{rest}', 'rpn_head.rpn_conv.{rest}'),
    Rule('rpn.head.cls_logits.{rest}', 'rpn_head.rpn_cls.{rest}'),
    Rule('rpn.head.bbox_pred.{rest}', 'rpn_head.rpn_reg.{rest}'),
    Rule(f'{EXTRACTOR}conv.{{rest}}', 'neck.convs.0.conv.{rest}'),
    Rule(  # the background goes last
        'roi_heads.box.predictor.cls_score.{rest}',
        f'{HEAD}fc_cls.{{rest}}',
        lambda rows: rows.roll(-1, 0),
        lambda rows: rows.roll(1, 0),
    ),
    Rule(  # and loses its boxes
        'roi_heads.box.predictor.bbox_pred.{rest}',
        f'{HEAD}fc_reg.{{rest}}',
        lambda rows: rows[4:],
        lambda rows: torch.cat([torch.zeros_like(rows[:4]), rows]),
    ),
]
KIND_RULES = {
    'MEGA': [
        Rule(f'{EXTRACTOR}l_fcs.{{i}}.{{rest}}', f'{HEAD}shared_fcs.{{i}}.{{rest}}'),
        *_relations('l_', 'local'),
        *_relations('g_', 'global'),
    ],
    'RDN': [
        Rule(f'{EXTRACTOR}fcs.{{i}}.{{rest}}', f'{HEAD}shared_fcs.{{i}}.{{rest}}'),
        *_relations('', 'local'),
    ],
    'single-frame detector': [
        Rule(f'{EXTRACTOR}fc6.{{rest}}', f'{HEAD}shared_fcs.0.{{rest}}'),
        Rule(f'{EXTRACTOR}fc7.{{rest}}', f'{HEAD}shared_fcs.1.{{rest}}'),
    ],
}


def from_mega(weights: Mapping[str, Tensor]) -> Converted:
    """Weights of mega.pytorch under our names.

    Raises:
        CheckpointError: of another model (DFF, FGFA), of another code base, or with other anchors.
    """
    kind = _kind_of(weights)
    anchors = weights.get(ANCHORS)
    if anchors is not None and not torch.equal(anchors.float(), _anchors()):
        raise CheckpointError(
            f'The {kind} was trained with other anchors than the sizes 64, 128, 256, 512 with the '
            f'ratios 0.5, 1, 2: {anchors.tolist()}. Weights of such a config cannot be used.'
        )
    rest = {name: tensor for name, tensor in weights.items() if name != ANCHORS}
    converted = rename(rest, DETECTOR_RULES + KIND_RULES[kind], f'{kind} of mega.pytorch')
    named = converted.weights
    for name in [n for n in named if n.endswith('running_var')]:
        named[name.replace('running_var', 'num_batches_tracked')] = torch.tensor(0)
    if kind != 'single-frame detector':
        converted.weights = {DETECTOR + name: tensor for name, tensor in named.items()}
    return converted


def to_mega(weights: Mapping[str, Tensor]) -> Converted:
    """The inverse of `from_mega`; boxes of the background, which nothing reads, become zero.

    Raises:
        CheckpointError: no weights of a C4 detector, MEGA or RDN.
    """
    kind = _kind_of_ours(weights)
    rest = {
        name.removeprefix(DETECTOR): tensor
        for name, tensor in weights.items()
        if not name.endswith('num_batches_tracked')
    }
    rules = DETECTOR_RULES + KIND_RULES[kind]
    converted = rename(rest, rules, f'{kind} of mega.pytorch', backwards=True)
    converted.weights[ANCHORS] = _anchors()
    return converted


def _anchors() -> Tensor:
    (anchors,) = AnchorGenerator([16], [0.5, 1.0, 2.0], [4, 8, 16, 32], legacy=True).base_anchors
    return anchors


def _kind_of(weights: Mapping[str, Tensor]) -> str:
    for start, method in FLOW_METHODS.items():
        if any(name.startswith(start) for name in weights):
            raise CheckpointError(
                f'These are weights of {method} (mega.pytorch), which warps features along optical '
                f'flow; no such method exists here. MEGA, RDN and single-frame files are converted.'
            )
    for start, kind in KINDS.items():
        if any(name.startswith(EXTRACTOR + start) for name in weights):
            return kind
    raise CheckpointError(
        f'These are no weights of mega.pytorch: no name begins with {EXTRACTOR}, followed by '
        f'{", ".join(KINDS)}. They have names like {next(iter(weights), "-")}.'
    )


def _kind_of_ours(weights: Mapping[str, Tensor]) -> str:
    names = '\n'.join(weights)
    if not re.search(rf'^(detector\.)?{re.escape(HEAD)}shared_fcs\.0\.weight$', names, re.M):
        raise CheckpointError(
            f'mega.pytorch has no model for these weights: there is no {HEAD}shared_fcs.0.weight, '
            f'but names like {next(iter(weights), "-")}.'
        )
    if 'aggregator.global.' in names:
        return 'MEGA'
    return 'RDN' if 'aggregator.local.' in names else 'single-frame detector'
