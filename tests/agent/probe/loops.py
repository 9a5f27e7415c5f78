"""Training loops as people write them, one for each case that the probe has to understand.

A loop knows nothing of Steersman. Each round notes what a careful author would have logged: `truth`, one entry for
each sample that is to arrive. `LOOPS` has all of them by name, so that one contract can be held against every one.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from torch.nn import functional


class Truth(NamedTuple):
    """What one sample has to say; None where it is not to be told."""

    loss: float | None
    norm: float | None
    lrs: tuple[float, ...]


def norm_of(params: Iterable[torch.Tensor], scale: float = 1.0) -> float:
    """The norm over the gradients that are there, as anybody would compute it."""
    squares = 0.0
    for param in params:
        if param.grad is not None:
            grad = param.grad.detach()
            grad = grad.coalesce().values() if grad.is_sparse else grad
            squares += float(grad.double().pow(2).sum())
    return math.sqrt(squares) / scale


def lrs_of(*optimizers: Any) -> tuple[float, ...]:
    return tuple(float(group["lr"]) for optimizer in optimizers for group in optimizer.param_groups)


Some = TypeVar("Some", bound="Loop")


class Loop:
    """A small regression."""

    norm_known = True  # whether a sample without a norm is a fault

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(256, 8, generator=generator)
        self.targets = self.inputs.sin().sum(1, keepdim=True)
        torch.manual_seed(seed)
        self.model: Any = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
        self.count = 0
        self.truth: list[Truth] = []
        self.optimizer: Any = None
        self.prepare()

    @property
    def params(self) -> list[torch.Tensor]:
        return list(self.model.parameters())

    def prepare(self) -> None:
        self.optimizer = torch.optim.SGD(self.params, lr=0.05)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        start = self.count * 16 % 256
        self.count += 1
        return self.inputs[start : start + 16], self.targets[start : start + 16]

    def loss(self, model: Any = None) -> torch.Tensor:
        inputs, targets = self.batch()
        return functional.mse_loss((model or self.model)(inputs), targets)

    def note(self, loss: Any, *optimizers: Any, scale: float = 1.0) -> None:
        """Call it right before the step that the sample is about."""
        chosen = optimizers or (self.optimizer,)
        params = [p for optimizer in chosen for group in optimizer.param_groups for p in group["params"]]
        value = loss.item() if isinstance(loss, torch.Tensor) else loss
        self.truth.append(Truth(value, norm_of(params, scale), lrs_of(*chosen)))

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.note(loss)
        self.optimizer.step()

    def weights(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in self.params]


class Plain(Loop):
    """The loop of every tutorial, with another optimizer."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make
        super().__init__()

    def prepare(self) -> None:
        self.optimizer = self._make(self.params)


class Accumulated(Loop):
    """Four backward calls a step, each loss divided by four."""

    divide = True

    def round(self) -> None:
        self.optimizer.zero_grad()
        total = 0.0
        for _ in range(4):
            loss = self.loss()
            total += loss.item()
            (loss / 4 if self.divide else loss).backward()
        self.note(total / 4 if self.divide else total)
        self.optimizer.step()


class AccumulatedUndivided(Accumulated):
    """Four backward calls a step, and nothing shows that they belong together: their sum."""

    divide = False


class AccumulatedRagged(Loop):
    """Divided by four, but the last batches of an epoch are only three."""

    def round(self) -> None:
        self.optimizer.zero_grad()
        calls = 3 if len(self.truth) % 3 == 2 else 4
        total = 0.0
        for _ in range(calls):
            loss = self.loss()
            total += loss.item()
            (loss / 4).backward()
        self.note(total / 4)
        self.optimizer.step()


class Scaled(Loop):
    """GradScaler on a CPU, as under autocast."""

    fused = False
    skips = False
    clips = False
    calls = 1

    def prepare(self) -> None:
        self.scaler = torch.amp.GradScaler(device="cpu", init_scale=1024.0, growth_interval=10**6)
        self.optimizer = torch.optim.AdamW(self.params, lr=0.01, fused=self.fused)
        self.rounds = 0
        self.skipped: list[float] = []

    def round(self) -> None:
        self.optimizer.zero_grad()
        total = 0.0
        for _ in range(self.calls):
            loss = self.loss()
            total += loss.item() / self.calls
            self.scaler.scale(loss / self.calls if self.calls > 1 else loss).backward()
        self.rounds += 1
        scale = self.scaler.get_scale()
        skip = self.skips and self.rounds % 4 == 3
        if skip:
            self.params[0].grad[0, 0] = math.inf  # type: ignore[index]
            self.skipped.append(scale)
        if self.clips:
            self.scaler.unscale_(self.optimizer)
            scale = 1.0
        if not skip:
            self.note(total, scale=scale)
        if self.clips:
            torch.nn.utils.clip_grad_norm_(self.params, 0.1)
        self.scaler.step(self.optimizer)
        self.scaler.update()


