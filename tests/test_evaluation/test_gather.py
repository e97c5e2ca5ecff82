"""Several ranks, of which one may hold no image: rank 0 scores, and all get the metrics."""

import json
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from eval_files import TWO_VIDEOS, cocovid, detections_of, perfect_results

from mmdet.core.errors import EvaluationError
from mmdet.evaluation import VideoDetectionMetric, evaluate_results
from mmdet.evaluation.gather import broadcast_object, cpu_group, gather_objects


def rank_of_two(rank, folder):
    """Rank 0 holds no image, rank 1 all five; then too few; writes what comes of it."""
    torch.set_num_threads(1)
    store = f'file://{folder}/store'
    dist.init_process_group('gloo', init_method=store, rank=rank, world_size=2)
    found = {'gathered': gather_objects(['x'] * rank)}
    opened = patch.object(dist, 'new_group', wraps=dist.new_group)
    with patch.object(dist, 'get_backend', return_value='nccl'), opened as opened:
        with cpu_group(77) as group:
            found['beside NCCL'] = gather_objects(rank, group)
            found['told'] = broadcast_object(f'from {rank}', group)
            found['its own'] = group is not None
    found['timeout'] = opened.call_args.kwargs['timeout'].total_seconds()
    with cpu_group(77) as group:
        found['beside gloo'] = group
    out = dict(out_file=folder / 'r.pkl', work_dir=folder / 'work')
    metric = VideoDetectionMetric(folder / 'a.json', **out)
    metric.process(None, detections_of(perfect_results(), [[], [4, 0, 2, 1, 3]][rank]))
    found['metrics'] = metric.evaluate(5)
    found['left'] = len(metric.results)
    metric.process(None, detections_of(perfect_results(), [[], [4, 0, 2]][rank]))
    try:
        metric.evaluate(5)
    except EvaluationError as error:
        found['error'] = str(error)
    (folder / f'{rank}.json').write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.mark.dist
def test_two_ranks_of_which_one_is_empty(tmp_path):
    ann_file = cocovid(tmp_path / 'a.json', TWO_VIDEOS)
    mp.start_processes(rank_of_two, (tmp_path,), 2, start_method='fork')
    first, second = (json.loads((tmp_path / f'{rank}.json').read_text()) for rank in (0, 1))
    assert first['gathered'] == [[], ['x']] and first['beside NCCL'] == [0, 1]
    assert second['gathered'] is second['beside NCCL'] is None
    alone = evaluate_results(perfect_results(), ann_file)
    assert evaluate_results(tmp_path / 'r.pkl', ann_file) == alone
    wanted = {'told': 'from 0', 'its own': True, 'timeout': 77, 'beside gloo': None, 'left': 0}
    for found in (first, second):
        assert wanted | {'metrics': alone} == {k: found[k] for k in (*wanted, 'metrics')}
    assert '2 images have no detections' in first['error'] and '(ids 2, 4)' in first['error']
    told, kept = first['error'].split(' The detections are kept in ')
    assert second['error'] == f'Rank 0 could not evaluate. EvaluationError: {told}'
    assert kept.startswith(str(tmp_path / 'work/detections'))
