"""What every detector shares: states of videos, admission of frames, order of clips."""

import pytest
import torch
from tiny_detector import random_clip, tiny_detector

import mmdet.models  # noqa: F401
from mmdet.models.base import BaseVideoDetector
from mmdet.models.detections import BatchDetections
from mmdet.structures import Clip


class Counter(BaseVideoDetector):
    """A detector with memory: its label tells how many frames of the video came before."""

    fixed_size = True

    def init_state(self, video_id=0, seed=0):
        state = super().init_state(video_id, seed)
        state.contexts['seen'] = []
        return state

    def detect_batch(self, batch, states) -> BatchDetections:
        labels, scores = [], []
        for clip, state in zip(batch.clips, states, strict=True):
            seen = state.contexts['seen']
            assert state.frames_seen <= len(seen)
            seen.append(clip.key.image_id)
            labels.append([len(seen)])
            scores.append(torch.rand(1, generator=state.generator))
        labels, ones = torch.tensor(labels), torch.ones(len(states), 1)
        return BatchDetections(ones[..., None].expand(-1, 1, 4), torch.stack(scores), labels, ones)


def counter() -> Counter:
    return Counter(data_preprocessor=dict(type='ClipPreprocessor')).eval()


def frames(video: int, number: int, size: tuple[int, int] = (16, 32)) -> list[Clip]:
    return [random_clip(size, i, video_id=video, image_id=i, frame_id=i) for i in range(number)]


def test_a_state_may_appear_several_times_and_its_clips_are_taken_in_order():
    model = counter()
    a, b = model.init_state(video_id=1), model.init_state(video_id=2)
    clips = [frames(1, 2)[0], frames(2, 1)[0], frames(1, 2)[1]]
    found = model.step_batch(clips, [a, b, a])
    assert [d.labels.item() for d in found] == [1, 1, 2]
    assert (a.frames_seen, b.frames_seen, a.contexts['seen']) == (2, 1, [0, 1])


def test_randomness_depends_on_the_seed_and_the_video_alone():
    def drawn(video: int, seed: int, other_work: bool) -> float:
        model = counter()
        if other_work:
            torch.manual_seed(99)
            model.step(frames(7, 1)[0], model.init_state(video_id=7, seed=seed))
        state = model.init_state(video_id=video, seed=seed)
        return model.step(frames(video, 1)[0], state)[0].scores.item()

    assert drawn(3, 0, other_work=False) == drawn(3, 0, other_work=True)
    others = {drawn(3, 1, False), drawn(4, 0, False), drawn(2**40, 0, False)}
    assert len(others | {drawn(3, 0, False)}) == 4


def test_a_model_in_training_mode_does_not_detect():
    model = tiny_detector('dc5').train()
    with pytest.raises(RuntimeError, match=r'training mode. Call model.eval\(\)'):
        model.step(random_clip(), model.init_state())


def test_results_carry_no_graph_and_the_model_holds_no_video():
    model = tiny_detector('dc5')
    before = {k: v.clone() for k, v in model.state_dict().items()}
    detections, _ = model.step(random_clip(), model.init_state())
    assert not detections.scores.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
