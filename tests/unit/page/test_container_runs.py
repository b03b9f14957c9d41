"""A run in containers: what is read of it, and what the caption, the charts and the page say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text

from analysis.charts.ranking import leading_charts
from analysis.charts.view import View
from analysis.figures.summary import summarize
from analysis.page.report import build_report
from analysis.reading.run import Run, load_run
from analysis.surroundings import conditions
from gatebench.results.schema import NULL_RESPONDER
from gatebench.results.surroundings import EngineMeta, ImageMeta, LimitsMeta
from tests.support.pages import make_page
from tests.support.summaries import BY_ID, QUIET, cell, small
from tests.support.synthetic import IDLE, LOADS, SUBJECTS, make_run
from tests.support.synthetic_containers import ENGINE, PEAK_MIB
from tests.support.synthetic_model import Load, Plan, Truth

PLAN = Plan(blocks=3, rounds=4, containers=True)
UVICORN, WAITRESS = BY_ID["uvicorn"], BY_ID["waitress"]
HOSTILE = "<script>alert(1)</script>"


def contained(folder: Path, *subjects: Truth, loads: Sequence[Load] = LOADS[:1], **keys: Any) -> Path:
    """A run in containers, with other keys in its `run.json`."""
    made = make_run(folder / "run", PLAN, subjects or [UVICORN], loads)
    described = json.loads((made / "run.json").read_text())
    (made / "run.json").write_text(json.dumps(described | keys))
    return made


def caption(run: Run) -> str:
    return conditions(run, summarize(run).levels[0])


def page(folder: Path) -> str:
    """The report's words, without tags and charts."""
    return re.sub(r"<[^>]+>", " ", make_page(folder).read_text())


def test_a_run_in_containers_tells_its_engine_its_limits_and_its_images(tmp_path: Path) -> None:
    plan = Plan(blocks=1, rounds=3, containers=True)
    limited = replace(LOADS[0], ceiling_per_s=9e4, responder="nginx")
    subjects = [SUBJECTS[8], replace(SUBJECTS[7], unavailable="no compiler")]

    run = load_run(
        make_run(tmp_path / "run", plan, subjects, [limited, replace(LOADS[1], ceiling_per_s=4e4)])
    )

    assert (run.meta.in_containers, run.meta.network) == (True, "host")
    assert run.meta.engine == EngineMeta.model_validate(ENGINE)
    assert run.meta.engine.short == "Docker 20.10"
    assert run.meta.limits == LimitsMeta(memory_mib=1024, pids=1024)
    assert [each.responder for each in run.meta.ceilings] == ["nginx", NULL_RESPONDER]
    image, missing = (subject.image for subject in run.meta.subjects)
    assert image is not None
    assert (image.python, image.libc, image.size_mib) == ("3.13.5", "glibc 2.41", 42.1)
    assert image.id.startswith(f"sha256:{image.short_id}")
    assert len(image.short_id) == 12
    assert missing is None
    assert run.meta.load_image is not None
    assert run.meta.load_image.name.startswith("gatebench/loadgen:")


def test_what_is_not_known_of_a_container_may_be_null_or_absent(tmp_path: Path) -> None:
    unknown = dict.fromkeys(("id", "name", "base", "base_id", "size_mib", "python", "libc"))
    told: dict[str, Any] = {"network": None, "engine": {"version": None}, "limits": {"memory_mib": None}}
    folder = contained(tmp_path, **told, load_image=unknown)

    meta = load_run(folder).meta

    assert (meta.network, meta.engine, meta.limits) == ("", EngineMeta(), LimitsMeta())
    assert meta.load_image == ImageMeta()


def test_the_peak_of_a_containers_memory_is_told_and_a_process_has_none(tmp_path: Path) -> None:
    contained = cell(small(tmp_path / "c", BY_ID["uvicorn"], plan=replace(QUIET, containers=True)), "uvicorn")
    process = cell(small(tmp_path / "p", BY_ID["uvicorn"]), "uvicorn")

    assert (contained.memory_peak_mib, process.memory_peak_mib) == (PEAK_MIB, None)
    assert contained.reasons == process.reasons


