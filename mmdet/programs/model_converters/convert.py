"""Checkpoints of other code bases, under the names of this one, and back.

A format is a pair of functions from weights to `Converted`; a new one is a line of FORMATS.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mmdet.core.checkpoint_file import load_checkpoint_file, state_dict_of
from mmdet.core.errors import CheckpointError
from mmdet.engine.checkpoint import save_checkpoint
from mmdet.programs.model_converters.mega import from_mega, to_mega
from mmdet.programs.model_converters.renaming import Converted
from mmdet.programs.model_converters.vfe2 import from_vfe2, to_vfe2
from mmdet.registry import closest

Conversion = Callable[[Mapping[str, Tensor]], Converted]


@dataclass(frozen=True)
class Format:
    """A code base whose checkpoints are known.

    `read` gives its weights our names; `write` does the reverse. `container` is the key under which
    its files hold the weights.
    """

    title: str
    read: Conversion
    write: Conversion
    container: str


FORMATS = {
    'mega': Format('Scalsol/mega.pytorch', from_mega, to_mega, 'model'),
    'vfe2': Format('vfe.pytorch 2.x', from_vfe2, to_vfe2, 'state_dict'),
}


def convert_checkpoint(
    source: str | os.PathLike,
    out: str | os.PathLike,
    name: str,
    backwards: bool = False,
    trust: bool = False,
    overwrite: bool = False,
) -> Converted:
    """Convert the checkpoint `source` and write `out`.

    Args:
        name: one of FORMATS.
        backwards: from our names to theirs.
        trust: see `load_checkpoint_file`.
        overwrite: replace what is at `out`.

    Returns:
        what was written, and the names that were left out.

    Raises:
        CheckpointError: an unknown format, weights of another model, a file that is there already.
    """
    if name not in FORMATS:
        raise CheckpointError(f'Unknown checkpoint format {name!r}. {closest(name, FORMATS)}')
    if Path(out).exists() and not overwrite:
        raise CheckpointError(f'{out} is there already: choose another name, or add --overwrite.')
    kind = FORMATS[name]
    weights = state_dict_of(load_checkpoint_file(source, trust))
    converted = (kind.write if backwards else kind.read)(weights)
    key = kind.container if backwards else 'state_dict'
    meta = {'converted_from': Path(source).name, 'format': kind.title}
    save_checkpoint({'meta': meta, key: converted.weights}, out)
    return converted
