"""How the web page looks: light or dark as the reader's system is, and on paper."""

from __future__ import annotations

from zaptrace.report.html.markup import Markup

CSS = Markup(
    """
:root { color-scheme: light dark;
  --paper:#fbfbf9; --card:#ffffff; --ink:#1d2127; --soft:#646b75; --line:#dfe1e4; --wash:#f1f2f3;
  --bad:#c22f27; --badwash:#fbeae8; --good:#1f7a46;
  --zap:#2f6fb3; --zap_enter:#7fa3c7; --rmap_remove:#2b8a57; --page_free:#c77a10;
  --bad_page:#c22f27; --bad_pte:#9b3fa5; --lost:#6b7078; }
@media (prefers-color-scheme: dark) { :root {
  --paper:#14171b; --card:#1b1f25; --ink:#e4e7eb; --soft:#98a1ad; --line:#30363f; --wash:#242a32;
  --bad:#ff7a70; --badwash:#3a1f1f; --good:#5cc98b;
  --zap:#69a8ee; --zap_enter:#47698e; --rmap_remove:#5cc98b; --page_free:#f0a945;
  --bad_page:#ff7a70; --bad_pte:#d48be0; --lost:#8b929c; } }
* { box-sizing: border-box; }
body { margin:0; background:var(--paper); color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif; }
main { max-width:1000px; margin:0 auto; padding:32px 24px 48px; }
code, pre, .mono { font-family:ui-monospace,"SF Mono","DejaVu Sans Mono",Menlo,monospace; }
code, pre { font-size:12.5px; }
header { border-left:5px solid var(--bad); padding:2px 0 2px 18px; margin-bottom:22px; }
header.clean { border-color:var(--good); }
.kind { font-size:12.5px; font-weight:600; color:var(--bad); letter-spacing:.02em; }
.clean .kind { color:var(--good); }
h1 { font-size:25px; line-height:1.25; margin:2px 0 8px; letter-spacing:-.01em; }
header p { margin:0; max-width:78ch; font-size:16px; }
h2 { font-size:16px; margin:0 0 2px; }
.sub { color:var(--soft); margin:0 0 12px; font-size:13.5px; }
section { background:var(--card); border:1px solid var(--line); border-radius:8px;
  padding:18px 20px; margin:0 0 16px; }
dl.facts { display:flex; flex-wrap:wrap; gap:1px;
  background:var(--line); border:1px solid var(--line); border-radius:8px; overflow:hidden;
  margin:0 0 16px; }
dl.facts div { background:var(--card); padding:10px 14px; flex:1 1 auto; }
dt { color:var(--soft); font-size:12.5px; }
dl.facts dd { margin:0; font-size:18px; font-weight:600; font-variant-numeric:tabular-nums;
  overflow-wrap:anywhere; }
dl.facts .wrong dt { font-weight:400; color:var(--soft); } dl.facts .wrong dd { color:var(--bad); }
dl.facts div:last-child { flex:1 1 200px; }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; }
th { text-align:left; font-weight:600; font-size:12.5px; color:var(--soft);
  border-bottom:1px solid var(--line); padding:4px 10px 4px 0; vertical-align:bottom; }
td { padding:6px 10px 6px 0; border-bottom:1px solid var(--line); vertical-align:top; }
tr:last-child td { border-bottom:0; }
.n { text-align:right; white-space:nowrap; }
tr.turn td { background:var(--badwash); }
tr.turn td:first-child { box-shadow:inset 3px 0 0 var(--bad); padding-left:10px; }
.wrong, .wrong code { color:var(--bad); font-weight:600; }
.soft { color:var(--soft); }
td { overflow-wrap:anywhere; } tr.above td { border-bottom:0; padding-bottom:0; }
#proof td[colspan] { padding-top:2px; font-size:13.5px; }
svg { display:block; width:100%; height:auto; }
svg text { fill:var(--ink); font:12px system-ui,"DejaVu Sans",sans-serif; }
svg .soft { fill:var(--soft); } svg .mono { font-family:ui-monospace,"DejaVu Sans Mono",monospace; }
svg .end { text-anchor:end; } svg .mid { text-anchor:middle; }
svg .number { fill:var(--card); font-size:11px; font-weight:700; text-anchor:middle; }
.rule { stroke:var(--line); } .axis { stroke:var(--soft); } .mark { stroke:var(--bad); }
.dash { stroke-dasharray:3 3; }
.out { fill:var(--line); }
.none { fill:var(--wash); stroke:var(--line); } .present { fill:var(--rmap_remove); opacity:.75; }
.same { fill:var(--bad); } .ring { fill:none; stroke:var(--bad); stroke-width:2.5; }
.cross { fill:none; stroke:var(--card); stroke-width:2; stroke-linecap:round; }
.dot { fill:var(--zap); } .dot.turn { fill:var(--bad); }
.chains { columns:2 400px; column-gap:28px; } .chains > div { break-inside:avoid;
  padding-bottom:10px; } .chains h3:first-of-type { margin:0 0 4px; } h2 + pre { margin-top:8px; }
.chains .soft { font-size:12.5px; } .apart { margin-top:14px; }
h3 { font-size:14px; margin:16px 0 4px; } section h3:first-of-type { margin-top:4px; }
.chain { margin:0; padding:0; list-style:none; } .chain li { padding:1px 0 1px 14px;
  border-left:2px solid var(--line); display:flex; gap:16px; }
.chain li code, #life code { overflow-wrap:anywhere; } .chain li code:first-child { flex:0 0 45%; }
.chain li.it { border-color:var(--bad); } .chain li.it code { color:var(--bad); font-weight:600; }
pre { margin:0; overflow-x:auto; white-space:pre; line-height:1.45; background:var(--wash);
  border-radius:6px; padding:12px 14px; }
pre .it { background:var(--badwash); color:var(--bad); font-weight:600; display:inline-block;
  min-width:100%; } pre .remark { font-style:italic; }
pre + .sub, .sub + pre { margin-top:8px; }
.key { display:flex; flex-wrap:wrap; gap:4px 20px; margin:10px 0 0; color:var(--soft);
  font-size:13px; } .key svg { width:14px; height:14px; display:inline-block;
  vertical-align:-2px; margin-right:6px; }
ul.doubts { margin:0; padding-left:18px; }
.clue { break-inside:avoid; padding-top:4px; } .clue ol, .clue ul { margin:2px 0;
  padding-left:22px; } .clue p.sub { margin:2px 0 8px; } .clue .measure { list-style:"→ "; }
.clue .soft { font-size:13.5px; }
.env { display:grid; grid-template-columns:max-content 1fr; gap:3px 18px; margin:0; }
.env dd { margin:0; overflow-wrap:anywhere; }
footer { color:var(--soft); font-size:13px; }
@media (max-width:640px) { main { padding:18px 12px; } section { padding:14px 12px; }
  .chain li { display:block; } .chain li code { display:block; } .chain li code + code {
  padding-left:14px; } td, th { padding-right:6px; font-size:13px; } th { font-size:11px; }
  #order tr > :nth-child(3) { display:none; } .env { display:block; } .env dd { margin:0 0 6px; }
  .scroll { overflow-x:auto; } .scroll svg { min-width:620px; } }
@media print { body { background:#fff; font-size:11.5px; } main { max-width:none; padding:0; }
  section, dl.facts { break-inside:avoid; } pre { white-space:pre-wrap; } }
"""
)
