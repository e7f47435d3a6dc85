"""A report in a real browser, Debian's Chromium: nothing asked for, nothing complained about, usable by keyboard, on a
phone and in the dark, and right by the rules of axe. One page, which the tests use in their order."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

from runjob.runner.cli import main
from tests.conftest import make_home
from tests.runner.recorded import HOSTILE, KILLED, STRAIGHT, lay_out, make_hostile

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs the system package chromium")

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 780}
HEIGHT = "document.getElementById('plot-0').layout.yaxis.type"


class Looked:
    """A page that is open, and all that it did unasked."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-drawn]", timeout=60_000)
        self.asked.remove(file.as_uri())

    def traces(self) -> list[list[float]]:
        """The last x of each line of the first curve, with how many there are of them."""
        return self.page.evaluate("document.getElementById('plot-0').data.map(one => [one.x.length, one.x.at(-1)])")

    def pale(self) -> list[dict]:
        found = Axe().run(self.page)
        return [
            {"rule": one["id"], "where": [node["html"] for node in one["nodes"]]}
            for one in found.response["violations"]
        ]

    def overflow(self) -> int:
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> Iterator[Looked]:
    """One page for all: two runs, one of which has HTML wherever somebody may have written something."""
    home = make_home(tmp_path_factory.mktemp("report"))
    lay_out(home.runs)
    make_hostile(home.runs / KILLED)
    file = home.path / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNJOB_HOME", str(home.runs))
        assert main(["report", KILLED, STRAIGHT, "-o", str(file)]) == 0
    with sync_playwright() as playwright:
        # as root, and in a machine without a second one, Chromium has no sandbox to put its pages in
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Looked(browser.new_page(viewport=DESKTOP, color_scheme="light"), file)
        browser.close()


def test_a_hostile_run_harms_nobody_and_asks_nobody(seen):
    page = seen.page
    assert (seen.asked, seen.said) == ([], [])
    assert page.evaluate("window.hacked") is None
    assert HOSTILE in page.locator("#samples").inner_text()
    assert page.title() == "Report on 2 runs" and page.locator("img").count() == 0


def test_it_is_read_with_the_keyboard_alone(seen):
    page = seen.page
    assert seen.pale() == [] and seen.overflow() == 0
    # each run's line, and no best where nothing is evaluated
    assert seen.traces() == [[60, 60], [60, 60]]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the contents"
    page.keyboard.press("Enter")
    page.locator("input[name=axis][value=step]").focus()
    page.keyboard.press("ArrowRight")
    assert seen.traces() == [[60, 30720], [60, 30720]]
    page.keyboard.press("ArrowRight")
    assert 0 < seen.traces()[0][1] < 1  # minutes
    page.locator("#log-scale").focus()
    assert page.evaluate(HEIGHT) == "linear"
    page.keyboard.press("Space")
    assert page.evaluate(HEIGHT) == "log"
    page.locator("#run-0").focus()
    page.keyboard.press("Space")
    assert len(seen.traces()) == 1
    page.locator("#values-0 summary").focus()
    page.keyboard.press("Enter")
    rows = page.locator("#values-0 tbody tr")
    assert rows.count() == 120
    assert rows.first.inner_text().split() == [KILLED, "1", "512", "1.88", "8.356945"]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"


def test_it_fits_a_phone_and_follows_the_system_into_the_dark(seen):
    page = seen.page
    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "document.getElementById('plot-0').layout.font.color"
    assert (page.evaluate(ground), page.evaluate(ink)) == ("rgb(255, 255, 255)", "#1b1f24")
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    assert (page.evaluate(ground), page.evaluate(ink)) == ("rgb(20, 23, 26)", "#e6e9ec")
    assert seen.overflow() == 0 and seen.pale() == []


def test_the_page_itself_forbids_what_would_ask_somebody(seen):
    seen.page.evaluate("document.body.append(Object.assign(new Image(), {src: 'https://example.org/x.png'}))")
    seen.page.wait_for_function("document.images[0].complete")
    assert [one for one in seen.said if "example.org" in one and "Content Security Policy" in one]
