from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steersman.rules.cases.casefile import read_cases
from steersman.rules.packs import Mistake, PackError, shipped_pack

BAD = Path(__file__).parent / "bad"
CASES = sorted((shipped_pack() / "tests").glob("*.yaml"))


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda p: p.stem)
def test_each_kind_of_mistake_is_told_with_its_place(path: Path) -> None:
    with pytest.raises(PackError) as caught:
        read_cases([path])
    said = [str(m).replace(f"{path.parent}/", "") for m in caught.value.mistakes]
    assert said == path.with_suffix(".txt").read_text().splitlines()


def test_mistakes_of_all_files_come_at_once_and_a_folder_is_all_its_files(tmp_path: Path) -> None:
    with pytest.raises(PackError) as caught:
        read_cases([BAD, tmp_path])
    assert {Path(m.file).name for m in caught.value.mistakes} >= {"everything.yaml", "series.yaml", tmp_path.name}


def test_rules_are_looked_for_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "rules: [{rule: mine, expr: points > 5.0, severity: info, verdict: spike, explain: text}]\n"
    )
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "a.yaml").write_text(
        "rules: [../mine.yaml]\ncases: [{name: a, series: {loss: 1x20}, expect: [{rule: mine, by: 7}]}]\n"
    )
    (file,) = read_cases([tests])
    assert file.rules == (tests / "../mine.yaml",)
    assert (file.cases[0].steps, len(file.cases[0].samples())) == (21, 21)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_right_file_with_a_piece_changed_is_read_or_told_what_is_wrong(tmp_path: Path, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(CASES)).read_text()
    at, cut = data.draw(st.integers(0, len(source))), data.draw(st.integers(0, 9))
    word = st.sampled_from(
        [":", "- ", "\n", "[", "}", "'", "then", "nan", "->", "0", "-1", "1e999", "{", "*", "never: "]
    )
    file = tmp_path / "x.yaml"
    file.write_bytes((source[:at] + "".join(data.draw(st.lists(word, max_size=4))) + source[at + cut :]).encode())
    told: tuple[Mistake, ...] | None
    try:
        told = None if read_cases([file]) else ()
    except PackError as error:
        told = error.mistakes
    assert told is None or (told and all(m.line >= 1 and m.column >= 1 and m.text for m in told))
