"""What training and testing from a config have in common."""

import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine import Config

from mmdet.core.errors import ConfigError, VFEError
from mmdet.core.fileio import ADVICE, system_sentence
from mmdet.engine.config_check import check_config
from mmdet.engine.config_load import load_config


def checked_config(
    config: str | os.PathLike | Config,
    cfg_options: Mapping[str, Any] | None = None,
    work_dir: str = '',
) -> Config:
    """Read and change a config, and look for mistakes in it; see `mmdet.apis.train`."""
    from mmengine.registry import init_default_scope

    cfg = load_config(config, cfg_options, work_dir)
    cfg.setdefault('default_scope', 'mmdet')
    init_default_scope(cfg.default_scope)
    check_config(cfg)
    return cfg


def prepare_config(
    config: str | os.PathLike | Config,
    cfg_options: Mapping[str, Any] | None,
    work_dir: str,
    launcher: str,
    device: str | None,
    trust_checkpoint: bool,
) -> Config:
    """A checked config with what the command line says; see `mmdet.apis.train`."""
    cfg = checked_config(config, cfg_options, work_dir)
    cfg.launcher = launcher
    cfg.trust_checkpoint = trust_checkpoint
    if device is not None:
        cfg.device = device
    return cfg


def set_metric_options(
    evaluator: Mapping | Sequence[Mapping],
    options: Mapping[str, Any],
    wanted: Mapping[str, Any] | None = None,
) -> None:
    """Give each metric of a config those of `options` that it takes.

    Args:
        evaluator: config of a metric, or of several; changed.
        options: over what the config says.
        wanted: likewise, but each must be taken by some metric.

    Raises:
        ConfigError: no metric takes one of `wanted`.
    """
    from mmdet.registry import METRICS, closest

    metrics = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    legal: set[str] = set()
    for metric in metrics:
        parameters = set(inspect.signature(METRICS.get(metric['type'])).parameters)
        legal |= parameters
        for given in (options, wanted or {}):
            metric.update({k: v for k, v in given.items() if k in parameters})
    for key in wanted or {}:
        if key not in legal:
            raise ConfigError(f'--eval-options: no metric takes {key!r}. {closest(key, legal)}')


def check_amp(amp: str, device: str | None) -> None:
    """Refuse fp16 where there is no GPU.

    Raises:
        ConfigError: says what to use instead.
    """
    import torch

    if amp == 'fp16' and (device == 'cpu' or not torch.cuda.is_available()):
        raise ConfigError('--amp fp16 needs a GPU. On a CPU use --amp bf16, or omit it.')


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show mistakes of the user as one message without a traceback, and end with status 1."""
    # these import torch, which `--help` need not wait for
    from mmdet.engine.data_loading import about_workers
    from mmdet.engine.dist import about_ranks, end_dist

    try:
        yield
    except (VFEError, FileNotFoundError) as error:
        sys.exit(f'error: {_message(error)}')
    except RuntimeError as error:
        sentence = about_workers(error) or about_ranks(error)
        if not sentence:
            raise
        sys.exit(f'error: {sentence}')
    except OSError as error:
        if error.errno not in ADVICE:
            raise  # nothing that the user could put right: the traceback says where
        what = f'cannot read or write {error.filename}' if error.filename else 'writing failed'
        sys.exit(f'error: {what}: {system_sentence(error)}')
    finally:
        end_dist()


def _message(error: Exception) -> str:
    """Without the traceback that a data worker puts around the message of its error."""
    text = str(error)
    if not text.startswith(f'Caught {type(error).__name__} in '):
        return text
    return re.split(rf'\n(?:\w+\.)*{type(error).__name__}: ', text)[-1].strip()
