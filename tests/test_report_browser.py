"""The report in a browser, at the widths of a phone and of a desk. Skipped where Chromium is not installed."""

import html
import json
import re
import shutil
import subprocess

import pytest
from support.report_page import project as report_project

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
project = report_project

# in a frame of the wanted width, because a window cannot be as narrow as a phone
FRAME = """<!DOCTYPE html><iframe src="page.html" style="width: {width}px; height: 1200px; border: 0"></iframe>
<pre id="found"></pre>
<script>addEventListener("message", e => document.getElementById("found").textContent = e.data)</script>"""
PROBE = """<script>addEventListener("load", () => {
  for (const d of document.querySelectorAll("details")) d.open = true;
  const found = {width: innerWidth, page: document.documentElement.scrollWidth, scrolled: [], overlaps: [], cut: []};
  for (const e of document.querySelectorAll(".scroll"))
    if (e.scrollWidth > e.clientWidth + 1) found.scrolled.push(e.textContent.slice(0, 40));
  let texts = 0;
  for (const svg of document.querySelectorAll("svg")) {
    const frame = svg.getBoundingClientRect();
    if (!frame.width) continue;
    const boxes = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
    texts += boxes.length;
    boxes.forEach(([words, a], i) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1) found.cut.push(words);
      for (const [other, b] of boxes.slice(i + 1))
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
            Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3) found.overlaps.push(words + " | " + other);
    });
  }
  found.texts = texts;
  found.smallest = Math.min(...[...document.querySelectorAll("svg text")].filter(t => t.getBoundingClientRect().width)
    .map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a));
  parent.postMessage(JSON.stringify(found), "*");
});</script></body>"""


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("project", [0, 2], indirect=True, ids=["one-block", "groups"])
def test_everything_is_readable_and_nothing_scrolls_sideways(project, width, tmp_path):
    text = (project[1] / "report.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(text.replace("</body>", PROBE), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    result = subprocess.run(
        [CHROMIUM, *options.split(), "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
        + [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1500,1200", "--virtual-time-budget=5000"]
        + ["--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    answer = re.search(r'<pre id="found">(.+?)</pre>', result.stdout, re.S)
    assert answer, result.stderr[-2000:]
    found = json.loads(html.unescape(answer[1]))
    assert found["width"] == width and found["page"] <= width
    assert found["texts"] > 300 and found["smallest"] > 10  # CSS pixels
    assert found["scrolled"] == found["overlaps"] == found["cut"] == []
