"""The page in headless Chromium: a whole visit, mistakes, two users, and nothing from elsewhere."""

import json
import os
import re
import shutil
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tiny_streams import scenes, write_video

from mmdet.apis import VideoDetector

pytestmark = pytest.mark.slow  # the server and the browser start once, for all of them

SCORE_THR = 0.05  # of the server that `app` starts
FRAMES = 200
WAIT_S = 120


def _what_is_missing() -> str | None:
    """The command that installs what these tests need."""
    if find_spec('gradio') is None or find_spec('selenium') is None:
        return 'pip install -e ".[app,dev]"'
    if not (_chromium() and shutil.which('chromedriver')):
        return 'sudo apt-get install chromium chromium-driver'
    return None


def _chromium() -> str | None:
    names = ('chromium', 'chromium-browser', 'google-chrome')
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope='module', autouse=True)
def tools():
    missing = _what_is_missing()
    if missing and os.environ.get('CI') == 'true':
        pytest.fail(f'The page is not tested: {missing}')
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope='module')
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = _chromium()
    for flag in ('headless=new', 'no-sandbox', 'disable-dev-shm-usage', 'disable-gpu'):
        options.add_argument(f'--{flag}')
    options.add_argument('--window-size=1280,1200')
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which('chromedriver')))
    yield driver
    driver.quit()


class Visit:
    """What a user does on the page, and sees there, in the window that is open."""

    def __init__(self, browser, address: str) -> None:
        self.browser = browser
        browser.get(address)
        self.until(lambda: self.all('#vod-start'))

    def all(self, selector: str) -> list:
        found = self.browser.find_elements('css selector', selector)
        return [element for element in found if element.is_displayed()]

    def text(self, selector: str) -> str:
        return ' '.join(element.text for element in self.all(selector))

    def until(self, condition):
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            try:
                if value := condition():
                    return value
            except StaleElementReferenceException:  # it changed while it was looked at
                pass
            time.sleep(0.05)
        raise AssertionError('waited in vain; the page says: ' + self.text('body'))

    def upload(self, path: Path) -> None:
        field = self.browser.find_element('css selector', '#vod-upload input[type=file]')
        field.send_keys(str(path))
        self.until(lambda: path.stem in self.text('#vod-upload') and self.all('#vod-upload a'))

    def press(self, selector: str) -> None:
        self.until(lambda: self.browser.find_element('css selector', selector).is_enabled())
        self.browser.find_element('css selector', selector).click()

    def finish(self) -> str:
        """Wait for the end; returns the summary."""
        return self.until(lambda: self.text('#vod-summary .vod-done'))

    def script(self, code: str, *arguments):
        return self.browser.execute_script(code, *arguments)


def hosts_asked(browser) -> set[str]:
    """Of all requests since the last call; data and blobs have none."""
    messages = (json.loads(entry['message'])['message'] for entry in browser.get_log('performance'))
    asked = [m['params'] for m in messages if m['method'] == 'Network.requestWillBeSent']
    addresses = [urlsplit(params['request']['url']) for params in asked]
    return {a.netloc for a in addresses if a.scheme not in ('data', 'blob')}


def fetch(address: str, browser) -> bytes:
    """What the browser would get: its cookie says who asks."""
    cookies = '; '.join(f'{c["name"]}={c["value"]}' for c in browser.get_cookies())
    request = urllib.request.Request(address, headers={'Cookie': cookies})
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def frames_of(text: str) -> int:
    return int(re.search(r'(\d+) frames in', text)[1])