class ScaledAccumulated(Scaled):
    calls = 4


class ScaledClipped(Scaled):
    clips = True


class ScaledSkipping(Scaled):
    skips = True


class ScaledFused(Scaled):
    fused = True


class ScaledFusedSkipping(Scaled):
    fused = True
    skips = True


class Clipped(Loop):
    """clip_grad_norm_ before every step."""

    def prepare(self) -> None:
        super().prepare()
        self.after: list[float] = []

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.note(loss)
        torch.nn.utils.clip_grad_norm_(self.params, 0.5)
        self.after.append(norm_of(self.params))
        self.optimizer.step()


class Gan(Loop):
    """Two networks, two optimizers, a step of one and then a step of the other."""

    def prepare(self) -> None:
        self.critic = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.001)
        self.second = torch.optim.Adam(self.critic.parameters(), lr=0.004)

    @property
    def params(self) -> list[torch.Tensor]:
        return [*self.model.parameters(), *self.critic.parameters()]

    def round(self) -> None:
        inputs, targets = self.batch()
        self.second.zero_grad()
        made = self.model(inputs)
        real, false = self.critic(targets), self.critic(made.detach())
        loss = functional.softplus(-real).mean() + functional.softplus(false).mean()
        loss.backward()
        self.note(loss, self.second)
        self.second.step()
        self.optimizer.zero_grad()
        loss = functional.softplus(-self.critic(made)).mean()
        loss.backward()
        self.note(loss, self.optimizer)
        self.optimizer.step()


class ActorCritic(Gan):
    """Two networks and two optimizers that step together after one backward."""

    def round(self) -> None:
        inputs, targets = self.batch()
        self.optimizer.zero_grad()
        self.second.zero_grad()
        acted = self.model(inputs)
        advantage = targets - self.critic(targets)
        loss = (acted * advantage.detach()).mean() + advantage.pow(2).mean()
        loss.backward()
        self.note(loss, self.optimizer, self.second)
        self.optimizer.step()
        self.second.step()


