from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from steersman.monitor.ledger import GENESIS, Ledger, LedgerEntry, RankReading, canonical, unaccounted, verify
from steersman.monitor.store import LedgerRecord


def chain(length: int, job: str = "gpt") -> list[LedgerRecord]:
    ledger = Ledger(job)
    return [
        ledger.append(
            time=100.0 + n,
            attempt_id=f"attempt-{n // 3}",
            adjustment_id=f"adj-{n // 2}",
            kind="scale",
            params={"value": 0.5, "over_steps": n},
            state="applied" if n % 2 else "approved",
            by="policy auto",
            reason="learning rate too high",
            step=n * 10,
            ranks=[RankReading(0, n * 10, (1e-3, math.nan))] if n % 2 else [],
        )
        for n in range(length)
    ]


def test_the_hash_is_sha256_over_the_one_before_and_the_canonical_json() -> None:
    first, second = chain(2)
    assert first.prev == GENESIS == "0" * 64
    assert first.hash == hashlib.sha256(("0" * 64 + first.body).encode()).hexdigest()
    assert second.prev == first.hash
    assert second.body == (
        '{"adjustment_id":"adj-0","attempt_id":"attempt-0","by":"policy auto","job":"gpt","kind":"scale",'
        '"params":{"over_steps":1,"value":0.5},"ranks":[{"lr":[0.001,null],"rank":0,"step":10}],'
        '"reason":"learning rate too high","seq":2,"state":"applied","step":10,"time":101.0}'
    )


def test_an_entry_reads_back() -> None:
    entry = LedgerEntry.parse(chain(2)[1].body)
    assert (entry.seq, entry.time, entry.job, entry.step) == (2, 101.0, "gpt", 10)
    assert entry.params == {"value": 0.5, "over_steps": 1}
    assert entry.ranks[0].lr[0] == 1e-3
    assert math.isnan(entry.ranks[0].lr[1])
    assert entry.body() == chain(2)[1].body


@pytest.mark.parametrize("body", ["", "[]", "{}", "null", '{"ranks":[]}', '{"ranks":[],"x":1}'])
def test_what_is_no_entry_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match="not a ledger entry"):
        LedgerEntry.parse(body)


def test_a_ledger_goes_on_where_another_left_it() -> None:
    records = chain(3)
    ledger = Ledger.resume("gpt", records)
    again = Ledger("gpt")
    assert (ledger.seq, ledger.last) == (3, records[-1].hash)
    fields: dict[str, Any] = {"time": 1.0, "attempt_id": "a", "adjustment_id": "b", "kind": "set", "params": {}}
    more = ledger.append(**fields, state="kept", by="operator ann", reason="ü")
    assert verify([*records, more]) is None
    assert Ledger.resume("gpt", []).append(**fields, state="kept", by="x", reason="").prev == again.last


def test_what_cannot_be_written_down_is_refused() -> None:
    fields: dict[str, Any] = {"attempt_id": "a", "adjustment_id": "b", "kind": "set", "by": "x", "reason": ""}
    ledger = Ledger("gpt")
    with pytest.raises(ValueError, match="the time of a ledger entry of job gpt is nan"):
        ledger.append(**fields, state="kept", time=math.nan, params={})
    with pytest.raises(ValueError, match="no JSON value"):
        ledger.append(**fields, state="kept", time=1.0, params={"x": object()})
    assert (ledger.seq, ledger.last) == (0, GENESIS)


def test_a_chain_that_holds_has_no_problem() -> None:
    assert verify([]) is None
    assert verify(chain(1)) is None
    assert verify(chain(9)) is None


