"""What every aggregator shares: mixing the features of one frame with those of others.

Shapes: B frames, N query rows, M reference rows, C channels, K channels of what is kept of a
reference.
"""

from torch import Tensor, nn


class Aggregator(nn.Module):
    """What each query row takes from the references; the caller adds the result to the query.

    An aggregator knows nothing of videos: it holds weights, and what is remembered of a video is in
    that video's state.

    Subclasses implement `mix`. What can be computed of a reference alone goes into `project`: it
    is then done once per video, and only its rows are kept.

    Attributes:
        memory_cfg: arguments of the `MemoryBank` that MAMBA keeps for this aggregator.
    """

    memory_cfg: dict = {}

    def forward(self, query: Tensor, refs: Tensor, valid: Tensor | None = None) -> Tensor:
        """What `query` [B, N, C] takes from `refs` [B, M, C]: [B, N, C]."""
        return self.attend(query, self.project(refs), valid)

    def project(self, refs: Tensor) -> Tensor:
        """What is kept of `refs` [..., C]: [..., K], row by row; the rows themselves by default."""
        return refs

    def attend(self, query: Tensor, keys: Tensor, valid: Tensor | None = None) -> Tensor:
        """What `query` [B, N, C] takes from projected references [B, M, K]: [B, N, C].

        Args:
            valid: [B, M], which references exist; None for all. A frame without any takes 0, with
                a gradient of 0 to every weight, so that all ranks have one for all.
        """
        if valid is None:
            return self.mix(query, keys, None)
        any_valid = valid.any(dim=1)
        mixed = self.mix(query, keys, valid | ~any_valid[:, None])
        return mixed * any_valid[:, None, None].to(mixed.dtype)

    def mix(self, query: Tensor, keys: Tensor, valid: Tensor | None) -> Tensor:
        """`attend` where every frame has a reference; the order of references must not matter."""
        raise NotImplementedError(f'{type(self).__name__} must implement mix(query, keys, valid).')