def test_a_visit_from_upload_to_download(app, browser, tmp_path):
    video = write_video(tmp_path / 'street scene.mp4', scenes(100) * (FRAMES // 100))
    visit = Visit(browser, app.address)
    visit.upload(video)
    visit.press('#vod-start')
    # while it runs: a frame, and how far it is
    width, running = visit.until(
        lambda: visit.script(
            "const at = (name) => document.querySelector('#vod-live ' + name);"
            "const width = at('img')?.naturalWidth;"
            "return width && [width, at('.vod-numbers').textContent]"
        )
    )
    assert width == 64
    assert re.search(rf'\d+ of {FRAMES} frames', running) and 'frames/s' in running

    summary = visit.finish()
    assert frames_of(summary) == FRAMES and not visit.all('.vod-note')
    player = "const v = document.querySelector('#vod-video video'); "
    # it is loaded when it is seen
    visit.until(lambda: visit.script(player + 'v?.scrollIntoView(); return v?.readyState >= 2'))
    assert visit.script(player + 'return v.duration') == pytest.approx(FRAMES / 25, abs=0.05)
    visit.script(player + 'v.muted = true; v.play()')
    visit.until(lambda: visit.script(player + 'return v.currentTime > 0.1 && !v.error'))

    # the files, against the detector
    links = [link.get_attribute('href') for link in visit.all('#vod-files a[download]')]
    mp4, lines = (fetch(link, browser) for link in links)
    assert b'ftyp' in mp4[:16] and links[0].endswith('street_scene_detections.mp4')
    rows = [json.loads(line) for line in lines.splitlines()]
    detector = VideoDetector(app.config, app.checkpoint, 'cpu', score_thr=SCORE_THR)
    results = list(detector.stream(video))
    assert [row['frame'] for row in rows] == [r.frame_index for r in results]
    for row, result in zip(rows, results, strict=True):
        scores = [found['score'] for found in row['detections']]
        assert scores == pytest.approx(result.detections.scores.tolist(), abs=1e-4)
    found = sum(len(row['detections']) for row in rows)
    assert found > FRAMES and f'{found} detections' in summary

    # scrubbing
    wanted = next(i for i in range(FRAMES - 1, 0, -1) if len(rows[i]['detections']) > 1)
    before = visit.script("return document.querySelector('#vod-view img').src")
    visit.script(
        "const s = document.querySelector('#vod-position input[type=range]');"
        's.value = arguments[0]; s.dispatchEvent(new Event("input", {bubbles: true}))',
        wanted,
    )
    visit.until(lambda: f'Frame {wanted},' in visit.text('#vod-view'))
    assert visit.script("return document.querySelector('#vod-view img').src") != before
    table = [element.text.split() for element in visit.all('#vod-view tbody tr')]
    assert [line[-5] for line in table] == [f'{d["score"]:.2f}' for d in rows[wanted]['detections']]

    assert hosts_asked(browser) == {urlsplit(app.address).netloc}
    assert [e for e in browser.get_log('browser') if e['level'] == 'SEVERE'] == []


def test_mistakes_are_a_sentence_on_the_page(app, browser, tmp_path):
    visit = Visit(browser, app.address)
    visit.press('#vod-start')
    visit.until(lambda: 'No video is chosen' in visit.text('body'))
    (tmp_path / 'notes.mp4').write_text('no video')
    visit = Visit(browser, app.address)
    visit.upload(tmp_path / 'notes.mp4')
    visit.press('#vod-start')
    visit.until(lambda: visit.text('.vod-note').startswith('Cannot open notes.mp4: '))
    assert not visit.all('#vod-video video') and 'Traceback' not in visit.text('body')
    # the page goes on
    whole = write_video(tmp_path / 'whole.mp4', scenes(10))
    visit.script("document.querySelector('#vod-upload button[aria-label]').click()")
    visit.until(lambda: 'notes' not in visit.text('#vod-upload'))
    visit.upload(whole)
    visit.press('#vod-start')
    assert frames_of(visit.finish()) == 10 and not visit.all('.vod-note')


def test_two_users_take_turns_and_one_stops(app, browser, tmp_path):
    long = write_video(tmp_path / 'long.mp4', scenes(100) * 50)
    short = write_video(tmp_path / 'short.mp4', scenes(12))
    first = Visit(browser, app.address)
    window = browser.current_window_handle
    first.upload(long)
    first.press('#vod-start')
    first.until(lambda: first.all('#vod-live img'))
    browser.switch_to.new_window('tab')
    second = Visit(browser, app.address)
    second.upload(short)
    second.press('#vod-start')
    second.until(lambda: 'queue: 1/1' in second.text('#vod-live'))
    other = browser.current_window_handle
    browser.switch_to.window(window)
    first.press('#vod-stop')
    summary = first.finish()
    assert 0 < frames_of(summary.replace('Stopped after ', '')) < 5000
    assert 'Stopped after' in summary
    browser.switch_to.window(other)
    assert frames_of(second.finish()) == 12


def test_leaving_the_page_ends_the_run(app, browser, tmp_path):
    visit = Visit(browser, app.address)
    visit.upload(write_video(tmp_path / 'left.mp4', scenes(100) * 50))
    visit.press('#vod-start')
    visit.until(lambda: visit.all('#vod-live img'))
    again = Visit(browser, app.address)
    again.upload(write_video(tmp_path / 'short.mp4', scenes(12)))
    again.press('#vod-start')
    assert frames_of(again.finish()) == 12
    (left,) = (app.folder / 'tmp').rglob('left_detections.jsonl')  # it was finished before
    assert 0 < len(left.read_text().splitlines()) < 5000
