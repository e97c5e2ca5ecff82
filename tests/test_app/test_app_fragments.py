"""The HTML of a finished run: text from outside is escaped."""

import numpy as np

from mmdet.programs.app.finished import ClassTimeline
from mmdet.programs.app.fragments import PARTS, frame_view, picture


def view(*names: str) -> str:
    found = [{'name': n, 'label': 1, 'score': 0.5, 'box': [1.4, 2.6, 30, 40]} for n in names]
    row = {'frame': 3, 'time_s': 0.12, 'detections': found}
    return frame_view(np.zeros((8, 8, 3), np.uint8), row)


def test_text_from_outside_is_escaped():
    bad = '<script>alert(1)</script>'
    timeline = PARTS.timeline([ClassTimeline(0, bad, 1, np.ones(3))], 12, 1.0)
    shown = picture(np.zeros((8, 8, 3), np.uint8), bad)
    for page in (PARTS.note(bad), PARTS.header(bad, [bad]), view(bad), timeline, shown):
        assert '<script>' not in page and '&lt;script&gt;' in page
