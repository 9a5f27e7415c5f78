"""What to do, as a terminal and a page show it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from steersman.cli.words import items, unwrapped

LONG = "Look at where it began: at the top of a warm-up, or after a jump of"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Wait.\nThen stop.", ["Wait.", "Then stop."]),
        (f"{LONG}\nthe rate.", [f"{LONG} the rate."]),
        (f"1. {LONG}\n   the rate.\n2. Stop.", [f"1. {LONG} the rate.", "2. Stop."]),
        ("- a\n  b\n\nc", ["- a b", "", "c"]),
        (f"{LONG}\n- the rate", [LONG, "- the rate"]),
        (f"| {LONG} |\n| a |\nb", [f"| {LONG} |", "| a |", "b"]),
        (f"    {LONG}\n    as code", [f"    {LONG}", "    as code"]),
        (f"```\n{LONG} | a\nb\n```\nc", ["```", f"{LONG} | a", "b", "```", "c"]),
        (f"1. {LONG}\n   `the rate`.", [f"1. {LONG} `the rate`."]),
        ("1. a\n   - b\n     c", ["1. a", "   - b c"]),
        ("", []),
    ],
)
def test_lines_that_were_broken_to_fit_a_page_are_one(text: str, lines: list[str]) -> None:
    assert unwrapped(text).splitlines() == lines


def test_items_of_a_list() -> None:
    assert items(f"{LONG}\nthe rate:\n1. Stop\n   it.\n2. Wait.") == [
        ("", f"{LONG} the rate:"),
        ("1.", "Stop it."),
        ("2.", "Wait."),
    ]


@pytest.fixture
def blown(tmp_path: Path) -> Path:
    log = tmp_path / "blown.csv"
    rows = [f"{k},{2.0 * 40.0**k if k < 20 else float('nan')},3.0,nan\n" for k in range(200)]
    log.write_text("step,loss,lr,val_loss\n" + "".join(rows))
    return log


def test_each_item_begins_a_line_and_wraps_behind_its_number(blown: Path) -> None:
    from steersman.cli.diagnose import command

    page = blown.with_suffix(".html")
    shown = CliRunner().invoke(command, ["--html", str(page), str(blown)], env={"COLUMNS": "80"}).output
    lines = [line.strip() for line in shown.splitlines()]
    first = next(k for k, line in enumerate(lines) if "1. " in line)
    columns = [line.index(word) for line in shown.splitlines() for word in ("1. ", "2. ", "3. ") if word in line]
    assert len(columns) == 3
    assert len(set(columns)) == 1
    assert shown.splitlines()[first + 1].startswith(" " * (columns[0] + 3))
    assert "\n2. " in page.read_text()
    assert "\n   " not in page.read_text().partition("1. ")[2].partition("</dd>")[0]


def test_a_validation_loss_that_is_no_number_takes_no_logarithm_away(blown: Path) -> None:
    from steersman.cli.diagnose import command

    assert " log" in CliRunner().invoke(command, [str(blown)]).output


def test_units_are_explained_where_sentences_use_them(blown: Path) -> None:
    from steersman.cli.diagnose import command
    from steersman.cli.words import units

    page = blown.with_suffix(".html")
    assert "0.1 nats are 10 %" in CliRunner().invoke(command, ["--html", str(page), str(blown)]).output
    assert "0.1 nats are 10 %" in page.read_text()
    assert not units(["The loss is at its best.", "cognats"])
    assert "e-fold" in units(["2 per e-fold of steps"])
