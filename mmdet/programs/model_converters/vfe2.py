"""Weights of vfe.pytorch 2.x, the authors' later code base: nearly all have our names."""

from collections.abc import Mapping

from torch import Tensor

from mmdet.core.errors import CheckpointError
from mmdet.programs.model_converters.renaming import Converted, Rule, rename

TITLE = 'model of vfe.pytorch 2.x'
# Parts of single-frame models, the single-frame model in a video model, and what that adds.
SAME = ('backbone', 'neck', 'rpn_head', 'roi_head', 'bbox_head', 'detector', 'prompt_predictor')
RULES = [
    Rule('pixel.{rest}', 'pixel_memory.{rest}'),  # MAMBA's pixel level
    Rule('aggregators.{rest}', 'aggregators.{rest}'),  # EOVOD's, by level of the maps
    *(Rule(f'{name}.{{rest}}', f'{name}.{{rest}}') for name in SAME),
]


def from_vfe2(weights: Mapping[str, Tensor]) -> Converted:
    """Weights of vfe.pytorch 2.x under our names.

    Raises:
        CheckpointError: none of them has a place, or a TDViT was trained with a bias between its
            own keys and those of the reference, which our blocks do not have.
    """
    biases = [name for name in weights if name.endswith('.temporal_bias')]
    biased = [name for name in biases if weights[name].any()]
    if biased:
        raise CheckpointError(
            f'This TDViT was trained with temporal_bias ({len(biased)} blocks, the first is '
            f'{biased[0]}), which there is no place for here: without it the model would detect '
            f'something else. Its authors found the bias to change nothing: train without.'
        )
    converted = _renamed({k: v for k, v in weights.items() if k not in biases}, backwards=False)
    converted.left_out += biases
    return converted


def to_vfe2(weights: Mapping[str, Tensor]) -> Converted:
    """The inverse of `from_vfe2`.

    Raises:
        CheckpointError: none of the weights has a place.
    """
    return _renamed(weights, backwards=True)


def _renamed(weights: Mapping[str, Tensor], backwards: bool) -> Converted:
    converted = rename(weights, RULES, TITLE, backwards)
    if not converted.weights:
        raise CheckpointError(
            f'These are no weights of a {TITLE}: no name begins with one of {", ".join(SAME)}. '
            f'They have names like {next(iter(weights), "-")}.'
        )
    return converted
