"""The look of the report: one style sheet, no network, light and dark, desktop, phone and paper."""

# ruff: noqa: E501 - a style sheet reads better with one rule a line

CSS = """
:root {
  --page: #f5f6f8; --card: #ffffff; --ink: #171b24; --muted: #58616f; --line: #e0e4ea; --soft: #f0f3f7;
  --probe: #2360d8; --tuned: #c0470b; --floor: #737c8a; --wrong: #d1362b; --good: #12733a; --goodsoft: #e3f4e9;
  --warnsoft: #fdf1d8; --warn: #7d5200;
  --line-1: #2360d8; --line-2: #0b7f6e; --line-3: #8a3fc4; --line-4: #a3195b; --line-5: #4c7a05; --line-6: #006a9e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1116; --card: #171b22; --ink: #e8ebf1; --muted: #a0aab8; --line: #2d343f; --soft: #1f252e;
    --probe: #74a7ff; --tuned: #ff9a5a; --floor: #8f99a8; --wrong: #ff7b70; --good: #6fd695;
    --goodsoft: #163323; --warnsoft: #372b11; --warn: #f2c463;
    --line-1: #74a7ff; --line-2: #3fd0b8; --line-3: #c79bff; --line-4: #ff86b8; --line-5: #a9d35c; --line-6: #5cc8f5;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif;
  print-color-adjust: exact; -webkit-print-color-adjust: exact;
}
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 64px; }
h1 { font-size: 1rem; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 0 0 4px; }
h3 { font-size: 1rem; margin: 0 0 8px; }
p { margin: 0 0 10px; }
a { color: var(--probe); }
small, .muted { color: var(--muted); }
small { font-size: .84rem; }
.num { font-variant-numeric: tabular-nums; }
header { display: flex; flex-wrap: wrap; gap: 2px 16px; align-items: baseline; margin-bottom: 14px; }
header small { overflow-wrap: anywhere; }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 22px 24px;
  margin-bottom: 18px;
}
.lead { color: var(--muted); font-size: .92rem; max-width: 76ch; margin-bottom: 16px; }

/* the verdict */
.verdict { border-top: 5px solid var(--good); }
.verdict.doubt { border-top-color: var(--warn); }
.verdict .use { font-size: .8rem; font-weight: 700; letter-spacing: .06em; text-transform: uppercase;
  color: var(--good); margin: 0; }
.verdict.doubt .use { color: var(--warn); }
.verdict h2 { font-size: clamp(1.5rem, 4vw, 2.15rem); letter-spacing: -.015em; line-height: 1.18;
  margin: 2px 0 18px; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px; margin: 0 0 18px; }
.tile { background: var(--soft); border-radius: 10px; padding: 12px 14px; }
.tile dt { font-size: .84rem; color: var(--muted); }
.tile dd { margin: 0; }
.tile .big { font-size: 1.5rem; font-weight: 680; line-height: 1.25; letter-spacing: -.01em; }
.tile .big.words { font-size: 1.15rem; line-height: 1.56; }
.tile small { display: block; line-height: 1.4; margin-top: 2px; }
.advice { max-width: 82ch; margin: 0; }
.warning { background: var(--warnsoft); color: var(--warn); border-radius: 10px; padding: 10px 14px; margin: 14px 0 0; }
.warning + .warning { margin-top: 8px; }

/* the methods */
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; font-size: .84rem; color: var(--muted); }
th, td { padding: 7px 8px; vertical-align: middle; }
tbody tr { border-top: 1px solid var(--line); }
.methods td.n, .methods th.n { text-align: right; white-space: nowrap; }
.methods td.n { font-variant-numeric: tabular-nums; font-size: .92rem; }
.methods td small { display: block; line-height: 1.3; }
.methods th[scope=row] { color: var(--ink); font-size: .96rem; line-height: 1.35; min-width: 215px;
  overflow-wrap: anywhere; }
.methods th[scope=row] small { font-weight: 400; display: block; }
.methods .plot { width: 30%; min-width: 200px; padding: 0 10px; }
.methods thead th { padding: 7px 6px; vertical-align: bottom; }
.methods td.n { padding: 7px 6px; }
.methods tr.pick { background: var(--goodsoft); }
.methods tr.floor th[scope=row], .methods tr.floor td.n { color: var(--muted); }
.methods .top { font-weight: 680; font-size: 1rem; }
.chip { display: inline-block; font-size: .75rem; font-weight: 650; border-radius: 99px; padding: 0 8px;
  line-height: 1.55; white-space: nowrap; margin-left: 4px; border: 1px solid currentColor; }
.chip.use { background: var(--good); color: var(--card); border-color: var(--good); }
.chip.best { color: var(--good); }
.mark { display: inline-block; width: 11px; height: 11px; margin-right: 8px; vertical-align: -1px; flex: none; }
.probe .mark, .mark.probe { background: var(--probe); border-radius: 50%; }
.finetune .mark, .mark.finetune { background: var(--tuned); transform: rotate(45deg) scale(.86); }
.floor .mark, .mark.floor { border: 2px solid var(--floor); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: .84rem; color: var(--muted); margin: 0 0 10px; }
.legend .band { display: inline-block; width: 22px; height: 11px; margin-right: 8px; background: var(--good);
  opacity: .18; vertical-align: -1px; }

/* dot and whisker, in a row of its own or inside a table cell */
.dw { position: relative; height: 38px; display: block; }
.dw i { position: absolute; display: block; }
.dw .grid { top: 0; bottom: 0; width: 1px; background: var(--line); }
.dw .band { top: 0; bottom: 0; background: var(--good); opacity: .13; }
.dw .whisk { top: 50%; height: 2px; margin-top: -1px; background: var(--c); opacity: .75; }
.dw .whisk::before, .dw .whisk::after { content: ""; position: absolute; top: -4px; height: 10px; width: 2px;
  background: var(--c); }
.dw .whisk::before { left: 0; } .dw .whisk::after { right: 0; }
.dw .dot { top: 50%; width: 13px; height: 13px; margin: -6.5px 0 0 -6.5px; background: var(--c);
  border: 2px solid var(--card); border-radius: 50%; box-sizing: content-box; margin: -8.5px 0 0 -8.5px; }
.dw .dot.finetune { border-radius: 0; transform: rotate(45deg) scale(.82); }
.dw .dot.floor { background: var(--card); border: 2.5px solid var(--c); border-radius: 0; width: 8px; height: 8px;
  margin: -6.5px 0 0 -6.5px; }
.dw .tick { top: 50%; width: 1px; height: 16px; margin-top: -8px; background: var(--c); opacity: .85; }
.dw .off { top: 50%; left: 0; margin-top: -6px; border: 6px solid transparent; border-right: 9px solid var(--c);
  border-left: 0; }
.dw .probe { --c: var(--probe); } .dw .finetune { --c: var(--tuned); } .dw .floor { --c: var(--floor); }
.dw.axis { height: 18px; font-size: .75rem; font-weight: 400; }
.dw.axis span { white-space: nowrap; position: absolute; transform: translateX(-50%); bottom: 0; }
.scroll { overflow-x: auto; }

/* figures */
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 24px 32px; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; margin-bottom: 6px; line-height: 1.35; }
figcaption small { font-weight: 400; display: block; }
figure svg { display: block; width: 100%; max-width: 580px; height: auto; }
figure svg text { font-family: inherit !important; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg.wide { width: auto; max-width: none; }
.narrow { display: none; }
figure g:has(> title):hover { opacity: .75; }
.two { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 32px; align-items: start; }

/* classes and mistakes */
.bars { display: grid; grid-template-columns: minmax(80px, auto) 1fr auto; gap: 0 12px; align-items: center;
  font-size: .92rem; margin: 0; }
.bars > span { overflow-wrap: anywhere; line-height: 1.3; }
.bars .dw { height: 31px; }
.bars .dw.axis { height: 20px; }
.bars .dw .dot { width: 9px; height: 9px; margin: -6.5px 0 0 -6.5px; }
.after { margin: 8px 0 0; }
.pairs { margin: 0; padding: 0; list-style: none; font-size: .94rem; }
.pairs li { display: flex; gap: 10px; padding: 4px 0; border-top: 1px solid var(--line); }
.pairs .grow { flex: 1; }
.pairs li:first-child { border-top: 0; }
.pairs b { min-width: 3.2ch; text-align: right; }
.pairs span { overflow-wrap: anywhere; min-width: 0; }
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(142px, 1fr)); gap: 16px 14px; margin: 0;
  padding: 0; list-style: none; }
.mistakes li { min-width: 0; font-size: .88rem; line-height: 1.35; overflow-wrap: anywhere; }
.mistakes img, .mistakes .none { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 8px; display: block;
  margin-bottom: 6px; background: var(--soft); }
.mistakes .none { display: grid; place-items: center; color: var(--muted); border: 1px dashed var(--line); }
.mistakes .said { color: var(--wrong); font-weight: 600; }
.mistakes small { display: block; }
.mistakes .also { color: var(--warn); }
.together { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 16px 22px; margin: 0 0 22px;
  padding: 0; list-style: none; }
.together li { min-width: 0; font-size: .88rem; line-height: 1.35; overflow-wrap: anywhere; }
.together small { display: block; }
.together .mistakes { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 6px; }

/* how it was done */
dl.facts { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 4px 18px; margin: 0 0 14px;
  font-size: .94rem; }
dl.facts dt { color: var(--muted); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
details { border-top: 1px solid var(--line); padding: 9px 0; }
summary { cursor: pointer; font-weight: 600; }
summary:focus-visible { outline: 2px solid var(--probe); outline-offset: 3px; border-radius: 4px; }
details > :not(summary) { margin-top: 10px; }
.plain td, .plain th { font-size: .88rem; padding: 4px 12px 4px 0; vertical-align: top; overflow-wrap: anywhere; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .86em; }
pre { background: var(--soft); border-radius: 10px; padding: 12px 14px; overflow-x: auto; margin: 0 0 14px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
footer { color: var(--muted); font-size: .84rem; }

/* learning curves */
.keys { display: flex; flex-wrap: wrap; gap: 6px 20px; font-size: .88rem; margin: 12px 0 0; padding: 0; list-style: none; }
.keys li { display: flex; align-items: center; gap: 8px; }
.keys svg { width: 34px; height: 12px; flex: none; }
.learning svg { max-width: 900px; }
.grid-of-numbers th, .grid-of-numbers td { white-space: nowrap; font-size: .9rem; padding: 6px 9px; }
.grid-of-numbers td { text-align: right; font-variant-numeric: tabular-nums; }
.grid-of-numbers td small { display: block; line-height: 1.3; }
.grid-of-numbers small { font-weight: 400; }
.grid-of-numbers thead th { text-align: right; }
.grid-of-numbers th:first-child { text-align: left; position: sticky; left: 0; background: var(--card); color: var(--ink);
  font-size: .9rem; white-space: normal; min-width: 132px; }
.grid-of-numbers td.top { font-weight: 680; background: var(--goodsoft); }
.small-screen { display: none; }

@media (min-width: 761px) and (max-width: 1020px) {
  .methods .minor { display: none; }
}
@media (max-width: 760px) {
  main { padding: 16px 12px 48px; }
  .card { padding: 18px 16px; border-radius: 12px; }
  .two { grid-template-columns: minmax(0, 1fr); }
  .tiles { grid-template-columns: 1fr 1fr; gap: 8px; }
  .tile { padding: 10px 12px; }
  .tile .big { font-size: 1.3rem; } .tile .big.words { font-size: 1rem; line-height: 1.3; padding: 3px 0; }
  .methods, .methods thead, .methods tbody { display: block; }
  .methods thead tr { display: block; }
  .methods thead th:not(.plot) { display: none; }
  .methods thead .plot { display: block; width: auto; padding: 0 8px; }
  .methods tbody tr { display: flex; flex-wrap: wrap; gap: 0 14px; padding: 9px 8px 10px; margin: 0 -8px; }
  .methods td, .methods th { padding: 0; }
  .methods th[scope=row] { flex: 1 1 55%; min-width: 0; align-self: center; }
  .methods td.top1 { order: 1; flex: none; text-align: right; }
  .methods td.plot { order: 2; flex: 1 0 100%; padding: 0 8px; }
  .methods .dw:not(.axis) { height: 28px; }
  .methods tbody td.n { padding: 0; }
  .methods td.n:not(.top1) { order: 3; font-size: .82rem; color: var(--muted); }
  .methods td.n:not(.top1)::before { content: attr(data-label) " "; opacity: .85; }
  .methods td.n:not(.top1) small { display: inline; font-size: 1em; }
  .methods td.n:not(.top1) br { display: none; }
  .methods td.minor { display: none; }
  .narrow { display: block; margin: 10px 0 0; }
  .large-screen { display: none; } .small-screen { display: block; }
  .mistakes { grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 14px 10px; }
  dl.facts { grid-template-columns: 1fr; gap: 0; } dl.facts dd { margin-bottom: 6px; }
}
@media print {
  body { background: #fff; } .card { break-inside: avoid; border: 0; padding: 8px 0; }
}
"""
