"""What a daemon stores of findings and diagnoses is what the next one reads."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from steersman.monitor import findings
from steersman.rules.finding import Evidence, Finding
from steersman.rules.verdict import Diagnosis, ExpectedEffect, Prescription, RecommendedLR


def every_field_of(made: Any) -> st.SearchStrategy[Any]:
    """One with all its fields drawn, those with a default as well."""
    drawn: dict[str, Any] = {field.name: ... for field in dataclasses.fields(made)}
    return st.builds(made, **drawn)


for _class in (Evidence, ExpectedEffect, RecommendedLR, Prescription):
    st.register_type_strategy(_class, every_field_of(_class))


@given(st.lists(every_field_of(Finding), max_size=3), st.none() | every_field_of(Diagnosis))
def test_what_is_written_is_read(some: list[Finding], diagnosis: Diagnosis | None) -> None:
    text = findings.write(some, diagnosis)
    back = findings.read(text)
    assert findings.write(*back) == text
    # To the last part of it: JSON would not tell a mapping from what it stands for.
    assert repr(back) == repr((tuple(some), diagnosis))


def test_nothing_is_nothing() -> None:
    assert findings.read(None) == ((), None)
