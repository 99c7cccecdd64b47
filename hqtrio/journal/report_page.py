"""The report of a journal as one HTML page that needs nothing else, in light and dark."""

from __future__ import annotations

from html import escape
from itertools import accumulate
from typing import Final

from hqtrio.journal.charts import durations_chart, figure_text, time_chart, time_text
from hqtrio.journal.instants import instant
from hqtrio.journal.report import DURATIONS, Kind, Report, WorkerType
from hqtrio.model.requests import format_request
from hqtrio.model.resources import Variants
from hqtrio.units import format_amount, format_mem_amount

__all__ = ["report_page"]

_TYPES_SHOWN: Final = 12

_STYLE: Final = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1c2430;--soft:#667080;--rule:#e3e7ec;
--blue:#2f6fd6;--orange:#c8701a;--green:#23875a;--red:#c2403c;--violet:#7a55c7}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1b212a;--ink:#e6eaf0;--soft:#93a0b0;
--rule:#2c3541;--blue:#6ea4ff;--orange:#f0a35a;--green:#5cc998;--red:#f0827d;--violet:#b094f5}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:24px;margin:0}h2{font-size:17px;margin:34px 0 10px}
h3{font-size:14px;margin:18px 0 6px;font-weight:600}
p{margin:4px 0;color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(128px,1fr));gap:10px;margin-top:18px}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:10px 14px}
.tile b{display:block;font-size:21px;font-weight:600;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));gap:12px}
figure,.wide{background:var(--card);border:1px solid var(--rule);border-radius:8px;margin:0;
padding:10px 12px}
.wide{overflow-x:auto}
figcaption{font-weight:600;font-size:14px;display:flex;justify-content:space-between;gap:12px}
output{color:var(--soft);font-weight:400;font-variant-numeric:tabular-nums}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font-size:12px}
.grid{stroke:var(--rule)}.cursor{stroke:var(--soft);visibility:hidden}
.line{fill:none;stroke:var(--c);stroke-width:1.6}.area{fill:var(--c);opacity:.16}
.blue{--c:var(--blue)}.orange{--c:var(--orange)}.green{--c:var(--green)}.violet{--c:var(--violet)}
.bars{min-width:220px;max-width:280px}.bars rect{fill:var(--blue)}.bars text{font-size:11px}
table{border-collapse:collapse;width:100%;font-size:14px}
th{text-align:left;color:var(--soft);font-weight:500;white-space:nowrap}
th,td{padding:7px 12px 7px 0;border-bottom:1px solid var(--rule);vertical-align:top}
tr:last-child td{border-bottom:0}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bad{color:var(--red)}.none{color:var(--soft)}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.45 ui-monospace,monospace}
"""

_SCRIPT: Final = (
    """
