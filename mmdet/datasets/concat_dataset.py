"""Several datasets, one after the other."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from mmdet.core.errors import ConfigError
from mmdet.registry import DATASETS
from mmdet.structures import Clip


@DATASETS.register_module()
class ConcatDataset:
    """Concatenation, with the aspect flags that the samplers group by.

    Args:
        datasets: configs or datasets, all with the same classes in the same order.

    Raises:
        ConfigError: the classes differ; names two datasets and the first difference.
    """

    def __init__(self, datasets: Sequence[Mapping | Any]):
        if not datasets:
            raise ConfigError('ConcatDataset needs at least one dataset')
        self.datasets = [
            DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset
            for dataset in datasets
        ]
        first = self.datasets[0]
        self.classes = first.classes
        for dataset in self.datasets[1:]:
            if dataset.classes != first.classes:
                raise ConfigError(
                    f'Datasets that are joined must have the same classes: {first.ann_file} has '
                    f'{first.classes}, {dataset.ann_file} has {dataset.classes}. Set `classes` of '
                    f'both.'
                )
        self._ends = list(accumulate(map(len, self.datasets)))
        self.aspect_flags = np.concatenate([dataset.aspect_flags for dataset in self.datasets])
        lengths = [dataset.video_lengths for dataset in self.datasets]
        whole = all(part is not None for part in lengths)
        self.video_lengths = np.concatenate(lengths) if whole else None

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def metainfo(self) -> dict[str, Any]:
        return {'classes': self.classes}  # no `ann_file`: there are several

    def __getitem__(self, key: int | tuple[int, int]) -> Clip:
        index, draw_seed = key if isinstance(key, tuple) else (key, key)
        dataset, index = self.locate(index)
        return dataset[index, draw_seed]

    def locate(self, index: int) -> tuple[Any, int]:
        """The dataset that a sample belongs to, and its index there."""
        if not 0 <= index < len(self):
            raise IndexError(f'sample {index} of {len(self)}')
        which = int(np.searchsorted(self._ends, index, side='right'))
        start = self._ends[which - 1] if which else 0
        return self.datasets[which], index - start