def test_what_could_not_be_read_of_a_container_is_none_with_a_reason(tmp_path: Path) -> None:
    unread = replace(BY_ID["uvicorn"], columns={"throttled_s": None, "server_memory_peak_mib": None})

    found = cell(small(tmp_path, unread, plan=replace(QUIET, containers=True)), "uvicorn")

    assert (found.status, found.memory_peak_mib) == ("ok", None)
    assert any(reason.startswith("not-measured: whether a CPU quota") for reason in found.reasons)
    assert any(reason.startswith("not-measured: the most memory") for reason in found.reasons)


def test_the_caption_names_engine_network_and_the_servers_python(tmp_path: Path) -> None:
    assert ", Docker 20.10 (host network), Python 3.13.5, 1 worker process a server" in caption(
        load_run(contained(tmp_path))
    )


def test_the_caption_of_processes_is_as_it_was(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", replace(PLAN, containers=False), [UVICORN], LOADS[:1]))

    assert ", cores: server 1, engine 1, lab 2, process runner, 1 worker process a server." in caption(run)


def test_every_python_of_the_servers_is_in_the_caption_the_oldest_first(tmp_path: Path) -> None:
    subjects = [UVICORN, replace(WAITRESS, python="3.9.25"), replace(BY_ID["hypercorn"], python="3.14.0")]

    assert "Python 3.9.25, 3.13.5 and 3.14.0," in caption(load_run(contained(tmp_path, *subjects)))


def test_an_engine_that_says_nothing_of_itself_leaves_the_runners_name(tmp_path: Path) -> None:
    assert ", docker runner, " in caption(load_run(contained(tmp_path, engine=None)))


def test_words_with_dollars_in_them_are_drawn_as_they_are(tmp_path: Path) -> None:
    odd = {**ENGINE, "name": r"$\nosuch$"}
    absent = replace(WAITRESS, unavailable=r"$PATH has no $\nosuch$")
    run = load_run(contained(tmp_path, UVICORN, absent, engine=odd))

    chart = next(iter(leading_charts(View(run, summarize(run).levels[:1]))))

    assert chart.png().startswith(b"\x89PNG")
    drawn = "\n".join(text.get_text() for text in chart.figure.findobj(Text) if isinstance(text, Text))
    assert r"$\nosuch$ 20.10 (host network)" in drawn
    assert r"unavailable: $PATH has no $\nosuch$" in drawn


@pytest.mark.parametrize(
    ("containers", "memory"),
    [
        (True, "anonymous memory of the server's container"),
        (False, "anonymous memory of the server's processes"),
    ],
)
def test_memory_of_idle_connections_says_whose_it_is(tmp_path: Path, containers: bool, memory: str) -> None:
    idle = replace(UVICORN, rates={"websocket-idle": 20.0})
    run = load_run(make_run(tmp_path / "run", replace(PLAN, containers=containers), [idle], [IDLE]))
    chart = next(iter(leading_charts(View(run, summarize(run).levels[:1]))))

    drawn = " ".join(text.get_text() for text in chart.figure.findobj(Text) if isinstance(text, Text))
    assert f"a straight line through the {memory} at each" in " ".join(drawn.split())


def test_the_page_lists_engine_network_limits_and_the_servers_own_python(tmp_path: Path) -> None:
    html = page(contained(tmp_path))
    listed = " ".join(html[html.index("Conditions of the run") :].split())

    for fact in (
        "Container engine Docker 20.10.24 (API 1.41) on Debian GNU/Linux 12, cgroup v1, storage overlay2, ",
        "Compose 2.26.1 Network host: load generator and servers use the loopback interface",
        "Each server may use 1,024 MiB of memory and 1,024 processes and threads",
        "Python of the servers 3.13.5 libc of the servers glibc 2.41 Load generator gatebench/loadgen:",
    ):
        assert fact in listed
    assert "3.11.7" not in listed  # of who looked at the machine


def test_servers_with_different_pythons_are_told_apart(tmp_path: Path) -> None:
    html = page(contained(tmp_path, UVICORN, replace(WAITRESS, python="3.14.0"), BY_ID["hypercorn"]))

    assert "3.13.5 (uvicorn and hypercorn); 3.14.0 (waitress)" in html


def test_a_remote_engine_and_a_bridge_are_said(tmp_path: Path) -> None:
    html = page(contained(tmp_path, network="bridge", engine=ENGINE | {"remote": True}))

    assert "Docker 20.10 (bridge network)" in html
    assert "bridge: load generator and servers share a virtual network of the engine" in html
    assert "Compose 2.26.1, on another machine than the lab" in html


def test_every_server_is_listed_with_its_image(tmp_path: Path) -> None:
    h11 = BY_ID["uvicorn-h11"]
    folder = contained(tmp_path, UVICORN, h11, replace(WAITRESS, unavailable="no image"))
    html = " ".join(page(folder).split())

    image = load_run(folder).meta.subject("uvicorn").image
    assert image is not None
    assert "Subject Version Python Image Settings Command" in html
    assert f"uvicorn 1.2.3 3.13.5 {image.short_id} , +42.1 MiB default" in html
    assert "waitress 1.2.3 unknown none default" in html
    whole = f"{image.name} {image.id} , built on python:3.13-slim {image.base_id}"
    assert f"image of uvicorn and uvicorn-h11 {whole}" in html


def test_the_memory_of_a_container_says_what_it_is_and_shows_its_peak(tmp_path: Path) -> None:
    html = page(contained(tmp_path))

    assert "Server memory, anonymous (MiB)" in html
    assert "Server memory, peak (MiB)" in html
    assert f"{PEAK_MIB}" in html
    assert "Server memory is the anonymous memory of the server&#39;s container" in html
    assert "PSS" not in html


def test_the_memory_of_processes_is_that_of_containers_without_a_peak(tmp_path: Path) -> None:
    html = page(make_run(tmp_path / "run", replace(PLAN, containers=False), [UVICORN], LOADS[:1]))

    assert "Server memory, anonymous (MiB)" in html
    assert "Server memory is the anonymous memory of the server&#39;s processes" in html
    assert "peak" not in html.replace("speaks", "")
    assert not [word for word in ("Container engine", "of the servers", "Image") if word in html]


def test_a_ceiling_is_listed_with_what_the_engine_drove(tmp_path: Path) -> None:
    nginx = replace(LOADS[0], ceiling_per_s=9e4, responder="nginx")
    html = page(contained(tmp_path, loads=(nginx, replace(LOADS[1], ceiling_per_s=4e4))))

    assert "slices of 100 ms; the engine alone did 90,000 a second against nginx" in html
    assert "the engine alone did 40,000 a second against a responder that does nothing" in html


def test_the_limit_of_the_instrument_stands_with_the_conditions_of_its_level(tmp_path: Path) -> None:
    null = Truth("nginx~limit", "nginx", "default", "wsgi", {"keep-alive": 9e4})
    html = page(make_run(tmp_path / "run", PLAN, [UVICORN], LOADS[:2], responder=null))

    (told,) = re.findall(
        r"limit of this instrument here: ([\d,]+) requests/s against nginx in the same", html
    )
    assert float(told.replace(",", "")) == pytest.approx(9e4, rel=0.1)


def test_nothing_that_an_engine_or_an_image_says_gets_into_the_page_as_markup(tmp_path: Path) -> None:
    odd = dict.fromkeys(("id", "name", "base", "base_id", "python", "libc"), HOSTILE)
    hostile = {**dict.fromkeys(ENGINE, HOSTILE), "remote": True}
    folder = contained(tmp_path, engine=hostile, network=HOSTILE, load_image=odd)
    described = json.loads((folder / "run.json").read_text())
    described["subjects"][0]["image"] = odd
    (folder / "run.json").write_text(json.dumps(described))

    build_report(folder)

    html = (folder / "report.html").read_text()
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;") > 10


def test_an_older_run_of_processes_says_that_its_memory_is_pss(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", replace(PLAN, containers=False), [UVICORN], LOADS[:1])
    description = json.loads((folder / "run.json").read_text())
    del description["memory"]
    (folder / "run.json").write_text(json.dumps(description))

    html = page(folder)

    assert "Server memory, PSS (MiB)" in html
    assert "are divided between them" in html
