"""The controls of the page, and what they do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from mmdet.core.errors import BusyError
from mmdet.programs.app import fragments
from mmdet.programs.app.gate import COOKIE
from mmdet.programs.app.results import RunResults
from mmdet.programs.app.run import Run, RunQueue
from mmdet.programs.app.visitors import Visitors

REFRESH_S = 0.25  # between two pictures of a running video
OFFLINE, CAUSAL = 'offline', 'causal'
STYLE = Path(__file__).with_name('page.css')
# on narrow screens the picture is below the controls
SHOW_PICTURE = "() => document.getElementById('vod-live').scrollIntoView({block: 'nearest'})"
NO_VIDEO = 'No video is chosen, or its upload is not finished: drop a file at “Video”.'
SYSTEM_FONTS = ('system-ui', 'sans-serif')  # the page fetches none

Updates = dict[gr.blocks.Block, Any]


class Session:
    """What one user of the page has running or finished; kept on the server, per browser tab."""

    def __init__(self, runs: RunQueue, run: Run) -> None:
        self._runs, self.run = runs, run
        self.results: RunResults | None = None

    def discard(self) -> None:
        """Stop, and remove the files."""
        if self.results is not None:
            self.results.close()
        self._runs.discard(self.run)


class Page:
    """The page as `blocks`; the runs of all its users go through one queue."""

    def __init__(
        self,
        runs: RunQueue,
        visitors: Visitors,
        model_name: str,
        score_thr: float = 0.3,
        causal: bool = False,
    ) -> None:
        self.runs, self.visitors = runs, visitors
        with gr.Blocks(title='Video object detection', analytics_enabled=False) as self.blocks:
            self.session = gr.State(None, delete_callback=_discard)
            gr.HTML(fragments.header(model_name, runs.detector.classes))
            with gr.Row(elem_id='vod-main'):
                with gr.Column(scale=1, min_width=280):
                    self._add_controls(score_thr, causal)
                with gr.Column(scale=3, min_width=400):
                    self._add_output()
            self._connect()

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
        self.live = gr.HTML(fragments.PLACEHOLDER, elem_id='vod-live')
        with gr.Column(visible=False, elem_id='vod-result') as self.result:
            self.summary = gr.HTML(elem_id='vod-summary')
            self.timeline = gr.HTML()
            self.position = gr.Slider(
                0, 1, 0, step=1, label='Frame by frame', elem_id='vod-position'
            )
            self.view = gr.HTML(elem_id='vod-view')

    def _connect(self) -> None:
        outputs = [
            self.session, self.note, self.live, self.start, self.stop, self.result, self.summary,
            self.timeline, self.position, self.view,
        ]  # fmt: skip
        hidden = dict(show_progress='hidden', api_visibility='private', concurrency_limit=None)
        self.start.click(
            self.detect, [self.session, self.upload, self.score_thr, self.mode], outputs, **hidden
        )
        self.start.click(None, js=SHOW_PICTURE, **hidden)
        self.stop.click(_stop, self.session, self.stop, queue=False, **hidden)
        self.position.input(
            show_frame, [self.session, self.position], self.view,
            trigger_mode='always_last', queue=False, **hidden,
        )  # fmt: skip

    def detect(
        self,
        before: Session | None,
        upload: str | None,
        score_thr: float,
        mode: str,
        request: gr.Request,
    ) -> Iterator[Updates]:
        """Run the uploaded video; yields the page as it changes. A closed tab ends the run."""
        visitor = self.visitors.known(request.cookies.get(COOKIE))
        if visitor is None or upload is None or not self.visitors.owns_upload(visitor, upload):
            yield {self.note: _shown(fragments.note(NO_VIDEO))}
            return
        if before is not None:
            self.visitors.drop_run(visitor, before.run.folder.name)
            before.discard()
        try:
            run = self.runs.submit(Path(upload), score_thr, mode == CAUSAL)
        except BusyError as error:
            yield {self.note: _shown(fragments.note(str(error)))}
            return
        session = Session(self.runs, run)
        self.visitors.add_run(visitor, run.folder.name, session.discard)
        try:
            yield {
                self.session: session,
                self.note: gr.update(visible=False),
                self.result: gr.update(visible=False),
                self.start: gr.update(interactive=False),
                self.stop: gr.update(interactive=True),
                self.live: _shown(fragments.running(run, self.runs.ahead(run))),
            }
            while not run.wait(REFRESH_S):
                yield {self.live: fragments.running(run, self.runs.ahead(run))}
            yield self._finished(session)
        finally:
            run.stop()

    def _finished(self, session: Session) -> Updates:
        run = session.run
        remarks = fragments.remarks(run)
        updates = {
            self.start: gr.update(interactive=True),
            self.stop: gr.update(interactive=False),
            self.note: gr.update(value=remarks, visible=bool(remarks)),
        }
        if not run.has_files:
            return {**updates, self.live: fragments.PLACEHOLDER}
        session.results = results = RunResults(run.video, run.lines)
        last = len(results) - 1
        return {
            **updates,
            self.session: session,
            self.live: gr.update(visible=False),
            self.result: gr.update(visible=True),
            self.summary: fragments.summary(run, results),
            self.timeline: fragments.timeline(results.timeline(), results.row(last)['time_s']),
            self.position: gr.update(maximum=max(last, 1), value=0, interactive=last > 0),
            self.view: show_frame(session, 0),
        }


def show_frame(session: Session | None, position: int) -> str:
    """A frame of a finished run and its detections."""
    if session is None or session.results is None:
        return ''
    results = session.results
    image = results.image(position)
    return fragments.frame_view(image, results.row(position), results.pixel_aspect)


def _stop(session: Session | None) -> Updates:
    if session is not None:
        session.run.stop()
    return gr.update(interactive=False)


def _discard(session: Session | None) -> None:
    if session is not None:
        session.discard()


def _shown(html: str) -> Updates:
    return gr.update(value=html, visible=True)
