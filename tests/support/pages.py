"""Pages of synthetic runs with small pictures, for the tests of the page: no chart is drawn."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from PIL import Image

from analysis.figures.results import ClaimResult
from analysis.figures.summary import summarize
from analysis.page.page import render
from analysis.page.pictures import Picture
from analysis.page.sections import workload_names
from analysis.reading.run import load_run
from tests.support.summaries import BY_ID, CLOSE, KEEP_ALIVE, failure
from tests.support.synthetic import BROADCAST, IDLE, SEARCH, STEADY, VISIT, make_run
from tests.support.synthetic_model import CONNECTIONS, Load, Plan

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PLAN = Plan(blocks=3, rounds=4)
CHOSEN = [BY_ID[name] for name in ("uvicorn", "granian-wsgi", "gunicorn-sync", "uwsgi-http11")]
LEVEL = f"c{CONNECTIONS}"
HOSTILE = '</script></style>"\'><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
SVG = """<?xml version="1.0"?>
<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg" width="1152pt"
 height="648pt" viewBox="0 0 1152 648"><metadata>made</metadata>
<defs>
<pattern id="hatch" width="9" height="9"><path d="M 0 0 L 9 9" style="stroke: #1b1f24"/></pattern></defs>
<g id="figure_1"><path d="M 0 0 L 1152 0 L 1152 648 L 0 648 z" style="fill: #fffffe"/>
<path d="M 100 100 L 800.123456 100 L 800 300 z" style="fill: url(#hatch); stroke: #1b1f24"/></g></svg>
"""
CLAIMS = (
    ClaimResult(
        "waits", "Waiting blocks a worker.", "https://claims.example/wsgi", "supported", "98 requests/s"
    ),
    ClaimResult("cpu", "<b>asyncio</b> computes faster.", "a talk", "contradicted", "0.97 times"),
    ClaimResult("cost", "The application costs little.", "PEP 3333", "undecided", "too few blocks"),
)


def image(png: bytes) -> Image.Image:
    """A screenshot in shades of grey."""
    return Image.open(io.BytesIO(png)).convert("L")


def picture(stem: str) -> Picture:
    return Picture(SVG.encode(), f"What {stem} shows", stem, f"Title of {stem}")


def make_page(folder: Path, claims: tuple[ClaimResult, ...] = ()) -> Path:
    """The page of the run in `folder`: a chart of the run, one of each workload and two of each level."""
    run = load_run(folder)
    summary = summarize(run)
    of_levels = {
        (level.workload, level.level): [picture(f"{kind}-{number}") for kind in ("throughput", "latency")]
        for number, level in enumerate(summary.levels)
    }
    of_workloads = {
        name: [picture(f"workload-{number}")] for number, name in enumerate(workload_names(summary))
    }
    of_run = [picture("run")]
    (folder / "charts").mkdir(exist_ok=True)
    for shown in (of_run, *of_workloads.values(), *of_levels.values()):
        for each in shown:
            for name in (
                f"{each.stem}.svg",
                f"{each.stem}.png",
                f"{each.stem}-dark.svg",
                f"{each.stem}-dark.png",
            ):
                (folder / "charts" / name).write_bytes(each.svg)
    page = folder / "report.html"
    page.write_text(render(run, summary, of_levels, of_workloads, of_run, claims), encoding="utf-8")
    return page


def plain_page(folder: Path) -> Path:
    """Two levels of one workload and one of another; valid, invalid, failed and unsupported cells."""
    many = replace(KEEP_ALIVE, level=replace(KEEP_ALIVE.level, connections=256))
    died = [failure(1, "gunicorn-sync", "close")]
    made = make_run(folder, PLAN, CHOSEN, [KEEP_ALIVE, CLOSE, many], died)
    with (made / "events.jsonl").open("a") as events:
        for subject, key in (("uvicorn", "type"), ("granian-wsgi", "REQUEST_METHOD")):
            told = {"kind": "interface", "subject": subject, "keys": {key: {"type": "str", "value": "<i>"}}}
            events.write(json.dumps(told) + "\n")
    (made / "logs").mkdir()
    (made / "logs" / "uvicorn-b0.log").write_text("started")
    return make_page(made, CLAIMS)


def mixed_page(folder: Path) -> Path:
    """Every kind of load."""
    loads = [KEEP_ALIVE, STEADY, SEARCH, IDLE, BROADCAST, VISIT]
    figures = {"keep-alive": 900.0, "steady": 9e3, "search": 4e3}
    figures |= {"websocket-idle": 20.0, "websocket-broadcast": 200.0, "visit": 130.0}
    subjects = [replace(BY_ID[name], rates=figures) for name in ("uvicorn", "hypercorn")]
    return make_page(make_run(folder, replace(PLAN, rounds=12), subjects, loads))


def invalid_page(folder: Path) -> Path:
    """No cell is valid."""
    bad = [replace(truth, listen_drops=9) for truth in CHOSEN[:2]]
    absent = replace(CHOSEN[2], unavailable="uv is not installed")
    return make_page(make_run(folder, PLAN, [*bad, absent], [KEEP_ALIVE]))


def cut_off_page(folder: Path) -> Path:
    """A run that ended in its first block, in the middle of a line."""
    made = make_run(folder, replace(PLAN, blocks=1), CHOSEN[:2], [KEEP_ALIVE], finished=False)
    with (made / "events.jsonl").open("a") as events:
        events.write('{"at": "2026-11-22T08:15:00Z", "kind": "bl')
    return make_page(made)


def tell(
    folder: Path, subject: str, workload: str, level: str = f"c{CONNECTIONS}", **details: object
) -> None:
    """Adds details of a cell in the first block to the events of a run."""
    event = {"kind": "details", "block": 0, "subject": subject, "workload": workload, "level": level}
    empty: dict[str, object] = {"examples": {}, "names": {}, "uncounted": {}}
    with (folder / "events.jsonl").open("a") as events:
        events.write(json.dumps({**event, **empty, **details}) + "\n")


def hostile_page(folder: Path) -> Path:
    """Every name and every text of the run is an attempt to get into the page as markup."""
    subjects = [
        replace(truth, id=f"{truth.id}{HOSTILE}", color="red;background:url(http://evil.example)")
        for truth in CHOSEN[:3]
    ]
    load = Load(f"odd {HOSTILE}", "close", ("close",))
    subjects = [replace(truth, rates={load.name: 900.0}, unavailable="") for truth in subjects]
    subjects.append(replace(CHOSEN[3], id=HOSTILE, unavailable=HOSTILE))
    died = [
        {
            "block": 1,
            "subject": subjects[0].id,
            "workload": None,
            "level": None,
            "code": "died",
            "text": HOSTILE,
        }
    ]
    made = make_run(folder, PLAN, subjects, [load], died)
    told = json.loads((made / "run.json").read_text())
    told |= dict.fromkeys(
        ("run", "started", "gatebench", "command", "runner", "runner_reason", "profile"), HOSTILE
    )
    told |= {
        "notices": [HOSTILE],
        "machine": {HOSTILE: HOSTILE, "cpu": HOSTILE},
        "versions": {HOSTILE: HOSTILE},
    }
    told |= {"hashes": {HOSTILE: HOSTILE}}
    for subject in told["subjects"]:
        subject |= {"version": HOSTILE, "homepage": f"javascript:{HOSTILE}", "packages": {HOSTILE: HOSTILE}}
        subject |= {"class": "tuned", "why": HOSTILE, "command": [HOSTILE], "reason": HOSTILE}
    for workload in told["workloads"]:
        workload["description"] = HOSTILE
    (made / "run.json").write_text(json.dumps(told))
    told = {"examples": {"status": [f"\x1b[2J\u202e{HOSTILE}"]}, "names": {HOSTILE: [1, 2]}}
    tell(made, subjects[1].id, load.name, **told, uncounted={f"{HOSTILE}: why": 3})
    (made / "logs").mkdir()
    (made / "logs" / "a<b>&.log").write_text("")
    odd = ClaimResult(HOSTILE, HOSTILE, f"javascript:{HOSTILE}", "supported", HOSTILE)
    return make_page(made, (odd,))


class Page(HTMLParser):
    """Collects what a browser would load or follow, and the nesting of the tags."""

    VOID = frozenset({"meta", "img", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.headings: list[int] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.attributes |= values.keys()
        if tag not in self.VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.sources += [values["src"]] if "src" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.ids += [values["id"]] if "id" in values else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def words(markup: str) -> str:
    return " ".join(re.sub("<[^>]+>", " ", markup).split())
