import torch

from mmdet.models.task_modules import RandomSampler, Samples

RPN = RandomSampler(num=256, pos_fraction=0.5, add_gt_as_proposals=False)


def assignment(num_pos: int, num_neg: int, num_ignored: int = 7) -> torch.Tensor:
    values = [3] * num_pos + [0] * num_neg + [-1] * num_ignored
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    return torch.tensor(values)[order]


def counts(samples: Samples) -> list[tuple[int, int]]:
    """Positives and negatives of every image."""
    negative = samples.valid & ~samples.positive
    return list(zip(samples.positive.sum(1).tolist(), negative.sum(1).tolist(), strict=True))


def check_consistent(samples: Samples, assigned: torch.Tensor) -> None:
    """Slots hold what they say: positives, negatives, nothing, and no candidate twice."""
    kinds = samples.positive.int() + samples.valid
    assert (kinds.diff(dim=1) <= 0).all()
    for chosen, positive, valid, own in zip(
        samples.indices, samples.positive, samples.valid, assigned, strict=True
    ):
        assert (own[chosen[positive]] > 0).all() and (own[chosen[valid & ~positive]] == 0).all()
        assert len(set(chosen[valid].tolist())) == valid.sum()


CASES = {
    (300, 1000): (128, 128),
    (20, 1000): (20, 236),
    (300, 100): (128, 100),
    (0, 1000): (0, 256),
    (5, 3): (5, 3),
    (200, 20): (128, 20),
    (0, 0): (0, 0),
}


def test_counts_of_a_batch_are_those_of_its_images():
    total = 1400
    assigned = torch.stack([assignment(p, n, total - p - n) for p, n in CASES])
    samples = RPN.choose(assigned)
    assert samples.indices.shape == (len(CASES), 256)
    assert counts(samples) == list(CASES.values())
    check_consistent(samples, assigned)


def test_everything_is_taken_where_there_is_room():
    assigned = torch.stack([assignment(6, 30), assignment(0, 36)])
    samples = RandomSampler(num=10**6, pos_fraction=0.5).choose(assigned)
    assert samples.indices.shape == assigned.shape and counts(samples) == [(6, 30), (0, 36)]
    check_consistent(samples, assigned)


def test_draws_come_from_the_global_generator():
    assigned = assignment(300, 1000)[None]
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(RPN.choose(assigned).indices.tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_every_candidate_is_drawn_equally_often():
    assigned = assignment(12, 40, 5).expand(4000, -1)  # of 12 positives 4, of 40 negatives 12
    torch.manual_seed(0)
    samples = RandomSampler(num=16, pos_fraction=0.25).choose(assigned)
    times = torch.bincount(samples.indices[samples.valid], minlength=assigned.shape[1]) / 4000
    expected = torch.where(assigned[0] > 0, 4 / 12, torch.where(assigned[0] == 0, 12 / 40, 0.0))
    torch.testing.assert_close(times, expected, atol=0.03, rtol=0)  # four standard deviations
    # draws of two images are their own
    assert (samples.indices[:-1] != samples.indices[1:]).any(dim=1).float().mean() > 0.99


def test_negatives_can_be_bounded_by_positives():
    sampler = RandomSampler(num=256, pos_fraction=0.5, neg_pos_ub=3)
    assigned = torch.stack([assignment(10, 1000), assignment(0, 1010)])
    assert counts(sampler.choose(assigned)) == [(10, 30), (0, 3)]
