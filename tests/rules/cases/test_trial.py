from __future__ import annotations

from pathlib import Path

import pytest

from steersman.rules.cases.casefile import read_cases
from steersman.rules.cases.trial import try_file

HEAD = """
rules: [mine.yaml]
cases:
  - name: a
    seed: 3
    series: {loss: 3.0 -> 1.0 over 200 power noise 2%, lr/0: 0.1}
"""
RULES = """
rules:
  - {rule: late, expr: points > 100.0, for: 12 points, severity: warning, verdict: spike, explain: text}
  - {rule: passing, expr: points > 20.0 && points < 40.0, severity: info, verdict: spike, explain: text}
  - {rule: cut, expr: adjusted > 0.0, severity: info, verdict: spike, explain: text}
"""


def said(tmp_path: Path, text: str) -> list[tuple[str, str, str]]:
    (tmp_path / "mine.yaml").write_text(RULES)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "a.yaml").write_text((HEAD + text).replace("mine.yaml", "../mine.yaml"))
    (file,) = read_cases([tmp_path / "cases"])
    (tried,) = try_file(file)
    assert tried.passed is not bool(tried.failures)
    return [(f.about, f.expected, f.got) for f in tried.failures]


def test_what_comes_as_expected_is_not_said(tmp_path: Path) -> None:
    assert not said(
        tmp_path,
        """
    expect:
      - {rule: late, by: 120}
      - {rule: late, after: 110, by: 120, severity: warning}
      - {rule: late, state: pending, at: 108}
      - {rule: late, at: 199}
      - {rule: late, state: inactive, at: 50}
      - {rule: passing, by: 24, severity: info}
      - {rule: passing, state: resolved, by: 60}
      - {rule: passing, state: pending, never: true}
      - {rule: cut, never: true}
      - {rule: "*", severity: critical, never: true}
    diagnosis: {at: 10, verdict: too_short}
""",
    )


@pytest.mark.parametrize(
    ("expected", "words", "got"),
    [
        ("{rule: late, by: 110}", "firing by step 110", "pending at 103, firing at 115 (warning)"),
        (
            "{rule: late, after: 120, by: 150}",
            "firing between step 120 and step 150",
            "pending at 103, firing at 115 (warning)",
        ),
        (
            "{rule: late, by: 150, severity: info}",
            "firing by step 150, info",
            "pending at 103, firing at 115 (warning)",
        ),
        ("{rule: late, never: true}", "never firing", "firing at 115 (warning)"),
        (
            "{rule: late, never: true, severity: warning}",
            "never firing at warning or louder",
            "firing at 115 (warning)",
        ),
        (
            "{rule: late, at: 50}",
            "firing at step 50",
            "inactive at step 50; pending at 103, firing at 115 (warning)",
        ),
        ("{rule: cut, by: 150}", "firing by step 150", "nothing: it stayed inactive"),
        ("{rule: '*', never: true}", "never firing", "passing firing at 20 (info); late firing at 115 (warning)"),
    ],
)
def test_what_was_expected_stands_beside_what_came(tmp_path: Path, expected: str, words: str, got: str) -> None:
    ((about, wanted, came),) = said(tmp_path, f"    expect:\n      - {expected}\n")
    assert about in expected
    assert (wanted, came) == (words, got)


def test_a_diagnosis_is_asked_for_at_its_step(tmp_path: Path) -> None:
    text = "    diagnosis: [{at: 30, verdict: healthy}, {at: 150, verdict: plateau}]\n"
    assert said(tmp_path, text) == [
        ("diagnosis", "healthy at step 30", "undetermined, because of passing"),
        ("diagnosis", "plateau at step 150", "spike, because of late"),
    ]


def test_our_own_hand_can_be_written(tmp_path: Path) -> None:
    assert not said(tmp_path, "    adjusted: [{at: 60, factor: 0.5}]\n    expect: [{rule: cut, after: 60, by: 64}]\n")
