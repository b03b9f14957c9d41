"""What is told of a machine: its hypervisor, and apart from that a container around the lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatebench.machine import facts
from gatebench.machine.facts import container, virtualization

FIRST = {"pid": "pid:[4026531836]", "cgroup": "cgroup:[4026531835]"}
ID = "3f" * 32


def a_machine(root: Path, files: dict[str, str], namespaces: dict[str, str] | None = None) -> Path:
    """A folder with these files, and with the kernel's names of this process' namespaces."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "proc/self/ns").mkdir(parents=True)
    for name, value in (namespaces or {}).items():
        (root / "proc/self/ns" / name).symlink_to(value)
    return root


@pytest.mark.parametrize(
    ("said", "files", "expected"),
    [
        ("kvm", {}, "a virtual machine (kvm)"),
        ("none", {"proc/cpuinfo": "flags\t\t: fpu vme\n"}, "no hypervisor seen"),
        ("none", {"proc/cpuinfo": "flags\t\t: fpu hypervisor vme\n"}, "a virtual machine"),
        ("", {"proc/cpuinfo": "flags\t\t: fpu vme\nbugs\t\t: a hypervisor\n"}, None),
        ("", {"proc/cpuinfo": "flags\t\t: fpu hypervisor\n"}, "a virtual machine"),
        (
            "",
            {
                "proc/cpuinfo": "flags\t\t: fpu hypervisor\n",
                "sys/class/dmi/id/product_name": "Google Compute Engine\n",
            },
            "a virtual machine (Google Compute Engine)",
        ),
        ("", {"sys/hypervisor/type": "xen\n"}, "a virtual machine (xen)"),
        ("", {"sys/class/dmi/id/sys_vendor": "QEMU\n"}, "a virtual machine (QEMU)"),
        ("", {"sys/class/dmi/id/sys_vendor": "LENOVO\n", "sys/class/dmi/id/product_name": "20XW\n"}, None),
        ("vm-other", {}, "a virtual machine"),
        ("", {}, None),
    ],
)
def test_a_hypervisor_is_told_with_its_kind_where_that_is_known(
    tmp_path: Path, said: str, files: dict[str, str], expected: str | None
) -> None:
    assert virtualization(a_machine(tmp_path, files), lambda _: said) == expected


def test_systemd_is_asked_for_virtual_machines_and_for_containers_apart(tmp_path: Path) -> None:
    asked: list[str] = []

    def detects(kind: str) -> str:
        asked.append(kind)
        return "docker" if kind == "--container" else "kvm"

    root = a_machine(tmp_path, {}, {"pid": "pid:[4026532500]"})

    assert (virtualization(root, detects), container(root, detects)) == ("a virtual machine (kvm)", "docker")
    assert asked == ["--vm", "--container"]


def test_a_stray_mark_of_an_engine_is_no_container(tmp_path: Path) -> None:
    files = {".dockerenv": "", "proc/self/cgroup": "4:memory:/system.slice\n0::/\n"}

    assert container(a_machine(tmp_path, files, FIRST), lambda _: "docker") is None


@pytest.mark.parametrize(
    ("files", "namespaces", "said", "expected"),
    [
        ({".dockerenv": ""}, FIRST | {"pid": "pid:[4026532500]"}, "", "docker"),
        ({"run/.containerenv": ""}, FIRST | {"cgroup": "cgroup:[4026532501]"}, "none", "podman"),
        ({"proc/self/cgroup": f"0::/system.slice/docker-{ID}.scope\n"}, FIRST, "docker", "docker"),
        ({"proc/self/cgroup": f"4:memory:/docker/{ID}\n"}, FIRST, "", "kind not known"),
        ({}, {"pid": "pid:[4026532500]"}, "container-other", "kind not known"),
        ({}, {"pid": "pid:[4026532500]"}, "lxc", "lxc"),
    ],
    ids=["its own processes", "its own cgroup", "a named cgroup", "no mark", "another", "said"],
)
def test_a_container_is_told_by_what_its_engine_sets_apart(
    tmp_path: Path, files: dict[str, str], namespaces: dict[str, str], said: str, expected: str
) -> None:
    assert container(a_machine(tmp_path, files, namespaces), lambda _: said) == expected


def test_where_nothing_can_be_seen_no_container_is_told(tmp_path: Path) -> None:
    assert container(a_machine(tmp_path, {}), lambda _: "docker") is None


@pytest.mark.parametrize("inside", ["docker", None])
def test_the_machine_has_a_container_only_where_the_lab_is_in_one(
    monkeypatch: pytest.MonkeyPatch, inside: str | None
) -> None:
    monkeypatch.setattr(facts, "container", lambda: inside)

    assert facts.machine().get("container", "none") == (inside or "none")
