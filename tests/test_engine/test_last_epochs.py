"""What changes for the last epochs, from the number of the epoch alone."""

from types import SimpleNamespace

import pytest
from torch import nn

from mmdet.core.errors import ConfigError
from mmdet.engine.training_hooks import LastEpochsHook


def runner(epoch: int, model: nn.Module, datasets: list) -> SimpleNamespace:
    loader = SimpleNamespace(dataset=SimpleNamespace(datasets=datasets), _iterator='workers')
    logger = SimpleNamespace(info=lambda text: None)
    return SimpleNamespace(
        epoch=epoch, max_epochs=10, model=model, train_dataloader=loader, logger=logger
    )


@pytest.mark.parametrize('epoch', range(10))
def test_mixing_stops_and_l1_starts_whatever_epoch_a_run_starts_with(epoch):
    model = nn.Sequential(nn.Linear(1, 1))
    model[0].use_l1 = False
    mixing, other = SimpleNamespace(enabled=True), SimpleNamespace()
    data = [SimpleNamespace(pipeline=[other, mixing]), SimpleNamespace(pipeline=[other])]
    run = runner(epoch, model, data)
    LastEpochsHook(3).before_train_epoch(run)
    last = epoch >= 7
    assert (mixing.enabled, model[0].use_l1) == (not last, last)
    assert not hasattr(other, 'enabled')
    assert run.train_dataloader._iterator == (None if last else 'workers')
    LastEpochsHook(3).before_train_epoch(run)  # the next epoch of the same kind
    assert mixing.enabled is not last


def test_a_negative_number_is_refused():
    with pytest.raises(ConfigError, match='at least 0, not -1'):
        LastEpochsHook(-1)
