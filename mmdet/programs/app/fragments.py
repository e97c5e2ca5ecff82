"""The parts of the page that are not controls, as HTML; everything from outside is escaped."""

import base64
from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction
from html import escape
from typing import Any

import cv2
import numpy as np

from mmdet.apis.video_outputs import drawn
from mmdet.programs.app.results import ClassTimeline, RunResults
from mmdet.programs.app.run import Progress, Run
from mmdet.visualization import class_color

MAX_SIDE = 1280  # of pictures on the page, pixels; the mp4 has them all
MAX_CLASSES = 12  # rows of the timeline
PLACEHOLDER = (
    '<div class="vod-empty">Choose a video and press <b>Detect</b>. The boxes appear here while '
    'it runs.</div>'
)


def header(model_name: str, classes: Sequence[str]) -> str:
    return (
        f'<h1 class="vod-head">Video object detection</h1><div class="vod-small">'
        f'{escape(model_name)}<details><summary>{len(classes)} classes</summary>'
        f'{escape(", ".join(classes))}</details></div>'
    )


def remarks(run: Run) -> str:
    """What went wrong in a finished run and what remains of it; empty if all went well."""
    kept = f' The {run.progress.done} frames before it are below.' if run.has_files else ''
    notes = []
    if run.error:
        notes.append(note(run.error + kept))
    if run.broken:
        notes.append(note(f'{run.broken}. What decodes was used.', 'warning'))
    if run.stopped and not run.progress.done:
        notes.append(note('Stopped before the first frame.', 'info'))
    return ''.join(notes)


def note(text: str, kind: str = 'error') -> str:
    """A sentence in a box; kind is 'error', 'warning' or 'info'."""
    return f'<div class="vod-note vod-{kind}" role="alert">{escape(text)}</div>'


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
    text = base64.b64encode(data.tobytes()).decode()
    return f'<img class="vod-frame" alt="{escape(alt)}" src="data:image/jpeg;base64,{text}">'


def running(run: Run, ahead: int) -> str:
    """Progress of a run and its newest frame, if there is one."""
    if ahead:
        videos = 'video is' if ahead == 1 else 'videos are'
        return f'<div class="vod-empty">Waiting: {ahead} {videos} before yours.</div>'
    result, progress = run.latest, run.progress
    if result is None:
        text = 'Stopping after the first frame' if run.stopping else 'Reading the video'
        return f'<div class="vod-empty">{text} …</div>'
    alt = f'frame {result.frame_index} with boxes'
    frame = picture(drawn(result, run.classes), alt, run.pixel_aspect)
    return _bar(progress, run.stopping) + frame


def _bar(progress: Progress, stopping: bool) -> str:
    total, left = progress.total, progress.seconds_left
    share = '' if total is None else f'{min(100 * progress.done / total, 100):.1f}'
    parts = [f'<b>{progress.done}</b>' + (f' of {total} frames' if total else ' frames')]
    parts.append(f'{progress.rate:.1f} frames/s')
    if stopping:
        parts.append('stopping …')
    elif left is not None:
        parts.append(f'{duration(left)} left')
    numbers = '<span>·</span>'.join(f'<span>{part}</span>' for part in parts)
    return (
        f'<div class="vod-progress" role="progressbar" aria-valuenow="{share}">'
        f'<div style="width:{share or 0}%"></div></div><div class="vod-numbers">{numbers}</div>'
    )


def duration(seconds: float) -> str:
    """As h:mm:ss, whole seconds.

    >>> duration(75.2)
    '0:01:15'
    """
    return str(timedelta(seconds=round(seconds)))


def summary(run: Run, results: RunResults) -> str:
    """What was done, the links to the files and the player."""
    done, found = run.progress, results.num_detections()
    first = f'Stopped after {len(results)} frames' if run.stopped else f'{len(results)} frames'
    text = (
        f'<b>{first}</b> in {duration(done.seconds)} ({done.rate:.1f} frames/s), '
        f'{found} detection{"" if found == 1 else "s"}.'
    )
    video, lines = (f'results/{run.folder.name}/{p.name}' for p in (run.video, run.lines))
    return (
        f'<div class="vod-numbers vod-done">{text}</div>'
        f'<div class="vod-links">{_link(video, "Video (mp4)", run.video.stat().st_size)}'
        f'{_link(lines, "Detections (JSON lines)", run.lines.stat().st_size)}</div>'
        f'<video class="vod-frame" controls playsinline preload="auto" src="{video}"></video>'
    )


def _link(address: str, text: str, size: int) -> str:
    amount = f'{size / 1e6:.1f} MB' if size >= 1e6 else f'{size / 1e3:.1f} kB'
    return f'<a class="vod-link" href="{address}" download>⤓ {text} <small>{amount}</small></a>'


def timeline(classes: Sequence[ClassTimeline], seconds: float) -> str:
    """A row per class: the more of its frames show the class, the darker a stretch of time."""
    if not classes:
        return note('Nothing was found at or above this score: try a lower threshold.', 'info')
    rows = ''.join(map(_timeline_row, classes[:MAX_CLASSES]))
    rest = len(classes) - MAX_CLASSES
    more = f'<div class="vod-small">and {rest} rarer classes</div>' if rest > 0 else ''
    return (
        f'<div class="vod-title">When each class is seen</div><div class="vod-timeline">{rows}'
        f'<span></span><span class="vod-axis"><span>0 s</span><span>{seconds:.1f} s</span></span>'
        f'<span></span></div>{more}'
    )


def _timeline_row(row: ClassTimeline) -> str:
    width, color = len(row.share), css_color(row.label)
    bars = ''.join(
        f'<rect x="{i}" y="0" width="1" height="1" fill-opacity="{0.25 + 0.75 * share:.2f}"/>'
        for i, share in enumerate(row.share)
        if share > 0
    )
    return (
        f'<span class="vod-name">{escape(row.name)}</span>'
        f'<svg viewBox="0 0 {width} 1" preserveAspectRatio="none" '
        f'shape-rendering="crispEdges" fill="{color}">{bars}</svg>'
        f'<span class="vod-count">{row.frames} fr.</span>'
    )


def css_color(label: int) -> str:
    blue, green, red = class_color(label)
    return f'rgb({red} {green} {blue})'


def frame_view(image: np.ndarray, row: dict[str, Any], pixel_aspect: Fraction = Fraction(1)) -> str:
    """One frame of the result (see `picture`), and the table of what was found on it."""
    head = f'Frame {row["frame"]}, {row["time_s"]:.2f} s'
    cells = ''.join(_table_row(found) for found in row['detections'])
    table = (
        '<table class="vod-table"><thead><tr><th>class</th><th>score</th><th>x1</th><th>y1</th>'
        f'<th>x2</th><th>y2</th></tr></thead><tbody>{cells}</tbody></table>'
        if cells
        else '<div class="vod-small">Nothing found on this frame.</div>'
    )
    return (
        f'<div class="vod-view"><div>{picture(image, head, pixel_aspect)}</div>'
        f'<div class="vod-side"><div class="vod-title">{head}</div>{table}</div></div>'
    )


def _table_row(found: dict[str, Any]) -> str:
    dot = f'<i style="background:{css_color(found["label"])}"></i>'
    numbers = ''.join(f'<td>{x:.0f}</td>' for x in found['box'])
    name = escape(found['name'])
    return f'<tr><td>{dot}{name}</td><td>{found["score"]:.2f}</td>{numbers}</tr>'
