from __future__ import annotations

import warnings

import torch

from steersman.agent.measure.waits import counted


class Cuda:
    """As `torch.cuda`, which warns of each wait while it is asked to."""

    def __init__(self) -> None:
        self.mode: int | str = 0
        self.modes: list[int | str] = []

    def get_sync_debug_mode(self) -> int | str:
        return self.mode

    def set_sync_debug_mode(self, mode: int | str) -> None:
        if not self.modes:
            warnings.warn("a prototype feature that does not yet detect all synchronizing operations", stacklevel=1)
        self.mode = mode
        self.modes.append(mode)

    def wait(self) -> None:
        if self.mode == "warn":
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)


def test_dispatches_that_wait_are_counted() -> None:
    with counted() as seen:
        torch.ones(()).item()
        torch.ones(2).to(torch.float64).copy_(torch.ones(2))
        torch.ones(2).to(torch.float64).copy_(torch.ones(2), non_blocking=True)
    torch.ones(()).item()
    assert seen == {"_local_scalar_dense": 1, "copy_": 1}


def test_on_an_accelerator_torchs_own_word_counts_as_well() -> None:
    cuda = Cuda()
    with counted("cuda", cuda) as seen:
        for _ in range(3):
            cuda.wait()  # each of them, though it is the same line
        torch.ones(()).item()
    cuda.wait()
    assert seen == {"_local_scalar_dense": 1, "synchronised": 3}
    assert cuda.modes == ["warn", 0]