class SeveralModels(Loop):
    """Two models that have nothing to do with each other, trained in turn."""

    def prepare(self) -> None:
        self.other = copy.deepcopy(self.model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self.second = torch.optim.AdamW(self.other.parameters(), lr=0.01)

    @property
    def params(self) -> list[torch.Tensor]:
        return [*self.model.parameters(), *(self.other.parameters() if hasattr(self, "other") else ())]

    def round(self) -> None:
        for model, optimizer in ((self.model, self.optimizer), (self.other, self.second)):
            optimizer.zero_grad()
            loss = self.loss(model)
            loss.backward()
            self.note(loss, optimizer)
            optimizer.step()


class ManyGroups(Loop):
    """A group for each of twenty layers, as with a decay by depth."""

    groups = 20

    def prepare(self) -> None:
        layers = [torch.nn.Linear(8, 8) for _ in range(self.groups - 1)]
        self.model = torch.nn.Sequential(*layers, torch.nn.Linear(8, 1))
        named = [{"params": list(layer.parameters()), "lr": 0.01 * 0.9**i} for i, layer in enumerate(self.model)]
        self.optimizer = torch.optim.AdamW(named)


class Closure(Loop):
    """The step is given a closure, as Lightning does for every optimizer."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make
        super().__init__()

    def prepare(self) -> None:
        self.optimizer = self._make(self.params)

    def round(self) -> None:
        first = len(self.truth)

        def closure() -> torch.Tensor:
            self.optimizer.zero_grad()
            loss = self.loss()
            loss.backward()
            if len(self.truth) == first:
                self.note(loss)
            return loss

        self.optimizer.step(closure)


class Compiled(Loop):
    """A model that dynamo has compiled."""

    backend = "eager"

    def prepare(self) -> None:
        torch._dynamo.reset()
        super().prepare()
        self.compiled = torch.compile(self.model, backend=self.backend)

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss(self.compiled)
        loss.backward()
        self.note(loss)
        self.optimizer.step()


class CompiledAot(Compiled):
    backend = "aot_eager"


class CompiledLoss(Loop):
    """The loss function is compiled with the model."""

    def prepare(self) -> None:
        torch._dynamo.reset()
        super().prepare()

        def forward(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return functional.mse_loss(self.model(inputs), targets)

        self.forward = torch.compile(forward, backend="eager")

    def loss(self, model: Any = None) -> torch.Tensor:
        made: torch.Tensor = self.forward(*self.batch())
        return made

    def round(self) -> None:
        super().round()
        if len(self.truth) % 3 == 1:
            with torch.no_grad():
                self.loss()


class ScheduleFree(torch.optim.Optimizer):
    """As schedule-free SGD works: what trains is a point between two sequences, and the LR weighs an average."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr, "beta": 0.9, "total": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["total"] += group["lr"] ** 2
            weight = group["lr"] ** 2 / group["total"]
            for param in group["params"]:
                state = self.state[param]
                if not state:
                    state["z"], state["x"] = param.clone(), param.clone()
                state["z"].sub_(param.grad, alpha=group["lr"])
                state["x"].lerp_(state["z"], weight)
                param.copy_(state["z"].lerp(state["x"], group["beta"]))


class Sam(torch.optim.Optimizer):
    """Sharpness-aware: climbs, has the closure evaluated there, comes back, and lets another optimizer step."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.base = torch.optim.SGD(self.param_groups, lr=lr)
        self.param_groups = self.base.param_groups

    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            value = closure()
        params = [p for group in self.param_groups for p in group["params"]]
        with torch.no_grad():
            scale = 0.05 / (torch.nn.utils.get_total_norm([p.grad for p in params]) + 1e-12)
            climbed = [p.grad * scale for p in params]
            for param, up in zip(params, climbed, strict=True):
                param.add_(up)
        with torch.enable_grad():
            closure()
        with torch.no_grad():
            for param, up in zip(params, climbed, strict=True):
                param.sub_(up)
        self.base.step()
        return value


class Lookahead(torch.optim.Optimizer):
    """Wraps another optimizer, shares its groups, and pulls the weights back every fifth step."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__(inner.param_groups, {})
        self.inner = inner
        self.param_groups = inner.param_groups
        self.slow = [p.detach().clone() for group in self.param_groups for p in group["params"]]
        self.steps = 0

    def step(self, closure: Any = None) -> Any:
        value = self.inner.step(closure)
        self.steps += 1
        if self.steps % 5 == 0:
            params = [p for group in self.param_groups for p in group["params"]]
            with torch.no_grad():
                for slow, fast in zip(self.slow, params, strict=True):
                    slow.lerp_(fast, 0.5)
                    fast.copy_(slow)
        return value


class TwoStepSam(Loop):
    """Sharpness-aware as its best known implementation is used: two backward calls, then the one real step."""

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        total = loss.item()
        with torch.no_grad():
            climbed = [p.grad * 0.01 for p in self.params if p.grad is not None]
            for param, up in zip(self.params, climbed, strict=True):
                param.add_(up)
        self.optimizer.zero_grad()
        self.count -= 1
        loss = self.loss()
        loss.backward()
        with torch.no_grad():
            for param, up in zip(self.params, climbed, strict=True):
                param.sub_(up)
        self.note(total + loss.item())
        self.optimizer.step()


class Sparse(Loop):
    """An embedding with sparse gradients."""

    norm_known = False

    def prepare(self) -> None:
        self.model = torch.nn.EmbeddingBag(32, 4, sparse=True, mode="sum")
        self.words = torch.randint(0, 32, (256, 5), generator=torch.Generator().manual_seed(1))
        self.optimizer = torch.optim.SparseAdam(self.params, lr=0.01)

    def loss(self, model: Any = None) -> torch.Tensor:
        start = self.count * 16 % 256
        self.count += 1
        return functional.mse_loss(self.model(self.words[start : start + 16]), torch.ones(16, 4))


class SparseAndDense(Sparse):
    """One optimizer that takes both kinds, for a table and a head."""

    def prepare(self) -> None:
        super().prepare()
        self.table = self.model
        self.model = torch.nn.Sequential(self.table, torch.nn.Linear(4, 4))
        self.optimizer = torch.optim.SGD(self.params, lr=0.05)


class SparseNowAndThen(Sparse):
    """The same parameter has a dense gradient in most rounds and a sparse one in some."""

    def prepare(self) -> None:
        super().prepare()
        self.optimizer = torch.optim.SGD(self.params, lr=0.05)

    def round(self) -> None:
        self.model.sparse = len(self.truth) % 4 == 3
        super().round()


class WithoutGradient(Loop):
    """A frozen layer, and one that every other batch does not use."""

    def prepare(self) -> None:
        self.model[0].weight.requires_grad_(False)
        self.extra = torch.nn.Linear(8, 1)
        self.optimizer = torch.optim.AdamW(self.params, lr=0.01)

    @property
    def params(self) -> list[torch.Tensor]:
        return [*self.model.parameters(), *(self.extra.parameters() if hasattr(self, "extra") else ())]

    def loss(self, model: Any = None) -> torch.Tensor:
        inputs, targets = self.batch()
        made = self.model(inputs)
        return functional.mse_loss(made + self.extra(inputs) if self.count % 2 else made, targets)


class Replaced(Loop):
    """A new optimizer every ten rounds, as at the stages of a curriculum."""

    def round(self) -> None:
        if len(self.truth) % 10 == 9:
            self.optimizer = torch.optim.AdamW(self.params, lr=0.001 * len(self.truth))
        super().round()


class Unfrozen(Loop):
    """Layers that are unfrozen later come as a new group of the same optimizer."""

    def prepare(self) -> None:
        self.optimizer = torch.optim.SGD(self.model[2].parameters(), lr=0.05)
        self.model[0].requires_grad_(False)

    def round(self) -> None:
        if len(self.truth) == 8:
            self.model[0].requires_grad_(True)
            self.optimizer.add_param_group({"params": list(self.model[0].parameters()), "lr": 0.01})
        super().round()


class Resumed(Loop):
    """Goes back to a checkpoint of itself."""

    def prepare(self) -> None:
        self.optimizer = torch.optim.AdamW(self.params, lr=0.01)
        self.saved: Any = None

    def round(self) -> None:
        done = len(self.truth)
        if done == 5:
            self.saved = copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict(), self.count))
        if done == 15:
            model, optimizer, self.count = copy.deepcopy(self.saved)
            self.model.load_state_dict(model)
            self.optimizer.load_state_dict(optimizer)
        super().round()


