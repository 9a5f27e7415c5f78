"""Units, images and compositions: what can be told of them without systemd running and without Docker."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from steersman.cli.serve import command as serve

Tool = Callable[..., str]
UNITS = ("systemd/steersman.service", "systemd/user/steersman.service")


def unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """Sections, keys, and all the values of each, for systemd's keys may come more than once."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            found[section] = {}
        elif line and not line.startswith("#"):
            key, sign, value = line.partition("=")
            assert sign, line
            found[section].setdefault(key, []).append(value)
    return found


def flags_of(command_line: str) -> set[str]:
    return set(re.findall(r"--[a-z-]+", command_line))


def flags_of_serve() -> set[str]:
    return {flag for parameter in serve.params for flag in parameter.opts}


@pytest.mark.parametrize("name", UNITS)
def test_unit_starts_the_daemon_with_flags_that_it_has(deploy: Path, name: str) -> None:
    service = unit(deploy / name)["Service"]
    words = service["ExecStart"][0].split()
    assert words[0].endswith("/bin/steersman")
    assert words[1] == "serve"
    assert flags_of(service["ExecStart"][0]) <= flags_of_serve()
    assert service["NoNewPrivileges"] == ["yes"]
    assert service["Restart"] == ["on-failure"]


def test_system_unit_owns_nothing_but_its_state(deploy: Path) -> None:
    service = unit(deploy / UNITS[0])["Service"]
    assert service["DynamicUser"] == ["yes"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["ProtectHome"] == ["yes"]
    assert f"%S/{service['StateDirectory'][0]}/" in service["ExecStart"][0]


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_the_unit(
    deploy: Path, name: str, tmp_path: Path, run_tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (deploy / name).read_text(encoding="utf-8")
    # Outside systemd's reach (a container's image need not have it) the keys are at least of its shape.
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+", key) for section in unit(deploy / name).values() for key in section)
    if analyze := shutil.which("systemd-analyze"):
        copy = tmp_path / "steersman.service"
        copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE), encoding="utf-8")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        said = run_tool(analyze, "verify", "--man=no", *(["--user"] if "user/" in name else []), copy)
        assert "Unknown key" not in said
        assert "steersman.service:" not in said


def test_image_copies_what_is_there_and_installs_extras_that_exist(deploy: Path) -> None:
    text = (deploy / "Dockerfile").read_text(encoding="utf-8")
    root = deploy.parent
    admitted = (deploy / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (root / source).exists(), source
            assert f"!{source}" in admitted, source
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extras in re.findall(r"\[([a-z,]+)\]\"", text):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)
    assert flags_of(text[text.index('CMD ["serve"') :]) <= flags_of_serve()


def test_composition_mounts_what_is_there(deploy: Path) -> None:
    composition = yaml.safe_load((deploy / "compose.yaml").read_text(encoding="utf-8"))
    assert set(composition["services"]) == {"steersman", "prometheus", "alertmanager", "grafana"}
    for name, service in composition["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (deploy / source).exists(), f"{name}: {source}"
            else:
                assert source in composition["volumes"], f"{name}: {source}"
        assert "ports" not in service, "nothing that has no credentials is opened to the network"
    dockerfile = composition["services"]["steersman"]["build"]["dockerfile"]
    assert (deploy / composition["services"]["steersman"]["build"]["context"] / dockerfile).is_file()


def test_all_parts_agree_on_the_addresses(deploy: Path) -> None:
    help_text = CliRunner().invoke(serve, ["--help"]).output
    prometheus = yaml.safe_load((deploy / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    scrape = prometheus["scrape_configs"][0]
    assert scrape["job_name"] == "steersman"
    assert scrape["honor_labels"] is True
    metrics = scrape["static_configs"][0]["targets"][0]
    assert metrics in help_text
    composition: dict[str, Any] = yaml.safe_load((deploy / "compose.yaml").read_text(encoding="utf-8"))["services"]
    alertmanager = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0]
    assert f"--web.listen-address={alertmanager}" in composition["alertmanager"]["command"]
    sources = yaml.safe_load((deploy / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    for source, service in zip(sources, ("prometheus", "alertmanager"), strict=True):
        address = source["url"].removeprefix("http://")
        assert f"--web.listen-address={address}" in composition[service]["command"]


def test_prometheus_and_alertmanager_take_their_configurations(deploy: Path, run_tool: Tool) -> None:
    run_tool("promtool", "check", "config", deploy / "prometheus" / "prometheus.yml")
    assert "3 inhibit rules" in run_tool("amtool", "check-config", deploy / "alertmanager" / "alertmanager.yml")


def test_inhibitions_name_alerts_that_exist(deploy: Path, alerts: list[dict[str, Any]]) -> None:
    document = yaml.safe_load((deploy / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    names = {rule["alert"] for rule in alerts}
    for rule in document["inhibit_rules"]:
        assert rule["equal"] == ["job"], "one job's trouble may not mute another's"
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            assert set(re.findall(r"Steersman\w+", matcher)) <= names
