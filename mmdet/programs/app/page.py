"""The controls of the page, and what they do."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from mmdet.apis.video_detector import VideoDetector
from mmdet.programs.app.finished import FinishedRun
from mmdet.programs.app.fragments import PARTS, frame_view, running
from mmdet.programs.app.gate import COOKIE
from mmdet.programs.app.run import Run
from mmdet.programs.app.visitors import Visitors

REFRESH_S = 0.25  # between two pictures of a running video
MAX_WAITING = 20  # videos
MAX_CLASSES = 12  # rows of the timeline
OFFLINE, CAUSAL = 'offline', 'causal'
STYLE = Path(__file__).with_name('page.css')
# on narrow screens the picture is below the controls
SHOW_PICTURE = "() => document.getElementById('vod-live').scrollIntoView({block: 'nearest'})"
NO_VIDEO = 'No video is chosen, or its upload is not finished: drop a file at “Video”.'
PLACEHOLDER = 'Choose a video and press Detect. The boxes appear here while it runs.'
SYSTEM_FONTS = ('system-ui', 'sans-serif')  # the page fetches none

Updates = dict[gr.blocks.Block, Any]


class Session:
    """What one user of the page has running or finished; kept on the server, per browser tab."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.finished: FinishedRun | None = None

    def remove(self) -> None:
        """Stop, and remove the files."""
        if self.finished is not None:
            self.finished.close()
        self.run.remove()


