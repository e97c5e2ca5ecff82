"""The parts of the page that are not controls, as HTML: macros of `fragments.html`."""

import base64
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmdet.apis.video_outputs import drawn
from mmdet.programs.app.run import Run
from mmdet.programs.templates import html_template
from mmdet.visualization.palette import class_hex

MAX_SIDE = 1280  # of pictures on the page, pixels; the mp4 has them all


def duration(seconds: float) -> str:
    """As h:mm:ss, whole seconds.

    >>> duration(75.2)
    '0:01:15'
    """
    return str(timedelta(seconds=round(seconds)))


PARTS = html_template(
    Path(__file__).with_name('fragments.html'), color=class_hex, duration=duration
).module


def running(run: Run) -> str:
    """Progress of a run and its newest frame, if there is one.

    gradio's own progress would cover the picture.
    """
    result = run.latest
    if result is None:
        text = 'Stopping after the first frame' if run.stopping else 'Reading the video'
        return PARTS.empty(f'{text} …')
    alt = f'frame {result.frame_index} with boxes'
    frame = picture(drawn(result, run.classes), alt, run.pixel_aspect)
    return PARTS.progress(run.progress, run.stopping) + frame


def frame_view(image: np.ndarray, row: dict[str, Any], pixel_aspect: Fraction = Fraction(1)) -> str:
    """One frame of the result, and the table of what was found on it (`row`)."""
    head = f'Frame {row["frame"]}, {row["time_s"]:.2f} s'
    return PARTS.frame(head, picture(image, head, pixel_aspect), row['detections'])


def picture(image: np.ndarray, alt: str, pixel_aspect: Fraction = Fraction(1)) -> str:
    """An <img> of [H, W, 3] uint8 BGR that holds its own data: no file is left behind.

    `pixel_aspect` is width by height of its pixels; the picture has square ones.
    """
    wide, high = max(pixel_aspect, Fraction(1)), max(1 / pixel_aspect, Fraction(1))
    height, width = image.shape[0] * float(high), image.shape[1] * float(wide)
    scale = min(1, MAX_SIDE / max(height, width))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    if size != image.shape[1::-1]:
        smaller = size[0] <= image.shape[1] and size[1] <= image.shape[0]
        method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        image = cv2.resize(image, size, interpolation=method)
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return PARTS.picture(base64.b64encode(data.tobytes()).decode(), alt)
