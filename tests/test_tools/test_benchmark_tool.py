"""tools/benchmark.py on small things: every subject runs and prints what it measured."""

import re

import pytest
from tiny_streams import scenes, write_frames

from mmdet.programs.commands import benchmark


@pytest.fixture
def measured(repo, capsys):
    """measured('train {sample}/mamba_r18.py --batch 2'): what is printed."""

    def measured(text: str) -> str:
        benchmark.main(text.format(sample=repo / 'configs/sample').split())
        return capsys.readouterr().out

    return measured


def test_eval_says_what_on_what_and_how_fast(measured):
    printed = measured('eval --frames 40 --boxes 12 --repeats 2')
    for text in ('torch', 'numpy', 'cores usable', '40 frames with 12 detections', 'median of 2'):
        assert text in printed
    assert len(re.findall(r'[\d.]+ s +[\d.]+ s +[\d,]+ +\d+ MB', printed)) == 4
    ratio = re.search(r'(\d+) times the CPU time; AP differs by at most (\S+)', printed)
    assert float(ratio[2]) < 1e-9


def test_data_loads_clips_of_made_up_frames(measured):
    printed = measured('data --only clips --clips 2')
    assert len(re.findall(r'[\d.]+ ms +[\d.]+ ms', printed)) == 2


def test_infer_shows_every_stage(measured):
    printed = measured('infer {sample}/mamba_r18.py --frames 2 --device cpu')
    for stage in ('upload', 'backbone', 'neck', 'proposals', 'RoI features', 'rest'):
        assert re.search(rf'{stage} +│ +\d+\.\d\d', printed), stage
    assert re.search(r'reading, one process: \d+\.\d frames/s', printed)
    assert re.search(r'\d frames/s; .* the first frame, with its references, \d+ ms', printed)


def test_train_takes_real_steps(measured):
    printed = measured('train {sample}/mamba_r18.py --batch 2 --steps 2 --device cpu --amp bf16')
    assert 'MAMBA, bf16, 2 clip(s) (108, 192)' in printed
    assert re.search(r': \d+\.\d+ s per step, peak \d+ MB resident', printed)


def test_gpu_measures_every_method_also_without_a_gpu(measured, tmp_path):
    flags = f'--methods MAMBA EOVOD --modes fp32 --no-commands --out {tmp_path}'
    assert 'the figures mean nothing' in measured(f'gpu {flags}')
    assert (tmp_path / 'gpu.json').is_file()


def test_levels_of_a_size_prior(measured, tmp_path):
    """Random weights find nothing, so that all levels run; a detector alone has no prior."""
    rest = f'{write_frames(tmp_path / "v", scenes(4, size=(96, 160)))} --frames 3 --device cpu'
    printed = measured(f'levels {{sample}}/eovod_fcos_r18.py {rest}')
    assert all(f'stride {stride}' in printed for stride in (8, 16, 32))
    assert printed.count('100%') == 3 and 'whole frame' in printed
    with pytest.raises(SystemExit, match='size_prior'):
        measured(f'levels {{sample}}/fcos_r18.py {rest}')
