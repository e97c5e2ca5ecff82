"""mmengine's Runner with safe checkpoints, exact resume, and no need for a GPU."""

import copy
import os
import platform
import time
from collections import Counter
from importlib.metadata import PackageNotFoundError, version

import mmengine
import torch
import torchvision
from mmengine.dist import all_gather_object, is_main_process, master_only
from mmengine.model import convert_sync_batchnorm, is_model_wrapper, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.loops import BaseLoop
from torch import nn
from torch.utils.data import DataLoader

import mmdet
from mmdet.core.checkpoint_file import load_checkpoint_file, own_names, state_dict_of
from mmdet.core.errors import ConfigError
from mmdet.core.fileio import atomic_write
from mmdet.engine.checkpoint import bare, load_weights, plain, save_checkpoint
from mmdet.engine.class_order import follow_checkpoint
from mmdet.engine.compile import compile_static_parts
from mmdet.engine.data_loading import build_loader
from mmdet.engine.device import Backends, check_deterministic, choose_device, make_current
from mmdet.engine.dist import dist_silence, dist_timeout, init_dist
from mmdet.engine.optim import with_fused
from mmdet.engine.resume import check_start, restore_training, resume_source
from mmdet.engine.rng import get_rng_state
from mmdet.registry import MODEL_WRAPPERS, RUNNERS

_STARTED: Counter[str] = Counter()  # runners of this process by timestamp


