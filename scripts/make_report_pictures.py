"""Takes the pictures of docs/report.md: the page about the two recorded runs, light and dark, on a desk and on a phone.
Usage: .venv/bin/python scripts/make_report_pictures.py   (needs Debian's chromium)"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "pictures"
# The page holds all of Plotly, and others may use the machine too
PATIENCE_MS = 300_000
SIZES = {"desktop": (1100, 1000), "phone": (360, 1400)}


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium: no such program; sudo apt-get install -y chromium")
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        page_file = Path(scratch) / "report.html"
        runs = Path(scratch) / "runs"
        shutil.copytree(ROOT / "tests" / "cases" / "recorded", runs)
        words = ["report", *sorted((run.name for run in runs.iterdir()), reverse=True), "-o", str(page_file)]
        runjob = Path(sys.executable).parent / "runjob"
        subprocess.run([runjob, *words], env={**os.environ, "RUNJOB_HOME": str(runs)}, check=True)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for size, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.set_default_timeout(PATIENCE_MS)
                page.goto(page_file.as_uri())
                page.wait_for_selector("html[data-drawn]")
                page.screenshot(path=TARGET / f"report-{size}-{scheme}.png")
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
