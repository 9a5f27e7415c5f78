from __future__ import annotations

from pathlib import Path

import pytest

from steersman.rules.facts import JobFacts
from steersman.rules.features.catalogue import catalogue
from steersman.rules.features.panel import Panel
from steersman.rules.packs import PackError, load_pack, shipped_pack

BAD = Path(__file__).parent / "bad"
RULE = "  - rule: r{n}\n    expr: c > 0.1\n    severity: info\n    verdict: plateau\n    explain: text\n"


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda p: p.stem)
def test_each_kind_of_mistake_is_told_with_its_place(path: Path) -> None:
    with pytest.raises(PackError) as caught:
        load_pack([path])
    said = [str(m).replace(f"{path.parent}/", "") for m in caught.value.mistakes]
    assert said == path.with_suffix(".txt").read_text().splitlines()


def test_mistakes_of_all_files_come_at_once() -> None:
    with pytest.raises(PackError) as caught:
        load_pack([BAD / "syntax.yaml", BAD / "unknown_feature.yaml"])
    assert [Path(m.file).name for m in caught.value.mistakes] == ["syntax.yaml", "unknown_feature.yaml"]


def test_a_name_may_not_return_in_another_file(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("rules:\n" + RULE.format(n=1))
    with pytest.raises(PackError, match=r"b.yaml:2:11: rule r1: another rule has this name, at .*a.yaml:2"):
        load_pack([tmp_path])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#" * 300_000, "larger than 256 KiB"),
        ("[" * 2000, "nested deeper than 20"),
        ("rules:\n" + "".join(RULE.format(n=n) for n in range(501)), "may have 500 rules"),
        ("rules:\n" + RULE.format(n=1).replace("c > 0.1", "c > 0.1" + " || c > 0.1" * 300), "2048 characters"),
        ("rules:\n" + RULE.format(n=1).replace("c > 0.1", "(" * 60 + "c > 0.1" + ")" * 60), "nested deeper than 30"),
        ("rules: [\x00]", "not YAML"),
        ("rules:\n  - 3\n", "must be a mapping"),
        ("rules:\n  - {rule: [a], expr: {}, severity: [], verdict: 1, explain: {}}\n", "must be a text"),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(PackError, match=words):
        load_pack([file])


def test_a_file_that_is_not_there_is_a_mistake_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="cannot be read: No such file"):
        load_pack([tmp_path / "none.yaml"])


def test_the_shipped_pack_is_right_and_has_the_rules_it_names() -> None:
    pack = load_pack()
    assert {"nonfinite_loss", "runaway", "lr_high_stalled", "lr_low", "plateau_floor", "overfitting", "spike"} <= {
        rule.name for rule in pack.rules
    }
    assert shipped_pack().is_dir()


def test_rules_that_speak_of_the_lr_or_a_plateau_look_at_the_direction() -> None:
    for rule in load_pack().rules:
        if rule.verdict in ("plateau", "lr_too_high", "lr_too_low") and rule.name != "lr_zero":
            assert "c" in rule.expr.names or "known(c)" in rule.expr.source, rule.name


def test_the_panel_gives_every_feature_of_the_catalogue_and_no_other() -> None:
    assert set(Panel(JobFacts()).values()) == set(catalogue())
