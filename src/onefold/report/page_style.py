"""The CSS of a report's page: light, dark, narrow and printed."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark; --ink: #1f2328; --paper: #ffffff; --quiet: #59636e;
  --line: #d1d9e0; --tint: #f4f6f8; --accent: #1b66a8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ec; --paper: #15191e; --quiet: #a3adb8; --line: #363e47; --tint: #1d232a;
    --accent: #7ab8ef;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; text-wrap: balance; }
h2 {
  font-size: 1.25rem; line-height: 1.3; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line);
}
p { margin: 0 0 .8rem; max-width: 42rem; }
.summary { font-size: 1.1rem; }
nav {
  margin: 1.5rem 0 0; padding: .9rem 1.1rem; background: var(--tint);
  border-radius: .5rem;
}
nav ol { margin: 0; padding-left: 1.4rem; columns: 16rem; }
a { color: var(--accent); }
.scroll { overflow-x: auto; margin: 0; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
figure { margin: 1rem 0 1.5rem; }
figcaption {
  color: var(--quiet); font-size: .92rem; margin-top: .4rem; max-width: 42rem;
}
table {
  border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal;
}
th, td {
  padding: .4rem .6rem; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--line);
}
th:first-child, td:first-child { padding-left: .2rem; }
thead th {
  color: var(--quiet); font-weight: 600; vertical-align: bottom;
  border-bottom: 2px solid var(--line); min-width: 4.6rem;
}
thead .number { white-space: normal; }
tbody th { font-weight: 400; min-width: 8rem; }
thead .unit { display: block; font-weight: 400; }
.number { text-align: right; white-space: nowrap; }
td:not(.number) { min-width: 12rem; max-width: 26rem; }
.emphasis { background: var(--tint); }
.emphasis th, .emphasis td { font-weight: 650; }
dl {
  display: grid; grid-template-columns: minmax(8rem, 18rem) minmax(0, 1fr);
  gap: .35rem 1.25rem; margin: .5rem 0 1.25rem; max-width: 50rem;
}
dt { color: var(--quiet); }
dd { margin: 0; font-variant-numeric: tabular-nums; }
svg {
  display: block; width: 100%; min-width: 33rem; max-width: 46rem; height: auto;
  overflow: visible; color: var(--ink);
}
footer {
  margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--line);
  color: var(--quiet); font-size: .85rem;
}
@media (max-width: 34rem) {
  main { padding: 1.25rem 1rem 2rem; }
  h1 { font-size: 1.45rem; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd { margin-bottom: .5rem; }
}
@media print {
  :root {
    --ink: #000000; --paper: #ffffff; --quiet: #444444; --line: #bbbbbb; --tint: #f2f2f2;
    --accent: #000000;
  }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  svg { min-width: 0; max-width: 15cm; }
}
"""