@RUNNERS.register_module()
class VideoRunner(Runner):
    """Runs training, validation and testing as a config describes them.

    Config keys beyond mmengine's: `device` ('cpu', 'cuda', 'cuda:1'; the GPU where there is one
    when absent), `resume` may be a path or 'auto', `trust_checkpoint`, `allow_partial`, `compile`
    (True, or a dict of options; see `compile_static_parts`).
    """

    @classmethod
    def from_cfg(cls, cfg: mmengine.Config) -> 'VideoRunner':
        cfg = copy.deepcopy(cfg)
        launcher = cfg.get('launcher', 'none')
        device = choose_device(cfg.get('device'), launcher)
        if (cfg.get('randomness') or {}).get('deterministic'):
            check_deterministic(cfg.model, device)
        # before anything is built: all ranks must agree on the file and on its seed
        _start_processes(launcher, cfg)
        resume_source(cfg)
        check_start(cfg)
        follow_checkpoint(cfg)
        return super().from_cfg(cfg)

    # -- environment -----------------------------------------------------------------------------

    def setup_env(self, env_cfg: dict) -> None:
        _start_processes(self._launcher, self.cfg)
        make_current(self.device)
        os.environ.setdefault('MKL_NUM_THREADS', os.environ.get('OMP_NUM_THREADS', '1'))
        super().setup_env(env_cfg)
        deterministic = (self.cfg.get('randomness') or {}).get('deterministic', False)
        self.backends = Backends.of(env_cfg, self._train_loop is None, deterministic)
        self.backends.apply(self.device)
        # two runs of one program within a second must not share logs and message hubs
        earlier = _STARTED[self._timestamp]
        _STARTED[self._timestamp] += 1
        self._timestamp += f'_{earlier}' if earlier else ''

    def set_randomness(
        self, seed: int | None = None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """As mmengine's; an operation without a deterministic form warns instead of failing."""
        if deterministic:
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        super().set_randomness(seed, diff_rank_seed, deterministic)
        if deterministic:
            torch.use_deterministic_algorithms(True, warn_only=True)

    @property
    def device(self) -> torch.device:
        """Where the model of this process lives."""
        return choose_device(self.cfg.get('device'), self._launcher)

    def _log_env(self, env_cfg: dict) -> None:
        on_gpu = self.device.type == 'cuda'
        device = torch.cuda.get_device_name(self.device) if on_gpu else 'CPU'
        self.logger.info(
            f'mmdet {mmdet.__version__}, torch {torch.__version__}, '
            f'torchvision {torchvision.__version__}, mmengine {_mmengine_version()}, '
            f'Python {platform.python_version()}, {device}, '
            f'{self.world_size} process(es), {torch.get_num_threads()} threads each, '
            f'seed {self.seed}{", deterministic" if self.deterministic else ""}'
            f'{f", {self.backends}" if on_gpu else ""}'
        )
        self.logger.info(f'Work dir: {self.work_dir} (log of this run in {self.log_dir})')

    @master_only
    def dump_config(self) -> None:
        """Write the merged config: of a training to the work dir, of a test beside its log.

        It repeats this training from its beginning, with the seed that was drawn.
        """
        cfg = copy.deepcopy(self.cfg)
        for key in ('launcher', 'device', 'trust_checkpoint', 'allow_partial'):
            cfg.pop(key, None)
        if self._resume:
            cfg.update(resume=False, load_from=None)
        cfg.randomness = {**self._randomness_cfg, 'seed': self.seed}
        folder = self.log_dir if self._train_loop is None else self.work_dir
        name = os.path.basename(self.cfg.filename or f'{self.timestamp}.py')
        with atomic_write(os.path.join(folder, name)) as file:
            file.write(cfg.dump())

    def get_hooks_info(self) -> str:
        return ', '.join(type(hook).__name__ for hook in self.hooks)

    def build_visualizer(self, visualizer: dict | None = None) -> object:
        """As mmengine's; without TensorBoard its backend is omitted with one sentence."""
        backends = (visualizer or {}).get('vis_backends') or []
        wanted = [b for b in backends if b.get('type') == 'TensorboardVisBackend']
        if wanted and not _has_tensorboard():
            self.logger.info('No TensorBoard curves: `pip install tensorboard` turns them on.')
            backends = [b for b in backends if b not in wanted]
            visualizer = {**visualizer, 'vis_backends': backends}
        return super().build_visualizer(visualizer)

    # -- building --------------------------------------------------------------------------------

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        self.logger.info(f'Building the model {model["type"] if isinstance(model, dict) else ""}')
        return super().build_model(model)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move the model to its device; wrap it for data parallelism when training so."""
        if is_model_wrapper(model):
            return model
        model = model.to(self.device)
        parallel = self.distributed and self._train_loop is not None  # tests need no gradients
        if not self.distributed:
            model = revert_sync_batchnorm(model)
        elif parallel and self.cfg.get('sync_bn'):
            model = convert_sync_batchnorm(model, self.cfg.sync_bn)
        if self._train_loop is not None and hasattr(model, 'lay_out'):
            optim = self.cfg.get('optim_wrapper') or {}
            half = optim.get('type') == 'AmpOptimWrapper'
            model.lay_out(half, graphs=bool(self.cfg.get('training_graphs')))
        if self.cfg.get('compile'):
            compile_static_parts(model, self.cfg.compile)
            self.logger.info('Backbone and neck are compiled; the first frames take longer')
        if not parallel:
            return model
        return MODEL_WRAPPERS.build(
            {
                'type': 'MMDistributedDataParallel',
                'module': model,
                'device_ids': [self.device.index] if self.device.type == 'cuda' else None,
                'broadcast_buffers': False,
                'find_unused_parameters': self.cfg.get('find_unused_parameters', False),
                **(model_wrapper_cfg or {}),
            }
        )

    def _maybe_compile(self, target: str) -> None:
        """`wrap_model` did it, for testing, too; mmengine would compile the whole step."""

    def build_dataloader(
        self, dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """See `build_loader`; batches for a GPU are pinned."""
        on_gpu = self.device.type == 'cuda'
        return build_loader(dataloader, seed, diff_rank_seed, pin_memory=on_gpu)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        return super().build_train_loop(_with_type(loop, 'VideoTrainLoop'))

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict) -> OptimWrapper:
        """As mmengine's, with a fused optimizer, see `with_fused`."""
        built = isinstance(optim_wrapper, OptimWrapper)
        return super().build_optim_wrapper(optim_wrapper if built else with_fused(optim_wrapper))

    def build_param_scheduler(self, scheduler: object) -> object:
        """As mmengine's; a schedule longer than the run is an error that says so."""
        try:
            return super().build_param_scheduler(scheduler)
        except ValueError as error:
            raise ConfigError(
                f'`param_scheduler` does not fit a run of {self._train_loop.max_iters} iterations '
                f'({self._train_loop.max_epochs} epochs): {error}. Train longer, or change `begin` '
                f'and `end` of the entry, which count iterations where by_epoch=False.'
            ) from error

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        return super().build_val_loop(_with_type(loop, 'VideoValLoop'))

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        return super().build_test_loop(_with_type(loop, 'VideoTestLoop'))

    # -- checkpoints -----------------------------------------------------------------------------

    def _init_model_weights(self) -> None:
        """Initialise (and fetch pretrained weights), unless a checkpoint brings them all."""
        if not self._resume:
            super()._init_model_weights()

    def load_or_resume(self) -> None:
        """Load weights (`load_from`), or go on where a checkpoint stopped (`resume`)."""
        if self._has_loaded:
            return
        if self._load_from is not None and self._resume:
            self.resume(self._load_from)
        elif self._load_from is not None:
            self.load_checkpoint(self._load_from)

    def load_checkpoint(self, filename: str, *args, **kwargs) -> dict:
        """Load the weights of a file or an http(s) address into the model.

        In testing every name must fit unless `allow_partial` is set; before training a new model
        from other weights (another class count), what does not fit is listed and left as it is.
        """
        checkpoint = load_checkpoint_file(filename, self.cfg.get('trust_checkpoint', False))
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        partial_ok = self.cfg.get('allow_partial', False) or self._train_loop is not None
        for line in load_weights(self.model, state_dict_of(checkpoint), partial_ok):
            self.logger.warning(f'{filename}: {line}')
        self._has_loaded = True
        self.logger.info(f'Loaded the weights of {filename}')
        return checkpoint

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Restore the model and everything else that training depends on."""
        checkpoint = load_checkpoint_file(filename, self.cfg.get('trust_checkpoint', False))
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_weights(self.model, state_dict_of(checkpoint))
        restore_training(self, checkpoint, filename)
        self._has_loaded = True

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        *args,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        **kwargs,
    ) -> None:
        """Write a checkpoint atomically; every rank must call it, rank 0 writes.

        Nothing is written when a loss since the last checkpoint was not finite.

        Args:
            out_dir, filename: where to.
            save_optimizer, save_param_scheduler: what resuming needs.
            meta: entries to add; `epoch` and `iter` count what is finished.
            by_epoch: whether `epoch` and `iter` default to those at the end of this epoch.
        """
        settle = getattr(self.train_loop, 'settle', None)  # a loop of one's own may have none
        if settle is not None:
            settle()
        random_states = all_gather_object(get_rng_state())
        if not is_main_process():
            return
        checkpoint = {
            'meta': self._checkpoint_meta(meta or {}, by_epoch),
            'state_dict': own_names(bare(self.model).state_dict()),
            'message_hub': {'runtime_info': _plain_entries(self.message_hub.runtime_info)},
        }
        if save_optimizer:
            checkpoint['optimizer'] = self.optim_wrapper.state_dict()
            checkpoint['rng'] = random_states
        if save_param_scheduler and self.param_schedulers is not None:
            checkpoint['param_schedulers'] = [
                _plain_entries(scheduler.state_dict()) for scheduler in self.param_schedulers
            ]
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        save_checkpoint(checkpoint, os.path.join(out_dir, filename))

    def _checkpoint_meta(self, meta: dict, by_epoch: bool) -> dict:
        dataset = self.train_dataloader.dataset
        return {
            'epoch': self.epoch + 1 if by_epoch else self.epoch,
            'iter': self.iter if by_epoch else self.iter + 1,
            'iters_per_epoch': len(self.train_dataloader),
            'world_size': self.world_size,
            'seed': self.seed,
            'CLASSES': list(getattr(dataset, 'classes', None) or []),
            'config': self.cfg.pretty_text,
            'experiment_name': self.experiment_name,
            'mmdet_version': mmdet.__version__,
            'torch_version': str(torch.__version__),
            'saved_at': time.time(),
            **meta,
        }


def _start_processes(launcher: str, cfg: mmengine.Config) -> None:
    init_dist(
        launcher,
        dist_timeout(cfg),
        use_gpu=cfg.get('device') != 'cpu',
        silence_s=dist_silence(cfg),
    )


def _with_type(loop: BaseLoop | dict, name: str) -> BaseLoop | dict:
    """A loop config without `type` gets ours; mmengine's switch `by_epoch` is understood."""
    if not isinstance(loop, dict) or 'type' in loop:
        return loop
    loop = dict(loop)
    if not loop.pop('by_epoch', True):
        raise ConfigError(
            'train_cfg asks for by_epoch=False, but training here goes by epochs, so that the '
            "order of the data is known at every step. Write train_cfg=dict(type='VideoTrainLoop', "
            'max_epochs=N).'
        )
    return {'type': name, **loop}


def _plain_entries(state: dict) -> dict:
    """The entries that a checkpoint can hold; `resume` restores no others."""
    kept = {}
    for key, value in state.items():
        try:
            kept[key] = plain(value)
        except TypeError:
            continue
    return kept


def _has_tensorboard() -> bool:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except ImportError:
        return False
    return True


def _mmengine_version() -> str:
    for name in ('mmengine-lite', 'mmengine', 'onedl-mmengine'):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return mmengine.__version__