class Evaluating(Loop):
    """Evaluates every third round, once between backward and step."""

    def prepare(self) -> None:
        super().prepare()
        self.validated: dict[int, float] = {}

    def evaluate(self, sample: int) -> None:
        found = []
        with torch.no_grad():
            for start in (0, 64, 128):
                loss = functional.mse_loss(
                    self.model(self.inputs[start : start + 64]), self.targets[start : start + 64]
                )
                found.append(loss.item())
        self.validated[sample] = sum(found) / 3

    def round(self) -> None:
        done = len(self.truth)
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.note(loss)
        if done % 3 == 1:
            self.evaluate(done)
        self.optimizer.step()


class InBackward(Loop):
    """An optimizer a parameter, stepped by a hook as soon as the gradient is there."""

    def prepare(self) -> None:
        self.optimizers = {p: torch.optim.SGD([p], lr=0.05) for p in self.params}
        self.squares = 0.0

        def made(param: torch.Tensor) -> None:
            self.squares += norm_of([param]) ** 2
            self.optimizers[param].step()
            self.optimizers[param].zero_grad()

        for param in self.params:
            param.register_post_accumulate_grad_hook(made)

    def round(self) -> None:
        loss = self.loss()
        value, self.squares = loss.item(), 0.0
        loss.backward()
        self.truth.append(Truth(value, math.sqrt(self.squares), (0.05,) * len(self.params)))


class NotScalar(Loop):
    """Backward from a vector with the gradient given."""

    def round(self) -> None:
        self.optimizer.zero_grad()
        inputs, targets = self.batch()
        errors = self.model(inputs) - targets
        errors.backward(errors.detach() / 16)
        self.note(None)
        self.optimizer.step()


class Weighted(Loop):
    """A scalar whose gradient is given: not a loss."""

    def round(self) -> None:
        self.optimizer.zero_grad()
        torch.autograd.backward(self.loss(), torch.tensor(0.5))
        self.note(None)
        self.optimizer.step()


class WithoutBackward(Loop):
    """Gradients from torch.autograd.grad: nothing calls backward."""

    def round(self) -> None:
        for param, grad in zip(self.params, torch.autograd.grad(self.loss(), self.params), strict=True):
            param.grad = grad
        self.note(None)
        self.optimizer.step()


class Penalised(Loop):
    """A gradient penalty: the loss contains a gradient."""

    def round(self) -> None:
        self.optimizer.zero_grad()
        inputs, targets = self.batch()
        inputs = inputs.clone().requires_grad_()
        made = self.model(inputs)
        (slope,) = torch.autograd.grad(made.sum(), inputs, create_graph=True)
        loss = functional.mse_loss(made, targets) + 0.1 * slope.pow(2).mean()
        loss.backward()
        self.note(loss)
        self.optimizer.step()


