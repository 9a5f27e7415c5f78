"""All loops by name, so that one contract can be held against every one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tests.agent.probe.loops.accumulated import Accumulated, AccumulatedRagged, AccumulatedUndivided
from tests.agent.probe.loops.backward import DoubleBackward, GraphKept, NotScalar, Penalised, Weighted, WithoutBackward
from tests.agent.probe.loops.changing import Evaluating, Replaced, Resumed, Unfrozen
from tests.agent.probe.loops.clipped import Clipped
from tests.agent.probe.loops.closures import Closure
from tests.agent.probe.loops.compiled import Compiled, CompiledAot, CompiledLoss
from tests.agent.probe.loops.loop import Loop, Plain
from tests.agent.probe.loops.scaled import (
    Scaled,
    ScaledAccumulated,
    ScaledClipped,
    ScaledFused,
    ScaledFusedSkipping,
    ScaledSkipping,
)
from tests.agent.probe.loops.several import (
    ActorCritic,
    Gan,
    GroupByGroup,
    InBackward,
    ManyGroups,
    SeveralModels,
    Shared,
    SteppedTwice,
)
from tests.agent.probe.loops.sparse import Sparse, SparseAndDense, SparseNowAndThen, WithoutGradient
from tests.agent.probe.loops.third_party import Lookahead, Sam, ScheduleFree, TwoStepSam

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
    "group_by_group": GroupByGroup,
    "stepped_twice": SteppedTwice,
    "shared": Shared,
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