def test_the_first_entry_that_breaks_is_named_with_how() -> None:
    records = chain(4)
    assert verify(records[1:]) == "entry 1 of job gpt is missing: entry 2 stands in its place"
    assert verify([records[0], *records[2:]]) == "entry 2 of job gpt is missing: entry 3 stands in its place"
    swapped = [records[0], records[2], records[1], records[3]]
    assert verify(swapped) == "entry 2 of job gpt is out of its order: entry 3 stands in its place"
    altered = replace(records[2], body=records[2].body.replace("0.5", "0.6"))
    assert verify([*records[:2], altered, records[3]]) == (
        "entry 3 of job gpt was altered: its hash is not that of what it says"
    )
    rehashed = replace(altered, hash=hashlib.sha256((altered.prev + altered.body).encode()).hexdigest())
    assert verify([*records[:2], rehashed, records[3]]) == (
        "entry 4 of job gpt was altered: it does not name the hash of the entry before it"
    )
    moved = replace(records[2], attempt_id="another")
    assert verify([*records[:2], moved, records[3]]) == (
        "entry 3 of job gpt was altered: job, number, attempt or time beside it are not those it says"
    )


def stored(*states: str) -> dict[str, str]:
    return {f"adj-{n}": json.dumps({"state": state}) for n, state in enumerate(states)}


def test_an_adjustment_that_is_not_where_the_record_leaves_it_is_named() -> None:
    records = chain(4)
    assert unaccounted("gpt", records, stored("applied", "applied")) is None
    assert unaccounted("gpt", [], {}) is None
    assert unaccounted("gpt", records[:3], stored("applied", "applied")) == (
        "adjustment adj-1 of job gpt is applied, and the last entry about it says approved: "
        "entries behind entry 3 are missing, or the adjustment was altered"
    )
    assert unaccounted("gpt", records[:2], stored("applied", "applied")) == (
        "no entry tells of adjustment adj-1 of job gpt, which is applied: entries are missing"
    )
    assert unaccounted("gpt", records, stored("applied")) == (
        "entries tell of adjustment adj-1 of job gpt, which is not stored"
    )
    assert unaccounted("gpt", records, {"adj-0": "{}"}) == (
        "adjustment adj-0 of job gpt can't be read, so what the record says of it can't be checked"
    )


CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "job": st.text(max_size=5),
    "seq": st.integers(-3, 12),
    "attempt_id": st.text(max_size=12),
    "time": st.floats(allow_nan=False),
    "body": st.text(max_size=5),
    "prev": st.text("0123456789abcdef", min_size=64, max_size=64),
    "hash": st.text("0123456789abcdef", min_size=64, max_size=64),
}


@given(st.integers(1, 6), st.data())
def test_any_change_of_any_record_is_found(length: int, data: st.DataObject) -> None:
    records = chain(length)
    at = data.draw(st.integers(0, length - 1))
    field = data.draw(st.sampled_from(sorted(CHANGES)))
    value = data.draw(CHANGES[field])
    assume(value != getattr(records[at], field))
    records[at] = replace(records[at], **{field: value})
    problem = verify(records)
    assert problem is not None
    assert problem.startswith("entry ")


@given(st.integers(1, 6), st.data())
def test_any_change_of_one_character_is_found(length: int, data: st.DataObject) -> None:
    records = chain(length)
    at = data.draw(st.integers(0, length - 1))
    field = data.draw(st.sampled_from(["body", "prev", "hash", "attempt_id", "job"]))
    old: str = getattr(records[at], field)
    place = data.draw(st.integers(0, len(old)))
    new = data.draw(st.characters(codec="ascii"))
    insert = data.draw(st.booleans())
    changed: Any = old[:place] + new + old[place if insert else place + 1 :]
    assume(changed != old)
    records[at] = replace(records[at], **{field: changed})
    assert verify(records) is not None


@given(st.permutations(range(6)))
def test_any_other_order_is_found(order: list[int]) -> None:
    records = chain(6)
    assert (verify([records[n] for n in order]) is None) == (order == sorted(order))


@given(st.sets(st.integers(0, 5), min_size=1, max_size=5))
def test_any_hole_is_found(gone: set[int]) -> None:
    assume(max(gone) < 5 or len(gone) < 6 - min(gone))
    records = [record for n, record in enumerate(chain(6)) if n not in gone]
    assert verify(records) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_canonical_json_is_one_way_to_write_a_value(value: object) -> None:
    text = canonical(value)
    assert canonical(json.loads(text)) == text
    assert text.isascii()
