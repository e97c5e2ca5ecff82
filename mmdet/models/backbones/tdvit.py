"""TDViT: a Swin whose last blocks in every stage look at past frames (ECCV 2022, arXiv 2402.09257).

A *temporal block* is Swin's block, with Swin's weights, that attends to a reference map of another
frame: in each window to the reference's window at the same place, instead of its own (`cross`, the
paper) or besides it (`joint`). The reference of the block's own map makes it exactly Swin's block,
so a TDViT without memory is the plain Swin.

The model keeps nothing of a video: `TemporalMemory` turns the maps that `remember` hands out into
the references of the next frames. In training the references are maps of other frames of the clip
(`train_maps`).

B: images, S: stages, H, W: a stage's token map, C: its channels, M*T: tokens of its windows.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from mmdet.models.backbones.pieces import image_by_image
from mmdet.models.backbones.swin import SwinTransformer
from mmdet.models.backbones.swin_layers import SwinBlock
from mmdet.models.backbones.tdvit_layout import (
    EXTRA_STAGE,
    TemporalBlock,
    check_choice,
    temporal_blocks,
)
from mmdet.models.backbones.tdvit_training import ReferencePass
from mmdet.registry import MODELS, check_arguments

MEMORIES = ('earliest', 'nms', 'channel_shuffle', 'patch_shuffle', 'off')


@MODELS.register_module()
class TDViTTransformer(SwinTransformer):
    """TDViT-T (by default), -S or -B, with the names and the parameters of the Swin of that size.

    The "+" variants have `depths` of (2, 2, 8, 2) or (2, 2, 20, 2) and `extra_blocks=2`.

    As published (`cross`) the blocks lose the frame's own surroundings; trained again it was 4 AP
    below a plain Swin-T (46.0, 50.2), `joint` was level with or above it (50.6).

    Args:
        attention: 'joint' or 'cross', see above.
        scheme: which blocks are temporal, see `temporal_blocks`.
        extra_blocks: temporal blocks at the end of the third stage that no Swin file has weights
            for. They start as copies of the two before them, and are never dropped.
        dilations: D of each stage: a reference is D to 2D - 1 frames old.
        memory: how a reference is taken from the last D maps. 'earliest': the oldest; 'nms': the
            one of largest norm; 'channel_shuffle': each channel from a random one;
            'patch_shuffle': each quadrant from a random one of a quarter of them; 'off': none,
            which is the plain Swin.
        hold: for how many frames a reference is used: 'D' or 1.
        memory_feature: which map of a temporal block is remembered, its 'input' or its 'output'.
        paired: in training, the references' temporal blocks see the key frame's map, not their own.
        swin: the arguments of `SwinTransformer`.
    """

    def __init__(
        self,
        attention: str = 'joint',
        scheme: str = 'split',
        extra_blocks: int = 0,
        dilations: Sequence[int] = (4, 8, 16, 32),
        memory: str = 'earliest',
        hold: str | int = 'D',
        memory_feature: str = 'input',
        paired: bool = False,
        **swin,
    ) -> None:
        check_arguments(SwinTransformer, swin)
        check_choice('attention', attention, ('joint', 'cross'))
        check_choice('scheme', scheme, ('split', 'factorised'))
        check_choice('memory', memory, MEMORIES)
        check_choice('hold', hold, ('D', 1))
        check_choice('memory_feature', memory_feature, ('input', 'output'))
        super().__init__(**swin)
        depths = [len(stage.blocks) for stage in self.stages]
        self.extra_blocks = extra_blocks
        self.memory = memory
        self.hold = hold
        self.memory_feature = memory_feature
        self.paired = paired
        self.temporal_blocks = temporal_blocks(depths, extra_blocks, scheme, dilations)
        for place in self.temporal_blocks:
            self.block_at(place).attn.w_msa.joint = attention == 'joint'
        self._set_drop_path(swin.get('drop_path_rate', 0.1))

    def block_at(self, place: TemporalBlock) -> SwinBlock:
        return self.stages[place.stage].blocks[place.index]

    def map_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """(H, W) of every stage's token map, for images of this size."""
        size = self.patch_embed.patch_size
        hw = -(-height // size), -(-width // size)
        sizes = [hw]
        for _ in self.stages[1:]:
            hw = -(-hw[0] // 2), -(-hw[1] // 2)
            sizes.append(hw)
        return sizes

    def forward(self, x: Tensor, stage_refs: Tensor | None = None) -> tuple[Tensor, ...]:
        """Maps [B, C_i, H_i, W_i] of images [B, 3, h, w]; `stage_refs`: in training, the references
        of `train_maps`. None: every block sees its own map, as in the plain Swin."""
        return self.remember(x)[0] if stage_refs is None else self.train_maps(x, stage_refs)

    def remember(
        self, x: Tensor, references: Sequence[Tensor] | None = None
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """Maps [B, C_i, H_i, W_i] of normalised images [B, 3, h, w], and of every temporal block
        the map [B, H*W, C] that it may remember.

        Args:
            references: of every temporal block the keys and values of each image's reference,
                [B, M*T, 2C] (`TemporalMemory.references`). None: every block sees its own map.
        """
        outputs = image_by_image(self._remember, x, *(references or ()))
        levels = len(self.out_indices)
        return outputs[:levels], list(outputs[levels:])

    def _remember(self, x: Tensor, *references: Tensor) -> tuple[Tensor, ...]:
        keys = dict(zip(self.temporal_blocks, references, strict=True)) if references else {}
        maps, kept = self._run(x, lambda place, *_: keys.get(place))
        return (*maps, *kept)

    def train_maps(self, x: Tensor, refs: Tensor) -> tuple[Tensor, ...]:
        """Maps of key frames [B, 3, h, w] whose temporal blocks see reference frames
        [B, S, 3, h, w], one for every stage: those of stage s see the map of reference s there.

        References pass without gradients and without stochastic depth, each block seeing its own
        map (or, `paired`, the key frame's). The key frame's gradient reaches the keys and values
        made of these maps, not the maps.
        """
        if refs.shape[1] != len(self.stages):
            raise ValueError(
                f'{refs.shape[1]} references: TDViT trains with one for each of its '
                f'{len(self.stages)} stages.'
            )
        others = ReferencePass(self, refs.transpose(0, 1))

        def reference(place: TemporalBlock, block: SwinBlock, own: Tensor, hw: tuple) -> Tensor:
            return block.keys_values(others.map_at(place, own), hw)

        return self._run(x, reference)[0]

    def _run(
        self, image: Tensor, reference: Callable[..., Tensor | None]
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """`remember`, with what gives the reference of (place, block, its input, (H, W))."""
        places = {(place.stage, place.index): place for place in self.temporal_blocks}
        kept = []

        def run(number: tuple, block: SwinBlock, x: Tensor, hw: tuple, num_prompts: int) -> Tensor:
            place = places.get(number)
            keys = None if place is None else reference(place, block, x, hw)
            out = self._run_block(block, x, hw, num_prompts, keys)
            if place is not None:
                kept.append(x if self.memory_feature == 'input' else out)
            return out

        return self._walk(image, None, run), kept

    def _set_drop_path(self, rate: float) -> None:
        """Linear over Swin's own blocks; the extra ones are never dropped."""
        blocks = {name: m for name, m in self.named_modules() if isinstance(m, SwinBlock)}
        own = [block for name, block in blocks.items() if f'{name}.' not in self._extra_prefixes()]
        for block in blocks.values():
            block.drop_path.rate = 0.0
        for i, block in enumerate(own):
            block.drop_path.rate = rate * i / max(len(own) - 1, 1)

    def _extra_prefixes(self) -> tuple[str, ...]:
        depth = len(self.stages[EXTRA_STAGE].blocks) if self.extra_blocks else 0
        extra = range(depth - self.extra_blocks, depth)
        return tuple(f'stages.{EXTRA_STAGE}.blocks.{j}.' for j in extra)

    def init_weights(self) -> None:
        """As in `SwinTransformer`; the extra blocks start as copies of the two before them."""
        super().init_weights()
        if self.init_cfg is None and self.extra_blocks:
            state = self.state_dict()
            own = {k: v for k, v in state.items() if not k.startswith(self._extra_prefixes())}
            self.load_state_dict(self._fill_extra(own))

    def _own_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._fill_extra(super()._own_weights(state))

    def _fill_extra(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """`state` with the weights of extra blocks that it lacks, from two blocks before (every
        other one is shifted)."""
        for prefix in self._extra_prefixes():
            stem, index = prefix.removesuffix('.').rsplit('.', 1)
            source = f'{stem}.{int(index) - 2}.'
            for name in [name for name in state if name.startswith(source)]:
                state.setdefault(prefix + name.removeprefix(source), state[name])
        return state
