"""What ends a command in one sentence, and what is a fault of the toolbox."""

import errno

import pytest
from torch.utils.data import DataLoader

from mmdet.apis.common import plain_errors
from mmdet.core.errors import ConfigError, UndecodableFrameError, WriteError


@pytest.mark.parametrize(
    ('error', 'told'),
    [
        (ConfigError('no such key'), 'error: no such key'),
        (WriteError('cannot write a.pth: full'), 'error: cannot write a.pth: full'),
        (OSError(errno.ENOSPC, 'No space left'), 'error: writing failed: No space left. Free'),
        (PermissionError(errno.EACCES, 'Denied', 'b'), 'error: cannot read or write b: Denied. Ch'),
    ],
)
def test_what_the_user_puts_right_is_one_sentence(error, told):
    with pytest.raises(SystemExit) as caught, plain_errors():
        raise error
    assert caught.value.code.startswith(told)


def test_an_error_of_a_data_worker_is_told_without_its_traceback():
    def collate(_):
        raise UndecodableFrameError('Cannot decode a.jpg') from OSError('first')

    with pytest.raises(SystemExit) as caught, plain_errors():
        next(iter(DataLoader([0], num_workers=1, collate_fn=collate)))
    assert caught.value.code == 'error: Cannot decode a.jpg'
    with pytest.raises(KeyError), plain_errors():  # a fault of ours
        raise KeyError('a')
