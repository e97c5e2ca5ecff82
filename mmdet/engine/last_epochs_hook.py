"""What YOLOX changes for its last epochs."""

from mmengine.hooks import Hook

from mmdet.core.errors import ConfigError
from mmdet.registry import HOOKS


@HOOKS.register_module()
class LastEpochsHook(Hook):
    """The last epochs train on images as they are, and with the L1 loss of boxes.

    Transforms that mix samples (those with an attribute `enabled`) are turned off, and `use_l1` of
    the model's head is turned on. Both follow from the number of the epoch alone, so that a resumed
    run does the same.

    Args:
        epochs: how many.
    """

    def __init__(self, epochs: int) -> None:
        if epochs < 0:
            raise ConfigError(f'LastEpochsHook needs epochs of at least 0, not {epochs}.')
        self.epochs = epochs

    def before_train_epoch(self, runner) -> None:
        last = runner.epoch >= runner.max_epochs - self.epochs
        model = getattr(runner.model, 'module', runner.model)
        for module in model.modules():
            if hasattr(module, 'use_l1'):
                module.use_l1 = last
        if self._switch(runner.train_dataloader.dataset, not last):
            runner.train_dataloader._iterator = None  # workers that persist have the old pipeline
            what = 'without mixed samples and with' if last else 'with mixed samples and without'
            runner.logger.info(f'Epoch {runner.epoch + 1}: trains {what} the L1 loss')

    def _switch(self, dataset, enabled: bool) -> bool:
        """Whether any transform changed."""
        changed = False
        for part in getattr(dataset, 'datasets', [dataset]):
            for transform in getattr(part, 'pipeline', ()):
                if getattr(transform, 'enabled', enabled) != enabled:
                    transform.enabled = enabled
                    changed = True
        return changed
