from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from steersman.cli.report.outcome import Outcome
from steersman.cli.report.overview import overview
from steersman.cli.report.page import plain
from steersman.rules.facts import JobFacts
from steersman.rules.packs import load_pack
from steersman.rules.recording import Recording
from steersman.rules.replay import replay
from steersman.rules.samples import Column, Samples
from steersman.rules.verdict import RecommendedLR


def outcome(name: str) -> Outcome:
    samples = Samples(np.arange(60), np.zeros(60), {"loss": Column.full(np.linspace(3.0, 2.0, 60))})
    done = replay(Recording(name, name, "csv", samples, JobFacts(), (), {}), load_pack(()))
    said = replace(done.diagnosis, onset_step=1_234_567, recommended_lr=RecommendedLR(1.318e-5, 3.3e-6, 5.3e-5))
    return Outcome(name, replace(done, diagnosis=said))


@pytest.mark.parametrize("width", [50, 60, 80, 99, 100, 160])
def test_no_number_is_cropped(width: int) -> None:
    runs = [outcome(f"{k}{'-a-name-that-no-table-has-room-for' * 6}") for k in range(2)]
    first, row, *rest = plain(overview([*runs, Outcome("none.csv", error="it is empty")], width), width).splitlines()
    assert first.split()[-5:] == ["DIAGNOSIS", "SINCE", "LR", "TO", "USE"]
    assert row.split()[-2:] == ["1,234,567", "1.32e-5"]
    assert "…" in row
    assert max(map(len, (first, row, *rest))) <= width
