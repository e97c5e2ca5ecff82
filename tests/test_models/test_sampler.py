import pytest
import torch

from mmdet.models.task_modules import RandomSampler

RPN = RandomSampler(num=256, pos_fraction=0.5, add_gt_as_proposals=False)


def assignment(num_pos: int, num_neg: int, num_ignored: int = 7) -> torch.Tensor:
    values = [3] * num_pos + [0] * num_neg + [-1] * num_ignored
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    return torch.tensor(values)[order]


@pytest.mark.parametrize(
    ('available', 'expected'),
    [
        ((300, 1000), (128, 128)),
        ((20, 1000), (20, 236)),
        ((300, 100), (128, 100)),
        ((0, 1000), (0, 256)),
        ((5, 3), (5, 3)),
    ],
)
def test_positives_are_bounded_and_negatives_fill_the_rest(available, expected):
    assigned = assignment(*available)
    pos, neg = RPN.choose(assigned)
    assert (len(pos), len(neg)) == expected
    assert (assigned[pos] > 0).all() and (assigned[neg] == 0).all()
    for indices in (pos, neg):
        assert indices.tolist() == sorted(set(indices.tolist()))


def test_share_of_positives_is_rounded_down():
    sampler = RandomSampler(num=10, pos_fraction=0.25)
    pos, neg = sampler.choose(assignment(100, 100))
    assert (len(pos), len(neg)) == (2, 8)


def test_draws_come_from_the_global_generator_positives_first():
    assigned = assignment(300, 1000)
    torch.manual_seed(5)
    pos, neg = RPN.choose(assigned)
    torch.manual_seed(5)
    candidates = [(assigned > 0).nonzero().flatten(), (assigned == 0).nonzero().flatten()]
    for found, of in zip((pos, neg), candidates, strict=True):
        expected = of[torch.randperm(len(of))[:128]]
        assert found.tolist() == sorted(expected.tolist())


def test_nothing_is_drawn_where_everything_fits():
    before = torch.get_rng_state()
    RPN.choose(assignment(128, 128))
    assert torch.equal(torch.get_rng_state(), before)


def test_negatives_can_be_bounded_by_positives():
    sampler = RandomSampler(num=256, pos_fraction=0.5, neg_pos_ub=3)
    assert [len(x) for x in sampler.choose(assignment(10, 1000))] == [10, 30]
    assert [len(x) for x in sampler.choose(assignment(0, 1000))] == [0, 3]


def test_ground_truth_is_a_candidate_ahead_of_the_proposals():
    gts = torch.tensor([[0.0, 0, 5, 5], [10, 10, 20, 20]])
    proposals = torch.tensor([[1.0, 1, 2, 2], [11, 11, 20, 20], [3, 3, 4, 4]])
    assigned = torch.tensor([0, 2, -1])
    samples = RandomSampler(num=8, pos_fraction=0.5).sample(proposals, assigned, gts)
    expected = torch.cat([gts, proposals[1:2], proposals[:1]])  # positives, then negatives
    assert torch.equal(samples.boxes, expected)
    assert (samples.pos_gt.tolist(), samples.num_pos, len(samples)) == ([0, 1, 1], 3, 4)
    without = RandomSampler(num=8, pos_fraction=0.5, add_gt_as_proposals=False)
    samples = without.sample(proposals, assigned, gts)
    assert torch.equal(samples.boxes, proposals[[1, 0]]) and samples.pos_gt.tolist() == [1]


def test_an_image_without_ground_truth():
    samples = RandomSampler(num=2, pos_fraction=0.5).sample(
        torch.rand(5, 4), torch.zeros(5, dtype=torch.long), torch.zeros(0, 4)
    )
    assert (len(samples), samples.num_pos, len(samples.pos_gt)) == (2, 0, 0)
