"""Files of one's own claims: what they may say, and how one that is not what it should be is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis.claims.file import Known, load_claims
from analysis.page.report import build_report
from analysis.reading.run import load_run
from gatebench.registry.registry import open_registry
from gatebench.words.errors import ConfigurationError
from tests.support.claiming import BY_ID, GRANIAN, verdicts
from tests.support.summaries import QUIET
from tests.support.synthetic import LOADS, make_run

HEAD = "schema = 1\n"
CLAIM = HEAD + '[claims.mine]\ntext = "It is so."\nsource = "https://example.org/"\n'
CONDITION = CLAIM + "[claims.mine.conditions.one]\n"
SERVES = '[claims.mine.conditions.one]\nkind = "serves"\nservers = ["gunicorn"]\ninterface = "wsgi"\n'
COST = 'kind = "application-cost"\napplication = "plain"\nbare = "bare"\nworkload = "close"\n'
FIGURE = CONDITION + 'kind = "figure"\nworkload = "keep-alive"\nmetric = "rps"\nof = "every"\n'


def own_file(folder: Path, text: str, name: str = "own.toml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


KNOWN = Known.of_registry(open_registry())


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_claims([own_file(folder, text)], KNOWN)
    assert all(str(folder / "own.toml") in problem for problem in caught.value.problems)
    return str(caught.value)


def test_an_own_file_says_how_many_threads_an_own_server_has(tmp_path: Path) -> None:
    file = own_file(tmp_path, CLAIM.replace(HEAD, HEAD + "[threads]\ngunicorn-gthread = 4\n") + SERVES)
    subjects = [BY_ID["gunicorn-sync"], BY_ID["gunicorn-gthread"]]
    assert verdicts(tmp_path, subjects, files=[file])["wsgi-waiting-blocks"].verdict == "supported"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("at_least = 10_000", "supported"),
        ("at_least = 30_000", "contradicted"),
        ("at_most = 1", "contradicted"),
    ],
)
def test_an_own_claim_about_a_figure_is_checked(tmp_path: Path, limit: str, expected: str) -> None:
    file = own_file(tmp_path, FIGURE + f'subjects = ["granian-asgi"]\n{limit}\n')
    found = verdicts(tmp_path, GRANIAN, files=[file])["mine"]
    assert found.verdict == expected
    assert found.source == "https://example.org/"
    assert re.search(r"granian-asgi \((19|2[0-2]),\d{3}, \d\d,\d{3} to \d\d,\d{3}\)", found.evidence)
    assert "granian-wsgi" not in found.evidence


def test_a_subject_or_a_level_that_the_run_does_not_have_is_named(tmp_path: Path) -> None:
    text = FIGURE + 'subjects = ["granian-asgy"]\nat_least = 1\n'
    nobody = own_file(tmp_path, text, "nobody.toml")
    level = FIGURE.replace("claims.mine", "claims.other") + 'level = "c65"\nat_least = 1\n'
    found = verdicts(tmp_path, GRANIAN, files=[nobody, own_file(tmp_path, level)])
    assert found["mine"].verdict == found["other"].verdict == "undecided"
    assert "granian-asgy (not in this run)" in found["mine"].evidence
    assert "this run has c64 of keep-alive and not that level" in found["other"].evidence


def test_waiting_is_not_counted_where_requests_do_not_wait(tmp_path: Path) -> None:
    text = FIGURE.replace('"rps"', '"waiting_per_worker"') + "at_least = 1\n"
    found = verdicts(tmp_path, GRANIAN, files=[own_file(tmp_path, text)])["mine"]
    assert found.verdict == "undecided"
    assert "its requests do not wait by design" in found.evidence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("schema = 2\n[claims]\n", "schema: must be 1"),
        ("claims = [\n", "is not TOML"),
        (
            HEAD + "clams = 1\n[claims]\n",
            'clams: unknown key (did you mean "claims"?); allowed: claims, schema',
        ),
        (CLAIM, "claims.mine.conditions: is missing"),
        (CLAIM + "conditions = {}\n", "claims.mine.conditions: has none"),
        (CLAIM.replace("mine", "'My claim'") + "conditions = {}\n", "has lower-case letters, digits and -"),
        (CLAIM.replace("claims.mine", "claims.asgi-servers") + SERVES, "choose another ID"),
        (
            FIGURE.replace('"rps"', '"rsp"') + "at_most = 1\n",
            'conditions.one.metric: "rsp" is not allowed (did you mean "rps"?); allowed: rps, p50',
        ),
        (
            FIGURE.replace('"keep-alive"', '"keep-alvie"') + "at_most = 1\n",
            'conditions.one.workload: unknown workload "keep-alvie" (did you mean "keep-alive"?); known: cl',
        ),
        (
            FIGURE + "at_moast = 1\nat_most = 1\n",
            'conditions.one.at_moast: unknown key (did you mean "at_most"?); allowed: at_least, at_most',
        ),
        (FIGURE, "conditions.one.at_most: give either at_most or at_least"),
        (FIGURE + "at_most = 1\nat_least = 2\n", "give either at_most or at_least"),
        (FIGURE + 'at_most = "much"\n', "at_most: must be a number, not 'much'"),
        (FIGURE + 'at_most = 1\ninterface = "wsgy"\n', '"wsgy" is not allowed (did you mean "wsgi"?)'),
        (
            FIGURE.replace('"every"', '"all"') + "at_most = 1\n",
            '"all" is not allowed; allowed: every, some, none',
        ),
        (
            CONDITION + 'kind = "figures"\n',
            '"figures" is not allowed (did you mean "figure"?); allowed: figure',
        ),
        (
            CONDITION + 'kind = "capability"\ncapability = "streaming"\nof = "none"\n',
            'of: "none" cannot be checked: only the absence of keep-alive, websocket is verified',
        ),
        (
            CONDITION + COST + "at_most = 25\n",
            "at_most: is a share of a request's time, over 0 and under 1",
        ),
    ],
)
def test_a_file_that_is_not_right_is_refused_with_file_key_and_what_is_allowed(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert expected in problems(tmp_path, text)


def test_every_problem_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    first = own_file(tmp_path, FIGURE.replace('"rps"', '"rsp"'), "first.toml")
    second = own_file(tmp_path, CONDITION + 'kind = "figures"\n', "second.toml")
    with pytest.raises(ConfigurationError) as caught:
        load_claims([first, second, tmp_path / "missing.toml"])
    told = str(caught.value)
    assert all(name in told for name in ('"rsp"', '"figures"', "missing.toml: cannot be read"))
    assert "claims.mine: is in" in told


RATIO = CONDITION + 'kind = "ratio"\nworkload = "keep-alive"\nat_least = 3\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            FIGURE + 'at_most = 1\nlevel = "c512"\n',
            'conditions.one.level: keep-alive has no level "c512"; it has c64',
        ),
        (
            FIGURE + 'at_most = 1\nlevel = "c46"\n',
            'keep-alive has no level "c46" (did you mean "c64"?); it has c64',
        ),
        (
            RATIO + 'left = "uvicorm"\nright = "uvicorn-h11"\n',
            'conditions.one.left: unknown subject "uvicorm" (did you mean "uvicorn"?)',
        ),
        (
            RATIO.replace('"ratio"', '"application-ratio"') + 'left = "flaks"\nright = "django"\n',
            'conditions.one.left: unknown application "flaks" (did you mean "flask"?)',
        ),
        (
            RATIO + 'left = "uvicorn"\nright = "gunicorn"\n',
            'conditions.one.right: "gunicorn" is no subject but has several: gunicorn-',
        ),
        (
            FIGURE + 'at_most = 1\nsubjects = ["uvicorn", "gunicorn-snyc"]\n',
            'conditions.one.subjects: unknown subject "gunicorn-snyc" (did you mean "gunicorn-sync"?)',
        ),
        (
            FIGURE + 'at_most = 1\nsubjects = ["unicorn-*"]\n',
            'conditions.one.subjects: unknown subject "unicorn-*"',
        ),
        (
            FIGURE + 'at_most = 1\ninterface = "wsgi"\nsubjects = ["uvicorn"]\n',
            '"uvicorn" names no subject of interface = "wsgi"',
        ),
        (
            CONDITION + 'kind = "capability"\ncapability = "websocket"\nof = "some"\nsubjects = ["daphen"]\n',
            'unknown subject "daphen" (did you mean "daphne"?)',
        ),
        (
            CLAIM + SERVES.replace('"gunicorn"', '"gunicron"'),
            'conditions.one.servers: unknown server "gunicron" (did you mean "gunicorn"?); known: ',
        ),
        (
            CLAIM + SERVES.replace('"gunicorn"', '"uvicorn"'),
            "uvicorn has no variant for wsgi; it has asgi",
        ),
        (
            CONDITION + COST.replace('"bare"', '"bear"') + "at_most = 0.2\n",
            'conditions.one.bare: unknown application "bear" (did you mean "bare"?); known: ',
        ),
        (
            CLAIM.replace(HEAD, HEAD + "[threads]\nwaitres = 4\n") + SERVES,
            'threads.waitres: unknown subject "waitres" (did you mean "waitress"?)',
        ),
    ],
)
def test_a_name_that_nothing_bears_is_refused_with_the_near_one(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert expected in problems(tmp_path, text)


def test_every_unknown_name_of_a_condition_is_told_at_once(tmp_path: Path) -> None:
    text = RATIO.replace("at_least = 3", 'level = "c512"\nat_least = 0') + 'left = "a"\nright = "b"\n'
    told = problems(tmp_path, text)
    assert [key for key in ("left", "right", "level", "at_least") if f"one.{key}: " in told] == [
        "left",
        "right",
        "level",
        "at_least",
    ]


def test_a_wrong_interface_is_not_told_of_the_subjects_as_well(tmp_path: Path) -> None:
    told = problems(tmp_path, FIGURE + 'at_most = 1\ninterface = "wsgy"\nsubjects = ["uvicorn"]\n')
    assert "names no subject" not in told


def test_names_of_folders_of_ones_own_and_of_the_run_may_be_named(tmp_path: Path) -> None:
    own = FIGURE.replace('"keep-alive"', '"checkout"') + 'at_most = 1\nlevel = "c7"\nsubjects = ["mine"]\n'
    file = own_file(tmp_path, own)
    with pytest.raises(ConfigurationError, match='unknown workload "checkout"'):
        load_claims([file], KNOWN)
    ours = Known({"mine": "asgi"}, {}, frozenset(), {"checkout": ("c7",)})
    assert load_claims([file], KNOWN | ours)[-1].id == "mine"
    assert load_claims([file], ours | KNOWN)[-1].id == "mine"


def test_a_level_of_the_run_and_one_of_the_folders_are_both_known(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", QUIET, GRANIAN, [LOADS[0]]))
    here = Known.of_run(run.meta)
    assert here.levels["keep-alive"] == ("c64",)
    assert here.subjects == {"granian-wsgi": "wsgi", "granian-asgi": "asgi"}
    other = Known({}, {}, frozenset(), {"keep-alive": ("c512",)})
    assert (here | other).levels["keep-alive"] == ("c64", "c512")


@pytest.mark.parametrize("pattern", ["granian-*", "granian"])
def test_a_pattern_and_a_servers_bare_name_stand_for_their_subjects(tmp_path: Path, pattern: str) -> None:
    file = own_file(tmp_path, FIGURE + f'subjects = ["{pattern}"]\nat_least = 10_000\n')
    assert load_claims([file], KNOWN)[-1].id == "mine"
    found = verdicts(tmp_path, [*GRANIAN, BY_ID["daphne"]], files=[file])["mine"]
    assert found.verdict == "supported", found.evidence
    assert "granian-asgi" in found.evidence
    assert "granian-wsgi" in found.evidence
    assert "daphne" not in found.evidence


def test_a_report_refuses_names_that_neither_the_run_nor_a_folder_has(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", QUIET, GRANIAN, [LOADS[0]])
    file = own_file(tmp_path, RATIO + 'left = "uvicorn"\nright = "gunicorn"\nlevel = "c512"\n')
    with pytest.raises(ConfigurationError) as caught:
        build_report(run, [file], interim=True)
    assert len(caught.value.problems) == 2
    assert not (run / "summary.json").exists()


def test_claims_that_a_run_keeps_are_not_refused_when_a_folder_of_theirs_is_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", QUIET, GRANIAN, [LOADS[0]])
    kept = run / "sources" / "claims"
    kept.mkdir(parents=True)
    own_file(kept, FIGURE + 'at_most = 1\nsubjects = ["of-another-folder"]\n', "0-own.toml")
    (found,) = [claim for claim in build_report(run, interim=True)["claims"] if claim["id"] == "mine"]
    assert found["verdict"] == "undecided"
    assert "of-another-folder (not in this run)" in found["evidence"]
