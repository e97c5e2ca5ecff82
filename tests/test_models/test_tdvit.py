"""The TDViT backbone: its blocks against a loop over windows, its layout, names and weights."""

import pytest
import torch
from naive_swin import block_output
from test_swin import TINY, assert_same_function, images, randomise

from mmdet.core.errors import ConfigError
from mmdet.models.backbones import SwinTransformer, TDViTTransformer
from mmdet.models.backbones.swin_layers import SwinBlock
from mmdet.registry import MODELS

TINY_TDVIT = {**TINY, 'dilations': (2, 3)}
SIZES = {
    't': dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    't_plus': dict(embed_dims=96, depths=(2, 2, 8, 2), num_heads=(3, 6, 12, 24), extra_blocks=2),
    's': dict(embed_dims=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    's_plus': dict(embed_dims=96, depths=(2, 2, 20, 2), num_heads=(3, 6, 12, 24), extra_blocks=2),
    'b': dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    'b_plus': dict(embed_dims=128, depths=(2, 2, 20, 2), num_heads=(4, 8, 16, 32), extra_blocks=2),
}


def tiny(seed: int = 0, **settings) -> TDViTTransformer:
    model = MODELS.build(dict(type='TDViTTransformer', **{**TINY_TDVIT, **settings}))
    return randomise(model, seed).eval()


def temporal_block(attention: str, shifted: bool) -> SwinBlock:
    """With window 3; odd blocks are shifted by 1, and both of the last two are temporal."""
    block = tiny(attention=attention, depths=(4, 2)).stages[0].blocks[3 if shifted else 2]
    assert block.attn.shift == shifted
    return block.double()


# ---- one block


@pytest.mark.parametrize('hw', [(6, 9), (5, 7), (2, 2)])
@pytest.mark.parametrize('shifted', [False, True])
@pytest.mark.parametrize('attention', ['joint', 'cross'])
def test_a_temporal_block_equals_the_loop_over_its_windows(attention, shifted, hw):
    """With its gradients, those that come through the reference's keys and values included."""
    block = temporal_block(attention, shifted)
    shape = 2, hw[0] * hw[1], 8
    x = images(*shape).double().requires_grad_()
    other = images(*shape, seed=5).double().requires_grad_()
    expected = block_output(block, x, hw, references=other, joint=attention == 'joint')
    assert_same_function(
        lambda: block(x, hw, reference=block.keys_values(other, hw)), expected, [x, other], block
    )


# ---- layout


def letters(model: TDViTTransformer) -> list[str]:
    places = {(p.stage, p.index) for p in model.temporal_blocks}
    return [
        ''.join('t' if (i, j) in places else 's' for j in range(len(stage.blocks)))
        for i, stage in enumerate(model.stages)
    ]


def test_layouts_of_the_paper():
    with torch.device('meta'):
        split = {name: letters(TDViTTransformer(**size)) for name, size in SIZES.items()}
        factorised = TDViTTransformer(scheme='factorised')
    assert split['t'] == ['st', 'st', 'sssttt', 'st']
    assert split['t_plus'] == ['st', 'st', 'sssttttt', 'st']
    assert split['s'] == split['b'] == ['st', 'st', 's' * 9 + 't' * 9, 'st']
    assert split['s_plus'] == split['b_plus'] == ['st', 'st', 's' * 9 + 't' * 11, 'st']
    assert letters(factorised) == ['st', 'st', 'ststst', 'st']
    assert [p.dilation for p in factorised.temporal_blocks] == [4, 8, 16, 16, 16, 32]


# ---- weights


def plus(**settings) -> TDViTTransformer:
    return TDViTTransformer(
        **{**TINY, 'depths': (2, 2, 6), 'num_heads': (2, 4, 4), 'out_indices': (0, 1, 2)},
        dilations=(1, 2, 3), extra_blocks=2, **settings,
    )  # fmt: skip


def check_copies(model: TDViTTransformer) -> None:
    state = model.state_dict()
    for new, old in ((4, 2), (5, 3)):
        names = [name for name in state if name.startswith(f'stages.2.blocks.{old}.')]
        assert len(names) == 14
        for name in names:
            assert torch.equal(state[name.replace(f'blocks.{old}', f'blocks.{new}')], state[name])
        a, b = (model.stages[2].blocks[i] for i in (new, old))
        assert a.attn.shift == b.attn.shift


def test_extra_blocks_start_as_copies_and_are_never_dropped():
    model = plus()
    model.init_weights()
    check_copies(model)
    assert not torch.equal(
        model.stages[2].blocks[3].attn.w_msa.qkv.weight,
        model.stages[2].blocks[2].attn.w_msa.qkv.weight,
    )
    model = TDViTTransformer(**SIZES['t_plus'], drop_path_rate=0.2)
    rates = [block.drop_path.rate for stage in model.stages for block in stage.blocks]
    plain = torch.linspace(0, 0.2, 12).tolist()
    assert rates == pytest.approx([*plain[:10], 0, 0, *plain[10:]])


def test_a_swin_file_fills_the_extra_blocks(tmp_path):
    swin = randomise(SwinTransformer(**{
        **TINY, 'depths': (2, 2, 4), 'num_heads': (2, 4, 4), 'out_indices': (0, 1, 2)
    }))  # fmt: skip
    torch.save(swin.state_dict(), tmp_path / 'swin.pth')
    model = plus(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'swin.pth')))
    model.init_weights()
    check_copies(model)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in swin.state_dict().items())


def test_a_file_of_the_same_model_keeps_its_extra_blocks(tmp_path):
    trained = randomise(plus())
    torch.save(trained.state_dict(), tmp_path / 'trained.pth')
    model = plus(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'trained.pth')))
    model.init_weights()
    loaded = model.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in trained.state_dict().items())


# ---- settings


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(attention='both'), "attention 'both': expected 'joint' or 'cross'"),
        (dict(scheme='halves'), "expected 'split' or 'factorised'"),
        (dict(memory='latest'), "memory 'latest': expected 'earliest' or 'nms'"),
        (dict(hold=3), "hold 3: expected 'D' or 1"),
        (dict(memory_feature='both'), "expected 'input' or 'output'"),
        (dict(dilations=(4, 8, 16)), 'one for each of the 2 stages'),
        (dict(dilations=(0, 1)), 'at least 1'),
        (dict(dilations=(1.5, 2)), 'whole frames'),
        (dict(extra_blocks=2), r'depths \(2, 2\) has 2'),
        (dict(depths=(2, 2, 3), num_heads=(2, 4, 4), dilations=(1, 1, 1), extra_blocks=2),
         'expected 0 to 1'),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**settings)
