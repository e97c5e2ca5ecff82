"""The page in headless Chromium: a whole visit, and nothing from elsewhere."""

import json
import os
import shutil
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tiny_streams import scenes, write_video

from mmdet.apis import VideoDetector

pytestmark = pytest.mark.slow

SCORE_THR = 0.05  # of the server that `app` starts
FRAMES = 60
WAIT_S = 120
SCRUB = """
const slider = document.querySelector('#vod-position input[type=range]');
slider.value = arguments[0];
slider.dispatchEvent(new Event("input", {bubbles: true}))"""


@pytest.fixture(scope='module')
def browser():
    names = ('chromium', 'chromium-browser', 'google-chrome')
    chromium = next(filter(None, map(shutil.which, names)), None)
    missing = ''
    if find_spec('gradio') is None or find_spec('selenium') is None:
        missing = 'pip install -e ".[app,dev]"'
    elif not (chromium and shutil.which('chromedriver')):
        missing = 'sudo apt-get install chromium chromium-driver'
    if missing:
        no_test = pytest.fail if os.environ.get('CI') == 'true' else pytest.skip
        no_test(f'The page is not tested: {missing}')
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = 'headless=new no-sandbox disable-dev-shm-usage disable-gpu window-size=1280,1200'
    for flag in flags.split():
        options.add_argument(f'--{flag}')
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    service = webdriver.ChromeService(shutil.which('chromedriver'))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


class Visit:
    """What a user does on the page, and sees there, in the window that is open."""

    def __init__(self, browser, app) -> None:
        self.browser, self.script = browser, browser.execute_script
        browser.get(app.address)
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

    def detect(self, path: Path) -> None:
        field = self.browser.find_element('css selector', '#vod-upload input[type=file]')
        field.send_keys(str(path))
        self.until(lambda: path.stem in self.text('#vod-upload') and self.all('#vod-upload a'))
        button = self.browser.find_element('css selector', '#vod-start')
        self.until(button.is_enabled)
        button.click()

    def picture(self) -> str:
        return self.script("return document.querySelector('#vod-view img').src")

    def fetch(self, address: str) -> bytes:
        """What the browser would get: its cookie says who asks."""
        cookies = '; '.join(f'{c["name"]}={c["value"]}' for c in self.browser.get_cookies())
        request = urllib.request.Request(address, headers={'Cookie': cookies})
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def hosts_asked(self) -> set[str]:
        """Of all requests since the last call; data and blobs have none."""
        entries = self.browser.get_log('performance')
        messages = [json.loads(entry['message'])['message'] for entry in entries]
        asked = [m['params'] for m in messages if m['method'] == 'Network.requestWillBeSent']
        addresses = [urlsplit(params['request']['url']) for params in asked]
        return {a.netloc for a in addresses if a.scheme not in ('data', 'blob')}


def test_a_visit_from_a_mistake_to_the_download(app, browser, tmp_path):
    (tmp_path / 'notes.mp4').write_text('no video')
    visit = Visit(browser, app)
    visit.detect(tmp_path / 'notes.mp4')
    visit.until(lambda: visit.text('.vod-note').startswith('Cannot open notes.mp4: '))
    assert not visit.all('#vod-video video') and 'Traceback' not in visit.text('body')

    video = write_video(tmp_path / 'street scene.mp4', scenes(FRAMES))
    visit = Visit(browser, app)
    visit.detect(video)
    summary = visit.until(lambda: visit.text('#vod-summary .vod-done'))
    assert f'{FRAMES} frames' in summary and not visit.all('.vod-note')
    player = "const v = document.querySelector('#vod-video video'); "
    # it is loaded when it is seen
    visit.until(lambda: visit.script(player + 'v?.scrollIntoView(); return v?.readyState >= 2'))
    assert visit.script(player + 'return v.duration') == pytest.approx(FRAMES / 25, abs=0.05)

    # the files, against the detector
    links = [link.get_attribute('href') for link in visit.all('#vod-files a[download]')]
    mp4, lines = map(visit.fetch, links)
    assert b'ftyp' in mp4[:16] and links[0].endswith('street_scene_detections.mp4')
    rows = [json.loads(line) for line in lines.splitlines()]
    detector = VideoDetector(app.config, app.checkpoint, 'cpu', score_thr=SCORE_THR)
    for row, result in zip(rows, detector.stream(video), strict=True):
        scores = [found['score'] for found in row['detections']]
        assert scores == pytest.approx(result.detections.scores.tolist(), abs=1e-4)
    found = sum(len(row['detections']) for row in rows)
    assert found > FRAMES and f'{found} detections' in visit.text('#vod-summary')

    # scrubbing
    wanted = next(i for i in range(FRAMES - 1, 0, -1) if len(rows[i]['detections']) > 1)
    before = visit.picture()
    visit.script(SCRUB, wanted)
    visit.until(lambda: f'Frame {wanted},' in visit.text('#vod-view'))
    assert visit.picture() != before
    table = [element.text.split() for element in visit.all('#vod-view tbody tr')]
    assert [line[-5] for line in table] == [f'{d["score"]:.2f}' for d in rows[wanted]['detections']]
    assert visit.hosts_asked() == {urlsplit(app.address).netloc}
    assert [e for e in browser.get_log('browser') if e['level'] == 'SEVERE'] == []
