"""The CSS of a report's page: light, dark, narrow and printed."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark; --ink: #1d2229; --paper: #ffffff; --quiet: #57606a;
  --line: #d8dee4; --tint: #f5f7f9; --accent: #175d9e; --shade: #7fb2e0;
  --gain: #17703a; --loss: #b02a1b; --best: #e2f2e7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e7eaee; --paper: #14181d; --quiet: #a6b0bb; --line: #343c45; --tint: #1c2229;
    --accent: #82bdf2; --shade: #2f6595; --gain: #6fd492; --loss: #ff9a8c; --best: #1d3a29;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 3rem; }
.hero { padding-bottom: 1.5rem; }
.hero figure { margin-bottom: 0; }
h1 {
  font-size: 1rem; line-height: 1.4; margin: 0 0 .6rem; font-weight: 600; color: var(--quiet);
}
h1.alone { font-size: 1.9rem; line-height: 1.2; color: var(--ink); text-wrap: balance; }
.verdict {
  font-size: 1.75rem; line-height: 1.3; font-weight: 650; letter-spacing: -.01em;
  margin: 0 0 .75rem; max-width: 56rem; text-wrap: pretty;
}
.tone { font-weight: 700; margin: 0 0 .3rem; }
.tone.gain { color: var(--gain); }
.tone.loss { color: var(--loss); }
.tone.even { color: var(--quiet); }
.hero h1:not(.alone), .hero .made { display: inline-block; margin-right: 1rem; }
.made { color: var(--quiet); margin: 0 0 .6rem; }
code {
  font: .92em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}
section { border-top: 1px solid var(--line); }
section:last-of-type { border-bottom: 1px solid var(--line); }
h2 { display: inline; font-size: 1.2rem; line-height: 1.3; margin: 0; }
summary { cursor: pointer; }
section > details > summary { padding: .85rem 0; }
section > details[open] { padding-bottom: 1.25rem; }
summary:focus-visible, a:focus-visible, textarea:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 3px; border-radius: .2rem;
}
section > details > summary:hover h2 { color: var(--accent); }
p { margin: 0 0 .8rem; max-width: 46rem; }
.scroll { overflow-x: auto; margin: 0; position: relative; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
.tall { max-height: 34rem; overflow-y: auto; }
figure { margin: .5rem 0 1.5rem; }
figcaption {
  color: var(--quiet); font-size: .9rem; margin-top: .5rem; max-width: 46rem;
}
table {
  border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; width: 100%;
}
th, td {
  padding: .42rem .7rem; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--line);
}
thead th {
  color: var(--quiet); font-weight: 600; vertical-align: bottom; white-space: nowrap;
  border-bottom: 2px solid var(--line);
}
.unit { font-weight: 400; }
tbody th { font-weight: 400; min-width: 9rem; }
.note { display: block; color: var(--quiet); font-weight: 400; font-size: .86em; }
.number { text-align: right; white-space: nowrap; }
.error { color: var(--quiet); font-weight: 400; }
td:not(.number) { max-width: 26rem; min-width: 8rem; }
.grid td { min-width: 0; }
.emphasis { background: var(--tint); }
.emphasis th { font-weight: 650; }
.emphasis .note { font-weight: 400; }
.best { font-weight: 650; background: var(--best); box-shadow: inset 0 -2px 0 var(--gain); }
.bar {
  display: inline-block; width: 4.5rem; height: .7em; margin-left: .6rem; position: relative;
  vertical-align: baseline; background: linear-gradient(var(--line), var(--line)) center / 1px 100%
  no-repeat;
}
.bar i { position: absolute; top: 0; bottom: 0; width: var(--w); }
.bar .plus { left: 50%; background: var(--gain); }
.bar .minus { right: 50%; background: var(--loss); }
table.grid { width: auto; min-width: min(100%, 24rem); }
.grid td, .grid thead th { text-align: right; white-space: nowrap; }
.grid thead th:first-child { text-align: left; }
.grid .zero { color: var(--quiet); }
.grid td { background: color-mix(in srgb, var(--shade) var(--s, 0%), transparent); }
dl {
  display: grid; grid-template-columns: minmax(8rem, 16rem) minmax(0, 1fr);
  gap: .35rem 1.25rem; margin: .5rem 0 1.25rem;
}
dt { color: var(--quiet); }
dd { margin: 0; font-variant-numeric: tabular-nums; }
svg {
  display: block; width: 100%; min-width: 40rem; height: auto; overflow: visible;
  color: var(--ink);
}
.wide svg, .narrow svg { min-width: 0; }
.narrow { display: none; }
.numbers { font-size: .9rem; margin-top: .3rem; }
.numbers p, .numbers code { display: block; margin: .4rem 0 0; }
.numbers > summary { color: var(--quiet); width: max-content; max-width: 100%; }
textarea {
  display: block; width: 100%; margin-top: .4rem; padding: .6rem; color: var(--ink);
  background: var(--tint); border: 1px solid var(--line); border-radius: .3rem;
  font: .85rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  white-space: pre; overflow: auto;
}
fieldset {
  border: 0; margin: 0; padding: 0; min-width: 0;
}
legend { float: left; padding: 0; margin-right: .75rem; color: var(--quiet); font-size: .9rem; }
.zoom label { margin-right: .9rem; font-size: .9rem; }
.zoom .scroll { clear: both; padding-top: .4rem; }
.zoom .z2:checked ~ .scroll svg { width: 200%; }
.zoom .z4:checked ~ .scroll svg { width: 400%; }
.hidden {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap;
}
footer { margin-top: 2rem; color: var(--quiet); font-size: .85rem; }
@media (max-width: 40rem) {
  main { padding: 1.25rem 1rem 2rem; }
  .verdict { font-size: 1.3rem; }
  h1.alone { font-size: 1.4rem; }
  .wide { display: none; }
  .narrow { display: block; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd { margin-bottom: .5rem; }
}
@media print {
  :root {
    --ink: #000000; --paper: #ffffff; --quiet: #444444; --line: #bbbbbb; --tint: #f2f2f2;
    --accent: #000000; --gain: #17703a; --loss: #b02a1b; --best: #e2f2e7; --shade: #7fb2e0;
  }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  section > details::details-content { content-visibility: visible; block-size: auto; }
  section > details:not([open]) > * { display: block; }
  .numbers, legend, .zoom input, .zoom label { display: none; }
  h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  .scroll, .tall { overflow: visible; max-height: none; }
  table { font-size: 8pt; }
  th, td { padding: .2rem .35rem; }
  svg { min-width: 0; max-width: 17cm; }
  .wide { display: block; }
  .narrow { display: none; }
}
"""