class DoubleBackward(Loop):
    """Backward with create_graph, and a second backward through the gradients."""

    def round(self) -> None:
        self.optimizer.zero_grad()
        loss = self.loss()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the cycle that is broken below
            loss.backward(create_graph=True)
        size = sum((p.grad.pow(2).sum() for p in self.params), torch.zeros(()))  # type: ignore[union-attr]
        penalty = 0.01 * size
        penalty.backward()
        self.note(loss.item() + penalty.item())
        self.optimizer.step()
        for param in self.params:
            param.grad = None


class GraphKept(Loop):
    """Backward with create_graph, and the step is made with gradients that are part of a graph."""

    def round(self) -> None:
        loss = self.loss()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the cycle that is broken below
            loss.backward(create_graph=True)
        self.note(loss)
        self.optimizer.step()
        for param in self.params:
            param.grad = None


LOOPS: dict[str, Callable[[], Loop]] = {
    "plain": Loop,
    "accumulated": Accumulated,
    "accumulated_undivided": AccumulatedUndivided,
    "accumulated_ragged": AccumulatedRagged,
    "scaled": Scaled,
    "scaled_accumulated": ScaledAccumulated,
    "scaled_clipped": ScaledClipped,
    "scaled_skipping": ScaledSkipping,
    "scaled_fused": ScaledFused,
    "scaled_fused_skipping": ScaledFusedSkipping,
    "clipped": Clipped,
    "gan": Gan,
    "actor_critic": ActorCritic,
    "several_models": SeveralModels,
    "many_groups": ManyGroups,
    "closure_lbfgs": lambda: Closure(lambda params: torch.optim.LBFGS(params, lr=0.1, max_iter=4)),
    "closure_sgd": lambda: Closure(lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9)),
    "closure_adamw": lambda: Closure(lambda params: torch.optim.AdamW(params, lr=0.01)),
    "for_loop": lambda: Plain(lambda params: torch.optim.AdamW(params, lr=0.01, foreach=False)),
    "foreach": lambda: Plain(lambda params: torch.optim.AdamW(params, lr=0.01, foreach=True)),
    "fused_adam": lambda: Plain(lambda params: torch.optim.Adam(params, lr=0.01, fused=True)),
    "fused_adamw": lambda: Plain(lambda params: torch.optim.AdamW(params, lr=0.01, fused=True)),
    "fused_sgd": lambda: Plain(lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9, fused=True)),
    "fused_adagrad": lambda: Plain(lambda params: torch.optim.Adagrad(params, lr=0.05, fused=True)),
    "tensor_lr": lambda: Plain(lambda params: torch.optim.AdamW(params, lr=torch.tensor(0.01))),
    "tensor_lr_fused": lambda: Plain(lambda params: torch.optim.AdamW(params, lr=torch.tensor(0.01), fused=True)),
    "compiled": Compiled,
    "compiled_aot": CompiledAot,
    "compiled_loss": CompiledLoss,
    "schedule_free": lambda: Plain(lambda params: ScheduleFree(params, lr=0.05)),
    "sam": lambda: Closure(lambda params: Sam(params, lr=0.05)),
    "sam_in_two_steps": TwoStepSam,
    "lookahead": lambda: Plain(lambda params: Lookahead(torch.optim.SGD(params, lr=0.05))),
    "sparse": Sparse,
    "sparse_and_dense": SparseAndDense,
    "sparse_now_and_then": SparseNowAndThen,
    "without_gradient": WithoutGradient,
    "replaced": Replaced,
    "unfrozen": Unfrozen,
    "resumed": Resumed,
    "evaluating": Evaluating,
    "in_backward": InBackward,
    "not_scalar": NotScalar,
    "weighted": Weighted,
    "without_backward": WithoutBackward,
    "penalised": Penalised,
    "double_backward": DoubleBackward,
    "graph_kept": GraphKept,
}


def ran(make: Callable[[], Some], rounds: int = 24) -> Some:
    """A loop that has been run for so many rounds."""
    loop = make()
    for _ in range(rounds):
        loop.round()
    return loop


def pairs(loop: Loop, rows: list[dict[str, float]]) -> Iterator[tuple[Truth, dict[str, float]]]:
    """Each sample's truth beside what arrived."""
    assert len(rows) == len(loop.truth), f"{len(rows)} samples arrived, {len(loop.truth)} steps were made"
    return zip(loop.truth, rows, strict=True)
