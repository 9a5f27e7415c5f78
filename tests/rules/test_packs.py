from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steersman.rules.facts import JobFacts
from steersman.rules.features.catalogue import catalogue
from steersman.rules.features.panel import Panel
from steersman.rules.packs import Mistake, Pack, PackError, load_pack, shipped_pack
from steersman.rules.rule_file import MAX_PARTS

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
    # What is read off the rate itself, at zero or just raised beyond its peak, needs no direction.
    by_the_rate = ("lr_zero", "lr_zero_since", "lr_high_surge")
    for rule in load_pack().rules:
        if rule.verdict in ("plateau", "lr_too_high", "lr_too_low") and rule.name not in by_the_rate:
            assert "c" in rule.expr.names or "known(c)" in rule.expr.source, rule.name


def test_the_panel_gives_every_feature_of_the_catalogue_and_no_other() -> None:
    assert set(Panel(JobFacts()).values()) == set(catalogue())


def test_the_documentation_has_every_feature() -> None:
    page = (Path(__file__).parents[2] / "docs/rules.md").read_text()
    cells = [(f.name, f.kind, f.text.replace("|", r"\|")) for f in catalogue().values()]
    assert [name for name, kind, text in cells if f"| `{name}` | {kind} | {text} |" not in page] == []


def test_a_file_that_is_no_text_and_a_folder_without_rules_are_mistakes(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"rules: # \xe9\n")
    with pytest.raises(PackError) as caught:
        load_pack([tmp_path / "none", tmp_path / "latin.yaml"])
    assert [m.text for m in caught.value.mistakes] == [
        "the folder has no *.yaml file",
        "cannot be read: it is not UTF-8 text, found the byte 0xe9",
    ]


def test_all_expressions_together_are_bounded(tmp_path: Path) -> None:
    long = " || ".join(["c > 0.1"] * 49)  # 195 parts
    rules = MAX_PARTS // 195 + 2
    text = "".join(RULE.format(n=n).replace("c > 0.1", long) for n in range(rules))
    (tmp_path / "a.yaml").write_text(f"rules:\n{text}")
    with pytest.raises(PackError, match="may have 25000 parts together, reached here") as caught:
        load_pack([tmp_path])
    assert len(caught.value.mistakes) == 1


def test_a_runbook_stands_in_the_rule_or_beside_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        f"rules:\n{RULE.format(n=1)}    runbook: wait\n    docs: https://example.org/r1\n{RULE.format(n=2)}{RULE.format(n=3)}"
    )
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "r2.md").write_text("1. Look.\n2. Act.\n")
    one, two, three = load_pack([tmp_path]).rules
    assert (one.runbook, one.docs) == ("wait", "https://example.org/r1")
    assert (two.runbook, two.docs) == ("1. Look.\n2. Act.", "")
    assert three.runbook == ""
    (tmp_path / "runbooks" / "r3.md").mkdir()
    with pytest.raises(PackError, match=r"r3.md:1:1: rule r3: cannot be read: Is a directory"):
        load_pack([tmp_path])


def test_every_shipped_rule_has_a_runbook_and_no_runbook_has_no_rule() -> None:
    rules = load_pack().rules
    assert not [rule.name for rule in rules if not rule.runbook]
    assert {p.stem for p in (shipped_pack() / "runbooks").glob("*.md")} <= {rule.name for rule in rules}


# Words that mean something in a rule file, so that what is made of them gets further than noise does.
WORDS = st.sampled_from(
    [
        "rules:", "\n", "\n  - ", "\n    ", "rule: ", "one", "expr: ", "c > 0.1", "c > 1", "known(c)", "1e999", "&& ",
        "!", "severity: info", "verdict: plateau", "explain: ", '"{c:.2f}"', "'", '"', "|", ">-", "{", "}",
        "[", "]", ":", "- ", "&a ", "*a", "!!x ", "evidence: [c]", "prescribe: {scale: 0.5}", "\t", "#", "\x85",
        "\u2028", "for: 3 checks",
    ]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=200), st.lists(st.one_of(WORDS, st.text(max_size=4)), max_size=40).map("".join))


def check(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    told: tuple[Mistake, ...] | None
    try:
        told = None if isinstance(load_pack([file]), Pack) else ()
    except PackError as error:
        told = error.mistakes
    assert told is None or (told and all(m.line >= 1 and m.column >= 1 and m.text for m in told))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
def test_any_text_is_a_pack_or_told_what_is_wrong(tmp_path: Path, text: str) -> None:
    check(tmp_path, text)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_right_file_with_a_piece_changed_is_a_pack_or_told_what_is_wrong(tmp_path: Path, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(sorted(shipped_pack().glob("*.yaml")))).read_text()
    at = data.draw(st.integers(0, len(source)))
    cut = data.draw(st.integers(0, 12))
    check(tmp_path, source[:at] + data.draw(TEXTS) + source[at + cut :])
