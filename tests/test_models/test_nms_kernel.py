"""The Triton kernel against torchvision's operator: in Triton's interpreter, and on a GPU."""

from unittest.mock import Mock

import pytest
import torch
import torchvision
from interpreted import assert_equal_in_the_interpreter, needs_triton

from mmdet.models.task_modules import nms_kernel


def quarter_pixel_boxes(images: int, count: int, seed: int) -> torch.Tensor:
    """Many ties, and no IoU that depends on how float32 is rounded."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(0, 400, (images, count, 2), generator=generator) / 4
    return torch.cat([low, low + torch.randint(4, 240, low.shape, generator=generator) / 4], -1)


def check(device: str) -> None:
    """Sizes around CHUNK and BLOCK, more and fewer boxes than are kept, invalid boxes, none."""
    for count, max_keep in ((1, 5), (63, 50), (64, 300), (65, 64), (500, 100), (700, 300)):
        for threshold in (0.3, 0.5, 0.7):
            boxes = quarter_pixel_boxes(3, count, seed=count).to(device)
            share = torch.tensor([[1.0], [0.8], [0.0]])
            valid = torch.rand(3, count, generator=torch.manual_seed(count)) < share
            indices, used = nms_kernel.greedy_nms(boxes, valid.to(device), threshold, max_keep)
            for i in range(3):
                existing = valid[i].nonzero().flatten()
                rank = -torch.arange(len(existing)).float()
                best = torchvision.ops.nms(boxes[i].cpu()[existing], rank, threshold)
                expected = existing[best][:max_keep].tolist()
                assert indices[i][used[i]].tolist() == expected, (count, max_keep, threshold)
                assert used[i].tolist() == [n < len(expected) for n in range(max_keep)]


@needs_triton
def test_the_kernel_equals_torchvision_in_the_interpreter(repo):
    assert_equal_in_the_interpreter(__file__, repo)


@pytest.mark.gpu
def test_the_kernel_equals_torchvision_on_a_gpu():
    if not torch.cuda.is_available() or not nms_kernel.usable(torch.device('cuda')):
        pytest.skip('needs a CUDA device where Triton works')
    check('cuda')


@pytest.mark.parametrize('threshold', [0.1, 0.3, 0.5, 0.6, 0.7, 1 / 3])
def test_the_threshold_of_the_kernel_parts_float32_as_the_number_itself_does(threshold):
    below = torch.tensor(nms_kernel._float32_below(threshold), dtype=torch.float32)
    up = torch.nextafter(below, torch.tensor(2.0))
    assert below.double().item() <= threshold < up.double().item()


def test_where_the_kernel_does_not_compile_one_sentence_says_so(monkeypatch):
    said = []
    monkeypatch.setattr(nms_kernel, 'print_log', lambda text, **_: said.append(text))
    failure = RuntimeError('Failed to find C compiler.\nTraceback')
    monkeypatch.setattr(nms_kernel, 'greedy_nms', Mock(side_effect=failure))
    assert not nms_kernel._compiles.__wrapped__(torch.device('cpu'))
    (text,) = said
    assert 'Failed to find C compiler' in text and 'gcc' in text and '\n' not in text


if __name__ == '__main__':
    check('cpu')
    print('equal')
