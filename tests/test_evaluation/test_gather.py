import json
import os
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp
from eval_files import TWO_VIDEOS, cocovid, detections_of, perfect_results

from mmdet.core.errors import EvaluationError
from mmdet.evaluation import VideoDetectionMetric, evaluate_results
from mmdet.evaluation.gather import broadcast_object, cpu_group, gather_objects


def test_one_process_needs_no_group():
    assert gather_objects({'a': 1}) == [{'a': 1}]
    assert broadcast_object('x') == 'x'
    with cpu_group(60) as group:
        assert group is None


def start(rank, world, work, folder):
    os.environ.update(MASTER_ADDR='127.0.0.1', OMP_NUM_THREADS='1')
    sys.path.insert(0, str(Path(__file__).parent))
    store = f'file://{folder}/store'
    dist.init_process_group('gloo', init_method=store, rank=rank, world_size=world)
    try:
        outcome = work(rank, Path(folder))
        (Path(folder) / f'outcome_{rank}.json').write_text(json.dumps(outcome))
    finally:
        dist.destroy_process_group()


def on_ranks(world, work, folder):
    """What `work(rank, folder)` gave on each rank."""
    mp.start_processes(start, (world, work, str(folder)), world, start_method='spawn')
    return [json.loads((folder / f'outcome_{rank}.json').read_text()) for rank in range(world)]


def work(rank, folder):
    """Rank 0 holds no image, rank 1 all five; then too few; what comes of it."""
    gathered = gather_objects(['x'] * rank)
    opened = patch.object(dist, 'new_group', wraps=dist.new_group)
    with patch.object(dist, 'get_backend', return_value='nccl'), opened as opened:
        with cpu_group(77) as group:
            beside_nccl = gather_objects(rank, group)
            told = broadcast_object(f'from {rank}', group)
            own = group is not None
    timeout = opened.call_args.kwargs['timeout'].total_seconds()
    with cpu_group(77) as beside_gloo:
        own = own and beside_gloo is None
    results = perfect_results(TWO_VIDEOS)
    metric = VideoDetectionMetric(
        folder / 'a.json', out_file=folder / 'r.pkl', work_dir=folder / 'work'
    )
    metric.process(None, detections_of(results, [[], [4, 0, 2, 1, 3]][rank]))
    metrics = metric.evaluate(5)
    left = len(metric.results)
    metric.process(None, detections_of(results, [[], [4, 0, 2]][rank]))
    try:
        metric.evaluate(5)
    except EvaluationError as error:
        message = str(error)
    gathered = [gathered, beside_nccl]
    group = [own, timeout, told]
    outcome = {'metrics': metrics, 'left': left, 'error': message}
    return {'gathered': gathered, 'group': group, **outcome}


@pytest.mark.dist
def test_two_ranks_of_which_one_is_empty(tmp_path):
    ann_file = cocovid(tmp_path / 'a.json', TWO_VIDEOS)
    outcomes = on_ranks(2, work, tmp_path)
    assert [o['gathered'] for o in outcomes] == [[[[], ['x']], [0, 1]], [None, None]]
    assert [o['group'] for o in outcomes] == [[True, 77.0, 'from 0']] * 2
    alone = evaluate_results(perfect_results(TWO_VIDEOS), ann_file)
    assert [o['metrics'] for o in outcomes] == [alone] * 2
    assert [o['left'] for o in outcomes] == [0, 0]
    assert evaluate_results(tmp_path / 'r.pkl', ann_file) == alone
    on_rank_0, elsewhere = (o['error'] for o in outcomes)
    assert '2 images have no detections' in on_rank_0 and '(ids 2, 4)' in on_rank_0
    told, kept = on_rank_0.split(' The detections are kept in ')
    assert elsewhere == f'Rank 0 could not evaluate. EvaluationError: {told}'
    assert kept.startswith(str(tmp_path / 'work/detections'))
