"""The style sheet of a report's page."""

STYLE = r""":root {
  color-scheme: light dark;
  --bg: #f7f7f5; --card: #ffffff; --ink: #1c1c1a; --soft: #62625d; --line: #e2e1dc;
  --grid: #eceae5; --accent: #1f5fbf; --good: #1b7f4b; --bad: #b3372b;
  --s0: #1f5fbf; --s1: #c2570c; --s2: #0f8a6d; --s3: #a03a8c; --s4: #7a6a00;
  --b0: #6b7280; --b1: #a8631b; --b2: #0f8f8f; --b3: #9b3f74; --b4: #6f8420;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #161615; --card: #1f1f1d; --ink: #eceae4; --soft: #a3a199; --line: #34332f;
    --grid: #2a2926; --accent: #79aaf2; --good: #5fc992; --bad: #f08a7e;
    --s0: #79aaf2; --s1: #f0954f; --s2: #4cc7a6; --s3: #d98bc9; --s4: #d4bf4f;
    --b0: #9ca3af; --b1: #dd9a52; --b2: #4fc3c3; --b3: #d987b4; --b4: #b3c95c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1240px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 17px; margin: 0 0 2px; }
p { margin: 0; }
.soft { color: var(--soft); font-size: 13.5px; }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin-top: 18px;
}
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px;
  margin-top: 18px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 16px; }
.tile b { display: block; font-size: 25px; font-weight: 650; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.tile.good b { color: var(--good); } .tile.bad b { color: var(--bad); }
.two { display: grid; grid-template-columns: 3fr 2fr; gap: 18px; }
.two .card { min-width: 0; }
@media (max-width: 900px) { .two { grid-template-columns: 1fr; } }
.legend { display: flex; flex-wrap: wrap; gap: 6px; margin: 10px 0 4px; }
.legend button, .switch {
  font: inherit; font-size: 13px; color: var(--ink); background: none; cursor: pointer;
  border: 1px solid var(--line); border-radius: 999px; padding: 2px 10px 2px 7px;
  display: inline-flex; align-items: center; gap: 6px;
}
.legend button[aria-pressed="false"] { opacity: .42; text-decoration: line-through; }
.legend button:focus-visible, .switch:focus-visible { outline: 2px solid var(--accent); }
.switch { padding: 2px 10px; float: right; }
svg { display: block; width: 100%; height: auto; touch-action: none; }
svg text.name { font-size: 10.5px; }
svg text { fill: var(--soft); font-size: 12px; font-family: inherit; stroke: var(--card);
  stroke-width: 3px; paint-order: stroke; font-variant-numeric: tabular-nums; }
svg .axis { stroke: var(--line); } svg .grid { stroke: var(--grid); }
.box { position: relative; }
.tip {
  position: absolute; pointer-events: none; background: var(--ink); color: var(--card);
  border-radius: 7px; padding: 7px 10px; font-size: 12.5px; line-height: 1.45; max-width: 260px;
  display: none; z-index: 2; font-variant-numeric: tabular-nums;
}
.scroll { overflow-x: auto; margin-top: 10px; }
table { border-collapse: collapse; font-size: 13px; width: 100%;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 6px 7px; vertical-align: top;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
  background: var(--card); }
th { color: var(--soft); font-weight: 550; cursor: help; }
td small { display: block; color: var(--soft); font-size: 11.5px; font-weight: 400; }
tr.artifact td { font-weight: 600; } tr.bound td { color: var(--soft); }
ul { margin: 8px 0 0; padding-left: 20px; }
"""
