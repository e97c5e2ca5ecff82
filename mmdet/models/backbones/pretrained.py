"""Pretrained backbone weights: from a file, an address, or torchvision by name."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torchvision.models import get_model_weights

from mmdet.core.checkpoint_file import load_checkpoint_file, state_dict_of
from mmdet.core.errors import CheckpointError, ConfigError, DownloadError


def resolve(checkpoint: str) -> str:
    """The address behind `torchvision://NAME` (the original ImageNet weights); others unchanged."""
    scheme = 'torchvision://'
    if not checkpoint.startswith(scheme):
        return checkpoint
    name = checkpoint.removeprefix(scheme)
    try:
        return get_model_weights(name).IMAGENET1K_V1.url
    except ValueError as error:
        raise ConfigError(f'torchvision has no weights named {name!r} ({checkpoint!r}).') from error


def load_pretrained(
    module: nn.Module,
    init_cfg: dict | None,
    drop_prefixes: tuple[str, ...] = (),
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict,
) -> None:
    """Fill `module` with the weights that `init_cfg` names (None: leave it); all must be found.

    Args:
        drop_prefixes: entries of the file that the backbone does not have, such as a classifier.
        convert: turns the file's names into the module's.
    """
    if init_cfg is None:
        return
    if init_cfg.get('type') != 'Pretrained' or 'checkpoint' not in init_cfg:
        raise ConfigError(
            f'init_cfg={init_cfg!r}: legal is None or dict(type="Pretrained", checkpoint=...).'
        )
    source = init_cfg['checkpoint']
    try:
        state = state_dict_of(load_checkpoint_file(resolve(source)))
    except (CheckpointError, DownloadError, OSError) as error:
        raise ConfigError(
            f'The pretrained weights {source!r} cannot be read: {error} The path belongs into '
            f'`init_cfg.checkpoint` of the backbone; `init_cfg=None` trains from scratch.'
        ) from error
    state = {k: v for k, v in convert(state).items() if not k.startswith(drop_prefixes)}
    missing, unexpected = module.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith('num_batches_tracked')]
    if missing or unexpected:
        raise ConfigError(
            f'{source!r} does not fit {type(module).__name__}: '
            f'missing {missing[:5]} ({len(missing)}), unexpected {unexpected[:5]} '
            f'({len(unexpected)}). Check depth and width.'
        )
