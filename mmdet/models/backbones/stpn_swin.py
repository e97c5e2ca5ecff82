"""Swin with prompts (STPN, Sun et al., ICCV 2023, arXiv 2402.02574).

Prompts are tokens made from other frames. They are put in front of the patch tokens once, right
after the patch embedding, and live through all stages: in every window of a block each patch sees
all prompts and each prompt all patches, and what a prompt became in the windows of its image is
averaged. They have no position, so no relative bias and no shift mask, and are dropped from the
output. No parameter is added: the state dict is that of the plain Swin.
"""

from torch import Tensor

from mmdet.core.errors import ConfigError
from mmdet.models.backbones.swin import SwinTransformer
from mmdet.models.backbones.swin_layers import PatchMerging
from mmdet.models.backbones.window_attention import ShiftedWindowAttention
from mmdet.models.backbones.windows import PROMPT_ORDERS
from mmdet.registry import MODELS, check_arguments


@MODELS.register_module()
class STPNSwinTransformer(SwinTransformer):
    """A Swin that can be given prompts; without them it is exactly `SwinTransformer`.

    Args:
        num_tokens: P, prompts per image; that of the prompt predictor.
        prompt_layout: how patch merging widens a prompt, 'tile' or 'interleave' (`PatchMerging`).
            Weights trained with one do not fit the other; released ones need 'tile'.
        prompt_order: 'batch', every image sees its own prompts; or 'window', which mixes the
            prompts of a batch of images as version 1.x did (`PROMPT_ORDERS`). One image at a time
            they are the same.
        swin: the arguments of `SwinTransformer`.
    """

    def __init__(
        self,
        num_tokens: int = 5,
        prompt_layout: str = 'tile',
        prompt_order: str = 'batch',
        **swin,
    ) -> None:
        check_arguments(SwinTransformer, swin)
        if prompt_order not in PROMPT_ORDERS:
            raise ConfigError(
                f"prompt_order {prompt_order!r}: expected 'batch' or 'window' (as version 1.x)."
            )
        self.prompt_layout = prompt_layout
        super().__init__(**swin)
        self.num_tokens = num_tokens
        self._images_meet = prompt_order == 'window'
        for module in self.modules():
            if isinstance(module, ShiftedWindowAttention):
                module.prompt_order = prompt_order

    def _make_merging(self, dim: int) -> PatchMerging:
        return PatchMerging(dim, self.prompt_layout)

    def forward(self, x: Tensor, prompts: Tensor | None = None) -> tuple[Tensor, ...]:
        """Maps [B, C_i, H_i, W_i] of normalised images [B, 3, h, w], each seen with its prompts:
        [P, C] shared by all images, or [B, P, C]; C is embed_dims. None: plain Swin."""
        if prompts is None:
            return self._encode(x, None)
        expected = (self.num_tokens, self.num_features[0])
        legal = (expected, (len(x), *expected))
        if tuple(prompts.shape) not in legal:
            raise ValueError(
                f'prompts of shape {tuple(prompts.shape)}: expected {legal[0]} or {legal[1]}, '
                f'from num_tokens, embed_dims and the number of images.'
            )
        return self._encode(x, prompts.expand(len(x), *expected))
