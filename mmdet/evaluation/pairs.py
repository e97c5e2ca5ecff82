"""Detections and objects that share an image."""

import numpy as np


def pairs_of_images(image: np.ndarray, gt_image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of a detection and an object of its image.

    Args:
        image: [n] image of each detection.
        gt_image: [m] image of each object, ascending.

    Returns:
        [pairs] rows of the detections, ascending, and [pairs] rows of the objects.
    """
    first = np.searchsorted(gt_image, image)
    count = np.searchsorted(gt_image, image, side='right') - first
    det = np.repeat(np.arange(len(image)), count)
    obj = np.arange(len(det)) + np.repeat(first - np.cumsum(count) + count, count)
    return det, obj
