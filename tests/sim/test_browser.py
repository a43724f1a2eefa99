"""report.html in a real browser: everything that the page says is shown, and nothing is fetched."""

import shutil
import subprocess

import matplotlib.image
import numpy as np
import pytest

from mapper import chip, program
from sim.cli import main
from tests.mapper.chips import random_chip

from .test_timeline import cases

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


def browse(profile, page, *options) -> str:
    """What the browser prints."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", *options]
    found = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return found.stdout


@pytest.fixture(params=["program", "chip"])
def page(request, tmp_path):
    if request.param == "chip":
        chip.write(random_chip(3, 3, 2), tmp_path / "p")
    else:
        ((made, _),) = cases(1)
        program.write(made, tmp_path / "p")
    assert main(["report", str(tmp_path / "p")]) == 0
    return tmp_path / "p" / "report.html"


def test_page_is_shown(page, tmp_path):
    picture = tmp_path / "shot.png"
    browse(tmp_path / "profile", page, f"--screenshot={picture}", "--window-size=1200,1600")
    seen = matplotlib.image.imread(picture)[:, :, :3]
    assert seen.shape[:2] == (1600, 1200)
    rows = np.flatnonzero((seen < 0.9).any(axis=(1, 2)))
    assert rows.max() > 1200, "the page ends early"
    for colour in (0xF58518, 0x4C78A8):  # of arrays and of the stream in, in the timeline
        wanted = np.array([colour >> 16, colour >> 8 & 255, colour & 255]) / 255
        assert (np.abs(seen - wanted).max(axis=2) < 0.02).sum() > 50, f"{colour:x}"


def test_scripts_and_styles_are_in_the_page(page, tmp_path):
    """The document that the browser makes of it has all parts: no tag swallowed another."""
    text = browse(tmp_path / "profile", page, "--dump-dom")
    for part in ("Numbers", "Timeline", "Energy", "Occupancy of the arrays", "Hardware"):
        assert f"<h2>{part}" in text
    assert text.count("<svg") >= 3 and text.count("<svg") == text.count("</svg>")
