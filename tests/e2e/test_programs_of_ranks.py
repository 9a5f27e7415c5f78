"""Programs that train in two processes and have never heard of Steersman: each rank is seen, and as what it is."""

from __future__ import annotations

import sys

import pytest

from .conftest import Stack
from .trial import PROGRAMS, TORCHRUN, Program, Seen, Trial, check_steps, check_tests

# Three starts each, of libraries that take seconds to be imported: on a busy machine that may take minutes.
pytestmark = [pytest.mark.e2e, pytest.mark.programs, pytest.mark.timeout(480)]

PROGRAM = {
    "replicated": Program((*TORCHRUN, str(PROGRAMS / "ranks.py")), "log.{}.jsonl", 2),
    "sharded": Program((*TORCHRUN, str(PROGRAMS / "ranks.py"), "--sharded"), "log.{}.jsonl", 2),
    "sharded_adamw": Program((*TORCHRUN, str(PROGRAMS / "ranks.py"), "--sharded", "--adamw"), "log.{}.jsonl", 2),
    "accelerated": Program((*TORCHRUN, str(PROGRAMS / "accelerated.py")), "log.{}.jsonl", 2),
    "lit": Program(
        (sys.executable, str(PROGRAMS / "lit.py"), "--devices", "2"), "log.{}.jsonl", 2, enough=100, alone=False
    ),
    "finetune": Program((*TORCHRUN, str(PROGRAMS / "finetune.py")), ranks=2),
}


def check_rank(trial: Trial, seen: Seen, way: str, rank: int, norm: bool = True) -> None:
    said = trial.truth(way, rank)
    first = check_steps(said, seen, rank, norm, attached=way == "attach")
    found = seen.series("val_loss", rank)
    if trial.name == "lit" and way == "run":
        del found[0]  # of Lightning's sanity check
    check_tests(said.tests, found, first, len(seen.series("lr/0", rank)))


@pytest.mark.parametrize("name", ["replicated", "accelerated", "lit"])
def test_replicas_are_seen_by_both_ways(harbour: Stack, name: str) -> None:
    trial = Trial(harbour, PROGRAM[name], name)
    attached = trial.attached()
    run = trial.beside()
    for rank in (0, 1):
        check_rank(trial, attached, "attach", rank)
        check_rank(trial, run, "run", rank)
    assert attached.detail().job.ranks_seen == 2
    assert attached.events() | run.events() <= {"detached"}


def test_the_norm_of_shards_is_put_together_under_run_and_unknown_after_an_attachment(harbour: Stack) -> None:
    """Ranks that were attached to count their steps from different ones, so that nobody can add up their parts."""
    trial = Trial(harbour, PROGRAM["sharded"], "sharded")
    attached = trial.attached()
    run = trial.beside()
    check_rank(trial, run, "run", 0)
    check_rank(trial, run, "run", 1, norm=False)
    for rank in (0, 1):
        check_rank(trial, attached, "attach", rank, norm=False)
    assert {"grad_norm", "hypergrad_cos"} <= run.names()
    assert not {"grad_norm", "hypergrad_cos"} & attached.names()
    assert attached.detail().job.grad_norm is None


def test_the_norm_of_shards_is_put_together_after_an_attachment_where_the_optimizer_counts(harbour: Stack) -> None:
    """Each rank goes on from its optimizer's count, so that a step has one number on all of them."""
    trial = Trial(harbour, PROGRAM["sharded_adamw"], "sharded_adamw")
    attached = trial.attached()
    trial.beside()
    firsts = []
    for rank in (0, 1):
        said = trial.truth("attach", rank)
        firsts.append(check_steps(said, attached, rank, norm=False, attached=True))
        assert attached.origin(rank) == firsts[rank] > 0
    said = trial.truth("attach")
    own = said.of("grad_norm")
    found = attached.series("grad_norm")
    # Of steps before the later rank's first whole one nobody knows the norm, and none is made up.
    begun = max(firsts) + 1
    assert min(found) + firsts[0] in (begun, begun + 1)
    assert len(found) > 5
    assert list(found.values()) == pytest.approx([own[firsts[0] + step] for step in found], rel=1e-5)
    assert "hypergrad_cos" in attached.names()


def test_hugging_faces_trainer_on_two_ranks(harbour: Stack) -> None:
    """Its log has the mean loss over the ranks; each rank's own is what is seen."""
    trial = Trial(harbour, PROGRAM["finetune"], "finetune")
    child = trial.run(30)
    trial.finish(child)
    said, seen = trial.truth("run"), Seen(harbour, "finetune-run")
    job = seen.ended("finished").job
    assert (job.world_size, job.ranks_seen) == (2, 2)
    losses = [list(seen.series("loss", rank).values()) for rank in (0, 1)]
    assert [sum(both) / 2 for both in zip(*losses, strict=True)] == pytest.approx(said.of("loss"), rel=1e-4)
    for rank in (0, 1):
        assert list(seen.series("grad_norm", rank).values()) == pytest.approx(said.of("grad_norm"), rel=1e-5)
        assert list(seen.series("lr/0", rank).values()) == pytest.approx(said.of("lr"))
