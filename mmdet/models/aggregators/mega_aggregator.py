"""The stages of MEGA (arXiv 2003.12063) and RDN (arXiv 1908.09511) over a window of frames.

Shapes: B frames (of different videos), K regions of the key frame, W frames of the window with R
regions each, best first, of which the best D are distilled; C channels.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.models.aggregators.regions import Regions, beside
from mmdet.models.aggregators.relation import Relation
from mmdet.registry import MODELS


def _attend(relation: Relation, query: Regions, keys: Regions) -> Tensor:
    """Features of the query with what they take from the keys added."""
    taken = relation(query.roi_feats, keys.roi_feats, query.boxes, keys.boxes, keys.valid)
    return query.roi_feats + taken


@MODELS.register_module()
class MegaAggregator(nn.Module):
    """Global, then local relations with a memory of past windows (MEGA, section 3).

    Args:
        in_channels: C. num_attention_blocks: heads of a relation.
        stages: local stages, the last of which sees the key frame only.
        global_stages: 1, or 2 with another global relation after the last local stage.
        distilled: D.
    """

    def __init__(
        self,
        in_channels: int = 1024,
        num_attention_blocks: int = 16,
        stages: int = 3,
        global_stages: int = 1,
        distilled: int = 15,
    ) -> None:
        super().__init__()
        if stages < 2 or global_stages not in (1, 2):
            raise ConfigError(
                f'MegaAggregator has stages >= 2 and global_stages of 1 or 2, got {stages} and '
                f'{global_stages}.'
            )
        self.distilled = distilled
        size = in_channels, num_attention_blocks
        self.local = nn.ModuleList(Relation(*size) for _ in range(stages))
        relations = (Relation(*size, position=False) for _ in range(global_stages))
        self.add_module('global', nn.ModuleList(relations))

    uses_globals = True

    @property
    def num_fcs(self) -> int:
        """Layers that the head needs: one that makes features, and one between two stages."""
        return len(self.local)

    def kept_per_frame(self, base: int) -> list[int]:
        """Regions that each stage leaves to a memory of a frame that has `base` of them."""
        return [base] + [min(base, self.distilled)] * (len(self.local) - 1)

    def forward(
        self,
        fcs: nn.ModuleList,
        key: Regions | None,
        window: Regions,
        globals_: Regions,
        memory: list[Regions] | None = None,
    ) -> tuple[Tensor | None, list[Regions]]:
        """Features of the key frame for the classifier, and what a memory may keep of the window.

        Args:
            fcs: the head's layers between the stages.
            key: [B, K, ...]; None when only a memory is made.
            window: [B, W, R, ...], the key frame among them. globals_: [B, M, ...].
            memory: for every local stage what earlier windows left, [B, M_i, ...].

        Returns:
            [B, K, C], and for every stage the window's references [B, W, R or D, ...].
        """
        first, *last = self.get_submodule('global')
        refs = window.with_feats(_attend(first, window.flat(), globals_))
        own = refs.best(self.distilled)
        if key is not None:
            key = key.with_feats(_attend(first, key, globals_))
        kept = []
        for i, relation in enumerate(self.local):
            kept.append(refs)
            keys = refs.flat() if memory is None else beside(refs.flat(), memory[i])
            if i == len(self.local) - 1:
                break
            key, own = self._stage(relation, fcs[i], key, own, keys)
            refs = own
        if key is None:
            return None, kept
        key = key.with_feats(_attend(self.local[-1], key, keys))
        for relation in last:
            key = key.with_feats(_attend(relation, key, globals_))
        return key.roi_feats, kept

    @staticmethod
    def _stage(
        relation: Relation, fc: nn.Linear, key: Regions | None, own: Regions, keys: Regions
    ) -> tuple[Regions | None, Regions]:
        """Both the key's regions and the distilled ones take from the references."""
        query = own.flat() if key is None else beside(key, own.flat())
        roi_feats = F.relu(fc(_attend(relation, query, keys)))
        if key is None:
            return None, own.with_feats(roi_feats)
        number = key.roi_feats.shape[1]
        return key.with_feats(roi_feats[:, :number]), own.with_feats(roi_feats[:, number:])


@MODELS.register_module()
class RDNAggregator(nn.Module):
    """Relations to the regions of a window; references keep their first features (RDN, section 3).

    Args:
        in_channels: C. num_attention_blocks: heads of a relation.
        stages: base stages: the key's regions take from all references.
        advanced_stages: distilled references first take from all others, then the key from them.
        distilled: D.
    """

    def __init__(
        self,
        in_channels: int = 1024,
        num_attention_blocks: int = 16,
        stages: int = 2,
        advanced_stages: int = 0,
        distilled: int = 15,
    ) -> None:
        super().__init__()
        if stages < 1 or advanced_stages < 0:
            raise ConfigError(
                f'RDNAggregator has stages >= 1 and advanced_stages >= 0, got {stages} and '
                f'{advanced_stages}.'
            )
        self.stages, self.advanced_stages, self.distilled = stages, advanced_stages, distilled
        number = stages + advanced_stages + (advanced_stages > 0)
        self.local = nn.ModuleList(
            Relation(in_channels, num_attention_blocks, key_prior=False) for _ in range(number)
        )

    uses_globals = False

    @property
    def num_fcs(self) -> int:
        """Layers that the head needs: one before every base stage, one after every advanced one."""
        return self.stages + self.advanced_stages

    def kept_per_frame(self, base: int) -> list[int]:
        """There is no memory."""
        return []

    def forward(
        self,
        fcs: nn.ModuleList,
        key: Regions,
        window: Regions,
        globals_: None = None,
        memory: list[Regions] | None = None,
    ) -> tuple[Tensor, list[Regions]]:
        """Features [B, K, C] of the key frame for the classifier, and nothing for a memory.

        Args:
            fcs: the head's layers after the first.
            key: [B, K, ...]. window: [B, W, R, ...].
            globals_, memory: not used.
        """
        refs = window.flat()
        for i in range(self.stages):
            if i > 0:
                key = key.with_feats(F.relu(fcs[i - 1](key.roi_feats)))
            key = key.with_feats(_attend(self.local[i], key, refs))
        if self.advanced_stages == 0:
            return key.roi_feats, []
        own = window.best(self.distilled).flat()
        for i in range(self.stages, self.stages + self.advanced_stages):
            own = own.with_feats(F.relu(fcs[i - 1](_attend(self.local[i], own, refs))))
        return _attend(self.local[-1], key, own), []
