"""What every aggregator shares: mixing the features of one frame with those of others.

Shapes: N query rows, M reference rows, C channels, K channels of what is kept of a reference.
"""

import torch
from torch import Tensor, nn


class Aggregator(nn.Module):
    """`(query [N, C], refs [M, C]) -> [N, C]`: what each query row takes from the references.

    The caller adds the result to the query. An aggregator knows nothing of frames, videos or
    batches: it holds weights, and what is remembered of a video is in that video's state.

    Subclasses implement `mix`. What can be computed of a reference alone goes into `project`: it
    is then done once per video, and only its rows are kept.

    Attributes:
        memory_cfg: arguments of the `MemoryBank` that MAMBA keeps for this aggregator.
    """

    memory_cfg: dict = {}

    def forward(self, query: Tensor, refs: Tensor) -> Tensor:
        """What `query` [N, C] takes from `refs` [M, C]: [N, C]."""
        return self.attend(query, self.project(refs))

    def project(self, refs: Tensor) -> Tensor:
        """What is kept of `refs` [M, C]: [M, K], row by row; the rows themselves by default."""
        return refs

    def attend(self, query: Tensor, keys: Tensor) -> Tensor:
        """What `query` [N, C] takes from projected references [M, K]: [N, C]; 0 without any."""
        if len(query) == 0 or len(keys) == 0:
            return torch.zeros_like(query)
        return self.mix(query, keys)

    def mix(self, query: Tensor, keys: Tensor) -> Tensor:
        """`attend` for N > 0 and M > 0; the order of the references must not matter."""
        raise NotImplementedError(f'{type(self).__name__} must implement mix(query, keys).')