class Page:
    """The page as `blocks`. gradio's queue works on one video at a time, of all users.

    The detector is of all runs; each has its own score threshold and its own state of the video.
    `folder` gets a folder per run, with a name that cannot be guessed.
    """

    def __init__(
        self,
        detector: VideoDetector,
        folder: Path,
        visitors: Visitors,
        model_name: str,
        score_thr: float = 0.3,
        causal: bool = False,
    ) -> None:
        self.detector, self.folder, self.visitors = detector, folder, visitors
        gr.set_static_paths(folder)  # results are served from there, not from copies
        with gr.Blocks(title='Video object detection', analytics_enabled=False) as self.blocks:
            self.session = gr.State(None)
            gr.HTML(PARTS.header(model_name, detector.classes))
            with gr.Row(elem_id='vod-main'):
                with gr.Column(scale=1, min_width=280):
                    self._add_controls(score_thr, causal)
                with gr.Column(scale=3, min_width=400):
                    self._add_output()
            self._connect()
        self.blocks.queue(max_size=MAX_WAITING)

    def application(self) -> FastAPI:
        """What a server runs."""
        return gr.mount_gradio_app(
            FastAPI(openapi_url=None),
            self.blocks,
            path='/',
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            theme=gr.themes.Default(font=SYSTEM_FONTS, font_mono=('ui-monospace', 'monospace')),
            css_paths=[STYLE],
        )

    def _add_controls(self, score_thr: float, causal: bool) -> None:
        self.upload = gr.File(label='Video', height=150, elem_id='vod-upload')
        self.score_thr = gr.Slider(
            0, 1, score_thr, step=0.01, label='Score threshold', info='leave out what is below'
        )
        self.mode = gr.Radio(
            [('the whole video (offline)', OFFLINE), ('past frames only (causal)', CAUSAL)],
            value=CAUSAL if causal else OFFLINE,
            label='References from',
        )
        with gr.Row():
            self.start = gr.Button('Detect', variant='primary', elem_id='vod-start', min_width=100)
            self.stop = gr.Button('Stop', interactive=False, elem_id='vod-stop', min_width=100)

    def _add_output(self) -> None:
        self.note = gr.HTML(visible=False, elem_id='vod-message')
        self.live = gr.HTML(PARTS.empty(PLACEHOLDER), elem_id='vod-live')
        with gr.Column(visible=False, elem_id='vod-result') as self.result:
            self.summary = gr.HTML(elem_id='vod-summary')
            self.files = gr.File(label='Files', interactive=False, elem_id='vod-files')
            self.video = gr.Video(show_label=False, interactive=False, elem_id='vod-video')
            self.timeline = gr.HTML()
            self.position = gr.Slider(
                0, 1, 0, step=1, label='Frame by frame', elem_id='vod-position'
            )
            self.view = gr.HTML(elem_id='vod-view')

    def _connect(self) -> None:
        controls = [self.session, self.note, self.live, self.start, self.stop, self.result]
        results = [self.summary, self.files, self.video, self.timeline, self.position, self.view]
        wanted = [self.session, self.upload, self.score_thr, self.mode]
        private = dict(api_visibility='private')
        hidden = dict(show_progress='hidden', concurrency_limit=None, **private)
        self.start.click(self.prepare, wanted, controls, **hidden).success(
            self.detect, self.session, controls + results,
            concurrency_limit=1, show_progress_on=self.live, **private,
        )  # fmt: skip
        self.start.click(None, js=SHOW_PICTURE, **hidden)
        self.stop.click(_stop, self.session, self.stop, queue=False, **hidden)
        self.position.input(
            show_frame, [self.session, self.position], self.view,
            trigger_mode='always_last', queue=False, **hidden,
        )  # fmt: skip

    def prepare(
        self,
        before: Session | None,
        upload: str | None,
        score_thr: float,
        mode: str,
        request: gr.Request,
    ) -> Updates:
        """A run of the uploaded video, in place of the one before, that waits for its turn."""
        visitor = self.visitors.known(request.cookies.get(COOKIE))
        if visitor is None or upload is None or not self.visitors.owns_upload(visitor, upload):
            raise gr.Error(NO_VIDEO, duration=None, print_exception=False)
        if before is not None:
            self.visitors.drop_run(visitor, before.run.folder)
        folder = self.folder / secrets.token_urlsafe(16)
        run = Run(self.detector, Path(upload), folder, score_thr, mode == CAUSAL)
        session = Session(run)
        self.visitors.add_run(visitor, folder, session.remove)
        return {
            self.session: session,
            self.note: gr.update(visible=False),
            self.result: gr.update(visible=False),
            self.start: gr.update(interactive=False),
            self.stop: gr.update(interactive=True),
            self.live: gr.update(value=PARTS.empty('Waiting for its turn …'), visible=True),
        }

    def detect(self, session: Session | None) -> Iterator[Updates]:
        """Run; yields the page as it changes. A closed tab ends the run."""
        if session is None or session.run.started:  # a script calls what no button does
            return
        run = session.run
        run.start()
        try:
            while not run.wait(REFRESH_S):
                yield {self.live: running(run)}
            yield self._finished(session)
        finally:
            run.stop()
            run.wait()  # the next one has the model to itself

    def _finished(self, session: Session) -> Updates:
        run = session.run
        remarks = PARTS.remarks(run)
        updates = {
            self.start: gr.update(interactive=True),
            self.stop: gr.update(interactive=False),
            self.note: gr.update(value=remarks, visible=bool(remarks.strip())),
        }
        if not run.has_files:
            return {**updates, self.live: PARTS.empty(PLACEHOLDER)}
        session.finished = finished = FinishedRun(run.video, run.lines)
        last = len(finished) - 1
        seconds = finished.row(last)['time_s']
        return {
            **updates,
            self.session: session,
            self.live: gr.update(visible=False),
            self.result: gr.update(visible=True),
            self.summary: PARTS.summary(run, len(finished), finished.num_detections()),
            self.files: [str(run.video), str(run.lines)],
            self.video: str(run.video),
            self.timeline: PARTS.timeline(finished.timeline(), MAX_CLASSES, seconds),
            self.position: gr.update(maximum=max(last, 1), value=0, interactive=last > 0),
            self.view: show_frame(session, 0),
        }


def show_frame(session: Session | None, position: int) -> str:
    """A frame of a finished run and its detections."""
    if session is None or session.finished is None:
        return ''
    finished = session.finished
    return frame_view(finished.image(position), finished.row(position), finished.pixel_aspect)


def _stop(session: Session | None) -> Updates:
    if session is not None:
        session.run.stop()
    return gr.update(interactive=False)