function clock(s){if(s<60)return +s.toPrecision(3)+" s";s=Math.round(s);
const h=Math.floor(s/3600),m=Math.floor(s/60)%60,two=n=>String(n).padStart(2,"0");
return (h?h+":"+two(m):m)+":"+two(s%60)}
for(const figure of document.querySelectorAll("figure.chart")){
const d=figure.dataset,values=d.values.split(",").map(Number),svg=figure.querySelector("svg"),
line=figure.querySelector(".cursor"),out=figure.querySelector("output");
svg.addEventListener("pointermove",event=>{
const x=(event.clientX-svg.getBoundingClientRect().left)/svg.clientWidth*LEFT_TO_RIGHT-LEFT;
const i=Math.floor(x/INNER*values.length);if(i<0||i>=values.length)return;
const at=LEFT+INNER*(i+.5)/values.length;line.setAttribute("x1",at);line.setAttribute("x2",at);
line.style.visibility="visible";
out.textContent=clock(+d.start+i*d.width)+" \\u00b7 "+values[i]+d.unit});
svg.addEventListener("pointerleave",()=>{line.style.visibility="hidden";out.textContent=""})}
""".replace("LEFT_TO_RIGHT", "720")
    .replace("INNER", "656")
    .replace("LEFT", "52")
)


def report_page(report: Report, source: str) -> str:
    """The whole page; `source` names the journal."""
    clock = report.clock
    assert clock.zero is not None
    end_s = clock.start_s + clock.bins * clock.width_s
    heading = (
        f"<h1>What happened on server {escape(report.server_uid)}</h1>"
        f"<p>{escape(source)}</p>"
        f"<p>From {instant(clock.zero + clock.start_s)} to about {instant(clock.zero + end_s)}. "
        "Times count from the first event.</p>"
    )
    body = "".join(
        (
            heading,
            _tiles(report),
            "<h2>Workers and tasks</h2>",
            _overview(report),
            "<h2>Utilisation</h2>",
            _utilisation(report),
            "<h2>Tasks by what they ask for</h2>",
            _kinds(report),
            "<h2>Failures</h2>",
            _failures(report),
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>hqtrio: {escape(report.server_uid)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _tiles(report: Report) -> str:
    counts = report.counts
    ever = sum(usage.ever for usage in report.types.values())
    tiles = [
        (time_text(report.clock.bins * report.clock.width_s), "time"),
        (report.jobs, "jobs"),
        (counts["submitted"], "tasks"),
        (counts["finished"], "finished"),
        (counts["failed"], "failed"),
        (counts["canceled"], "canceled"),
        (counts["aborted"], "aborted"),
        (report.restarts, "runs repeated"),
        (ever, "workers"),
        (report.losses, "workers lost"),
        (report.servers, "server starts"),
    ]
    cells = []
    for value, name in tiles:
        text = f"{value:,}" if isinstance(value, int) else value
        bad = ' class="bad"' if value and name in ("failed", "workers lost") else ""
        cells.append(f'<div class="tile"><b{bad}>{text}</b><span>{name}</span></div>')
    return f'<div class="tiles">{"".join(cells)}</div>'


def _overview(report: Report) -> str:
    clock = report.clock
    charts = (
        ("Workers", report.workers, "violet"),
        ("Running tasks", report.running, "blue"),
        ("Waiting tasks", report.waiting, "orange"),
    )
    drawn = (
        time_chart(
            label, level.means(), colour=colour, width_s=clock.width_s, start_s=clock.start_s
        )
        for label, level, colour in charts
    )
    return f'<div class="charts">{"".join(drawn)}</div>'


def _utilisation(report: Report) -> str:
    if not report.types:
        return "<p>There were no workers.</p>"
    clock, parts = report.clock, []
    types = sorted(report.types.items(), key=lambda item: -item[1].ever)
    for pools, usage in types[:_TYPES_SHOWN]:
        parts.append(
            f"<h3>{usage.ever} {'worker' if usage.ever == 1 else 'workers'} with "
            f"{escape(_offer(pools))}</h3>"
        )
        charts = []
        idle = [p.resource for p in pools if not any(usage.used[p.resource].means())]
        for pool in pools:
            if pool.resource in idle:
                continue
            capacity = usage.capacity[pool.resource].means()
            used = usage.used[pool.resource].means()
            share = [
                min(100.0, 100 * u / c) if c > 0.5 else 0.0
                for u, c in zip(used, capacity, strict=True)
            ]
            area = sum(capacity)
            mean = 100 * sum(used) / area if area else 0.0
            charts.append(
                time_chart(
                    f"{pool.resource}: {mean:.0f} % used on average",
                    share,
                    colour="green",
                    width_s=clock.width_s,
                    start_s=clock.start_s,
                    unit=" %",
                    top=100.0,
                )
            )
        parts.append(f'<div class="charts">{"".join(charts)}</div>')
        if idle:
            parts.append(f"<p>Nobody used: {escape(', '.join(idle))}.</p>")
    if len(types) > _TYPES_SHOWN:
        parts.append(f"<p>{len(types) - _TYPES_SHOWN} rarer types of workers are not shown.</p>")
    return "".join(parts)


def _offer(pools: WorkerType) -> str:
    texts = []
    for pool in pools:
        is_memory = pool.resource == "mem" and not pool.groups
        amount = format_mem_amount(pool.size) if is_memory else format_amount(pool.size)
        texts.append(f"{amount} {pool.resource}")
    return ", ".join(texts)


def _kinds(report: Report) -> str:
    if not report.kinds:
        return "<p>No task has ended.</p>"
    rows = []
    ordered = sorted(report.kinds.items(), key=lambda item: -item[1].finished - item[1].failed)
    for variants, kind in ordered:
        bad = ' class="n bad"' if kind.failed else ' class="n"'
        rows.append(
            f"<tr><td><pre>{escape(_request(variants))}</pre></td>"
            f'<td class="n">{kind.finished:,}</td><td{bad}>{kind.failed:,}</td>'
            f"{_durations(kind)}<td>{durations_chart(kind.durations)}</td></tr>"
        )
    return (
        '<div class="wide"><table><tr><th>Request</th><th class="n">Finished</th>'
        '<th class="n">Failed</th><th class="n">Shortest</th><th class="n">Median</th>'
        '<th class="n">Mean</th><th class="n">Longest</th>'
        f"<th>Durations of finished tasks</th></tr>{''.join(rows)}</table></div>"
    )


def _durations(kind: Kind) -> str:
    if not sum(kind.durations):
        return '<td class="n">-</td>' * 4
    sums = list(accumulate(kind.durations))
    middle = next(index for index, total in enumerate(sums) if 2 * total >= sums[-1])
    median = min(DURATIONS[middle], kind.longest_s) if middle < len(DURATIONS) else kind.longest_s
    texts = (
        time_text(kind.shortest_s),
        f"&le; {time_text(median)}",
        time_text(kind.total_s / sums[-1]),
        time_text(kind.longest_s),
    )
    return "".join(f'<td class="n">{text}</td>' for text in texts)


def _request(variants: Variants) -> str:
    if not variants:
        return "never started"
    return "\nor\n".join("\n".join(format_request(request)) for request in variants)


def _failures(report: Report) -> str:
    if not report.failures:
        return "<p>No task has failed.</p>"
    ordered = sorted(report.failures.items(), key=lambda item: -item[1].count)
    zero = report.clock.zero or 0.0
    rows = [
        f'<tr><td class="n bad">{figure_text(failure.count)}</td><td>{escape(failure.job)}</td>'
        f"<td>{failure.first}</td><td>{time_text(failure.at - zero)}</td>"
        f"<td><pre>{escape(error)}</pre></td></tr>"
        for (_, error), failure in ordered
    ]
    return (
        '<div class="wide"><table><tr><th class="n">Tasks</th><th>Job</th><th>First</th>'
        f"<th>After</th><th>Error</th></tr>{''.join(rows)}</table></div>"
    )
