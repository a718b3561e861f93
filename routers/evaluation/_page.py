"""The page of a report: data goes in as JSON, the charts are drawn by the page itself."""

from routers.evaluation._page_charts import CHARTS
from routers.evaluation._page_script import AFTER, BEFORE
from routers.evaluation.page_style import STYLE

_MARK = "/*DATA*/null"

_TOP = r"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Routing quality</title>
<style>
"""

_BODY = r"""</style>
</head>
<body>
<main>
<h1>Routing quality</h1>
<p class="soft" id="about"></p>
<div class="tiles" id="tiles"></div>
<div class="two">
  <section class="card">
    <button class="switch" id="scale" type="button"></button>
    <h2>Quality over cost</h2>
    <p class="soft">Hulls of what was realised on these queries; dots are single models.
      Point at a line for its values, click a name to show or hide it.</p>
    <div class="legend" id="legend"></div>
    <div class="box" id="curve"></div>
  </section>
  <section class="card">
    <h2>What the knob promises and keeps</h2>
    <p class="soft">Share of the quality gap recovered at each position, with 95 % intervals;
      on the dashed line the promise is kept.</p>
    <div class="legend" id="knob-legend"></div>
    <div class="box" id="knob"></div>
  </section>
</div>
<section class="card">
  <h2>All numbers</h2>
  <p class="soft">Point at a heading for its meaning.</p>
  <div class="scroll"><table id="numbers"></table></div>
</section>
<section class="card">
  <h2>Single models</h2>
  <p class="soft" id="singles-about"></p>
  <div class="scroll"><table id="singles"></table></div>
</section>
<section class="card" id="notes-card"><h2>Notes</h2><ul id="notes" class="soft"></ul></section>
</main>
<script>
"""

_END = r"""</script>
</body>
</html>
"""


def page(data: str) -> str:
    """Return the page with `data`, which must be JSON without "<"."""
    parts = (_TOP, STYLE, _BODY, BEFORE, CHARTS, AFTER, _END)
    return "".join(parts).replace(_MARK, data)
