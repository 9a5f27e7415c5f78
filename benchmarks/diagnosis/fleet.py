"""Jobs of one task and one optimizer, trained side by side as lanes that never meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.diagnosis.optimizers import Optimizer
from benchmarks.diagnosis.tasks import Task
from torch import Tensor

Floats = npt.NDArray[np.float64]
Twist = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Lane:
    """One job.

    Attributes:
        seed: of its initialisation, its batches and its dropout.
        batches: which examples each step takes, shape (T, batch); None where every step takes all.
        twist: what a fault does to inputs and targets of a step, None where nothing.
    """

    seed: int
    batches: npt.NDArray[np.int64] | None
    twist: Twist | None = None


def batches(task: Task, seed: int, steps: int) -> npt.NDArray[np.int64] | None:
    """The examples of each step: a function of task, seed and step alone, so that branches see the same."""
    if not task.batch:
        return None
    count = len(task.data().x)
    return np.random.default_rng([seed, 17]).integers(0, count, size=(steps, task.batch))


@dataclass
class Taken:
    """What one step showed, a value a lane; what was not sampled is None."""

    loss: Tensor
    grad_norm: Tensor
    cosine: Tensor | None = None
    update_norm: Tensor | None = None
    weight_norm: Tensor | None = None
    predicted: Tensor | None = None


@dataclass
class Snapshot:
    """Everything that a lane's future depends on, beside its data."""

    w: Tensor
    state: list[Tensor]
    count: int


@dataclass
class Fleet:
    """Lanes with weights, optimizer state and a clock each.

    Args:
        task: what they learn.
        optimizer: how.
        lanes: the jobs.
        sample_every: steps between two samples of the direction, as the probe has it.
    """

    task: Task
    optimizer: Optimizer
    lanes: Sequence[Lane]
    sample_every: int = 10
    clock: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.model = self.task.model()
        self.data = self.task.data()
        flat = [torch.cat([p.reshape(-1) for p in self.model.init(lane.seed)]) for lane in self.lanes]
        self.w = torch.stack(flat)
        self.state = [torch.zeros_like(self.w) for _ in range(self.optimizer.states)]
        self.clock = np.zeros(len(self.lanes), dtype=np.int64)
        self._whole = self._all()
        self._update: tuple[Tensor, Tensor, Tensor] | None = None
        self._tie()

    def _tie(self) -> None:
        """Leaves that look at the weights in place."""
        self._leaves: list[Tensor] = []
        start = 0
        for shape in self.model.shapes:
            size = int(np.prod(shape))
            view = self.w[:, start : start + size].view(len(self.w), *shape)
            self._leaves.append(view.detach().requires_grad_(True))
            start += size

    def _all(self) -> npt.NDArray[np.int64] | None:
        """Every lane's batches in one array, (lanes, T, batch)."""
        found = [lane.batches for lane in self.lanes if lane.batches is not None]
        return np.stack(found) if found else None

    def take(self, lane: int) -> Snapshot:
        """A lane as it stands, for `put`."""
        return Snapshot(self.w[lane].clone(), [s[lane].clone() for s in self.state], int(self.clock[lane]))

    def put(self, lane: int, snapshot: Snapshot) -> None:
        """Make a lane go on from where another stood; only between two samples of the direction."""
        self.w[lane] = snapshot.w
        for mine, other in zip(self.state, snapshot.state, strict=True):
            mine[lane] = other
        self.clock[lane] = snapshot.count

    def batch(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """What every lane is shown in its present step, and uniform numbers for its dropout."""
        n = len(self.lanes)
        if self._whole is None:
            x = self.data.x.expand(n, *self.data.x.shape)
            y = self.data.y.expand(n, *self.data.y.shape)
        else:
            chosen = torch.from_numpy(self._whole[np.arange(n), self.clock])
            x, y = self.data.x[chosen], self.data.y[chosen]
        for k, lane in enumerate(self.lanes):
            if lane.twist is not None:
                x[k], y[k] = lane.twist(int(self.clock[k]), x[k], y[k])
        noise = None
        if self.model.noise:
            shape = (x.shape[1], *self.model.noise)
            noise = torch.stack(
                [
                    torch.rand(shape, generator=torch.Generator().manual_seed(lane.seed * 1_000_003 + int(t)))
                    for lane, t in zip(self.lanes, self.clock, strict=True)
                ]
            )
        return x, y, noise

    def step(self, lr: Floats) -> Taken:
        """One optimizer step of every lane, each at its own learning rate.

        The direction is sampled as the probe does it: of the step before a round number of steps the predicted
        decrease is taken, and the gradients of the next are compared with what that step has changed.
        """
        x, y, noise = self.batch()
        losses = self.task.losses(self.model, self._leaves, x, y, noise)
        found = torch.autograd.grad(losses.sum(), self._leaves)
        n = len(self.lanes)
        g = torch.cat([f.reshape(n, -1) for f in found], dim=1)
        with torch.no_grad():
            norm = torch.linalg.vector_norm(g, dim=1)
            taken = Taken(losses.detach(), norm)
            if self._update is not None:
                update, square, weight = self._update
                size = torch.sqrt(square) * norm
                taken.cosine = (-(g * update).sum(1) / size).clamp(-1.0, 1.0)
                taken.update_norm, taken.weight_norm = square.sqrt(), weight
                self._update = None
            phase = int(self.clock[0]) % self.sample_every
            before = self.w.clone() if phase == self.sample_every - 1 else None
            rates = torch.from_numpy(lr.astype(np.float32)).unsqueeze(1)
            count = torch.from_numpy((self.clock + 1).astype(np.float32)).unsqueeze(1)
            self.optimizer.rule.step(self.w, g, rates, count, self.state)
            if before is not None:
                update = torch.sub(self.w, before, out=before)
                taken.predicted = -(g * update).sum(1)
                self._update = (update, (update * update).sum(1), torch.linalg.vector_norm(self.w, dim=1))
        self.clock += 1
        return taken

    @torch.no_grad()
    def validate(self) -> Tensor:
        """Each lane's loss on the validation data."""
        return self._evaluate(self.data.x_val, self.data.y_val)

    @torch.no_grad()
    def end_losses(self) -> Tensor:
        """Each lane's loss on a thousand training examples, without dropout."""
        x, y = self.data.x, self.data.y
        chosen = torch.linspace(0, len(x) - 1, 128 if x.dtype == torch.long and x.shape[1] > 2 else 1024).long()
        return self._evaluate(x[chosen], y[chosen])

    def _evaluate(self, x: Tensor, y: Tensor) -> Tensor:
        n = len(self.lanes)
        found = []
        # A few lanes at a time: the rest of the memory belongs to others.
        for start in range(0, n, 8):
            some = [leaf.detach()[start : start + 8] for leaf in self._leaves]
            k = len(some[0])
            found.append(self.task.losses(self.model, some, x.expand(k, *x.shape), y.expand(k, *y.shape), None))
        return torch.cat(found)
