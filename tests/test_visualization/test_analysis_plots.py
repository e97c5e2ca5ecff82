"""Pictures of an analysis: what is dark, what is left out, what the page escapes."""

import cv2
import numpy as np

from mmdet.programs.analyse.analysis_page import Section, html_page
from mmdet.programs.analyse.analysis_plots import plot_confusion, plot_counts


def test_confusion_colours_follow_the_part_of_the_row(tmp_path):
    matrix = np.array([[90, 10, 0, 0], [5, 3, 0, 2], [0, 0, 0, 0], [0, 4, 0, 0]])
    plot_confusion(matrix, ['cat', 'dog', 'fox'], tmp_path / 'all.png', 'Title')
    plot_confusion(matrix[:2, :2], ['cat'], tmp_path / 'small.png', 'Title')
    image = cv2.imread(str(tmp_path / 'all.png')).astype(int)
    blue = (image[..., 0] - image[..., 2] > 40) & (image[..., 2] < 60)  # more than about 0.8
    bar = np.flatnonzero(blue.any(axis=0))[-1]
    dark = blue[:, : bar - 40].astype(np.uint8)  # without the colour bar
    stats = cv2.connectedComponentsWithStats(dark)[2][1:]
    x, y = stats[stats[:, cv2.CC_STAT_AREA] > 500][:, :2].T
    assert len(x) == 2  # cats, and the dogs on the background: to the right and below
    assert np.argsort(x).tolist() == np.argsort(y).tolist()
    assert cv2.imread(str(tmp_path / 'small.png')).shape[0] < image.shape[0]


def test_counts(tmp_path):
    plot_counts({'a': [1, 2000], 'b': [0, 5]}, ['x', 'y'], tmp_path / 'counts.png', 'Title')
    assert (np.ptp(cv2.imread(str(tmp_path / 'counts.png')).astype(int), axis=2) > 40).sum() > 500


def test_the_page_escapes_names():
    section = Section('<b>', table=(['class'], [['a & b']]), pictures=['x"y.png'])
    page = html_page('R', 'runs <1>', [section])
    assert '&lt;b&gt;' in page and 'a &amp; b' in page and 'x&quot;y.png' in page
    assert 'runs &lt;1&gt;' in page
