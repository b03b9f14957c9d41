"""What the command imports, and when."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["run", "--serves", "honest"]])
def test_help_and_a_mistyped_option_wait_for_no_import_that_only_commands_need(arguments: list[str]) -> None:
    heavy = (
        "docker",
        "gevent",
        "jinja2",
        "locust",
        "matplotlib",
        "numpy",
        "pandas",
        "psutil",
        "pyarrow",
        "scipy",
    )
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['gatebench', *{arguments!r}]\n"
        "try: runpy.run_module('gatebench', run_name='__main__')\n"
        f"finally: print('imported:', *sorted({{*{heavy!r}}} & {{*sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == (0 if "--help" in arguments else 2), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] == "imported:"


def test_a_run_of_processes_waits_for_no_import_that_only_its_report_needs() -> None:
    heavy = {"pandas", "scipy", "matplotlib", "docker", "locust"}
    code = f"import gatebench.cli.run, sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
