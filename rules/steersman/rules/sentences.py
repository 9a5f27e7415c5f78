"""What a diagnosis says in words."""

from __future__ import annotations

from collections.abc import Mapping

from steersman.rules.features.panel import Panel
from steersman.rules.lr_memory import LrMemory
from steersman.rules.verdict import Verdict

Value = float | bool | None

AFFINE_RISE = 3.0
"""Where a loss that is not always positive stands so far above its best, nobody can say that it is healthy."""

FLAT = 0.03
"""Nats per e-fold of steps below which a loss does not move: as in the rules of a plateau."""

NOT_BACK = "it broke, was adjusted, and has not come back yet"
"""The headline of a job in which nothing fires after that."""


def headline(verdict: Verdict, broken: bool = False) -> str:
    """The verdict in plain words.

    Args:
        verdict: the cause.
        broken: whether it has ended in values that are no numbers.

    >>> headline(Verdict.LR_TOO_HIGH, broken=True)
    'learning rate too high: loss or gradient is not a number'
    """
    if broken and verdict is not Verdict.NONFINITE:
        return f"{_HEADLINES[verdict]}: {_HEADLINES[Verdict.NONFINITE]}"
    return _HEADLINES[verdict]


def would_refute(verdict: Verdict, lr: float | None = None) -> str:
    """What would change the verdict, at the learning rate in force."""
    if verdict is Verdict.LR_TOO_LOW and lr == 0.0:
        return "a learning rate above zero in the optimizer: the log may be that of a group that is frozen"
    return _REFUTED[verdict]


def unknown_value(verdict: Verdict, lr: float | None) -> str:
    """Why no learning rate is recommended where it is the lever, and what would tell one."""
    if verdict is Verdict.LR_TOO_LOW and lr == 0.0:
        return (
            "No value is recommended: at a rate of zero nothing shows what the job bears. The peak that its schedule "
            "is meant to have would tell, or a short run at any rate above zero."
        )
    if lr is None:
        return "No value is recommended: the log has no learning rate. One with it, or `steersman run`, would tell."
    return "No value is recommended: nothing that is known of this job's steps asks for one."


def not_blamed(values: Mapping[str, Value], steps: Mapping[str, float], served: bool) -> str:
    """Why the learning rate of a job that breaks is not called the cause."""
    if "r_top" in steps:
        return (
            "The learning rate is not blamed: its steps were no longer than those of tuned runs before it broke. "
            "Data, labels and precision are others; whether it breaks at the same step again would tell."
        )
    if values["lr"] is None:
        return "Whether the learning rate is the cause is not known: the log has none, and nothing of its steps."
    if served:
        return (
            "The learning rate is not blamed: the job had improved undisturbed at this rate, or at half of it. Whether "
            "it breaks at the same step again would tell data from chance."
        )
    return (
        "Whether the learning rate is the cause is not known: the log has nothing of the job's steps, which `steersman "
        "run` or `attach` would tell, and so would the same job at half the rate."
    )


def reason(verdict: Verdict, lr: float, new: float) -> str:
    """Why an adjustment is proposed."""
    return f"{_HEADLINES[verdict]}: {new:.3g} instead of {lr:.3g}"


def supporting(verdict: Verdict, values: Mapping[str, Value], seen: Mapping[str, float]) -> list[str]:
    """Numbers for a verdict that its rules do not name themselves."""
    out: list[str] = []
    if verdict in (Verdict.LR_TOO_HIGH, Verdict.DIVERGED, Verdict.NONFINITE):
        top, horizon = seen.get("r_top"), seen.get("horizon", 1000.0)
        if top is not None and top * horizon**0.5 > 1.0:
            out.append(
                f"A single step moved the weights by {top:.1%}; over {horizon:.0f} steps that is "
                f"{top * horizon**0.5:.1f} times their length, where tuned runs have 0.3 to 0.5."
            )
        travel = seen.get("travel")
        if travel is not None and travel > 0.6:
            out.append(
                f"The weights are at least {travel:.1f} times their first length away from where they were first seen."
            )
        c = values["c"]
        if c is not None and c <= 0.0:
            out.append(f"Successive steps do not agree (c={c:+.3f}); below a learning rate that fits they do.")
        rho = values["rho"]
        if rho is not None and rho < 0.05:
            out.append(f"Of the decrease that steps promise {rho:.1%} comes true.")
        overshoot = values["overshoot"]
        if overshoot is not None and overshoot > 0.2:
            out.append(f"The loss once rose {overshoot:.2f} nats above its first value.")
    if verdict is Verdict.LR_TOO_LOW:
        rho, i_lo = values["rho"], values["i_lo"]
        if rho is not None and rho > 0.3:
            out.append(f"Of the decrease that steps promise {rho:.0%} comes true: longer steps would still be trusted.")
        if i_lo is not None and i_lo > 0.0:
            out.append(f"The loss improves by at least {i_lo:.3f} nats per e-fold of steps.")
    return out


def which_set(verdict: Verdict, panel: Panel) -> list[str]:
    """Which of several evaluation sets is overfitted."""
    worst = panel.worst_set()
    if verdict is not Verdict.OVERFITTING or worst is None or len(panel.sets) < 2:
        return []
    return [f"Of {len(panel.sets)} evaluation sets {worst[0].removeprefix('val_loss/')} rose most."]


def against(verdict: Verdict, values: Mapping[str, Value]) -> list[str]:
    """Numbers that speak against a verdict."""
    out: list[str] = []
    c, t_c, i_lo, r = values["c"], values["t_c"], values["i_lo"], values["R_assumed"]
    if verdict in (Verdict.LR_TOO_HIGH, Verdict.DIVERGED):
        if c is not None and c > 0.0:
            out.append(f"Successive steps still agree a little (c={c:+.3f}).")
        if i_lo is not None and i_lo > 0.0:
            out.append(f"The loss improves by at least {i_lo:.3f} nats per e-fold of steps.")
        if r is not None and r < 0.5:
            out.append(
                f"Steps are by now no longer than those of tuned runs (R={r:.2f}), because the weights have grown."
            )
    if verdict is Verdict.LR_TOO_LOW and t_c is not None and t_c < 5.0:
        out.append(f"The agreement of steps is not yet beyond doubt (t={t_c:.1f}).")
    if verdict is Verdict.PLATEAU and c is not None and c > 0.0:
        out.append(f"Successive steps agree (c={c:+.3f}), which a noise floor does not explain.")
    return out


def quiet(verdict: Verdict, values: Mapping[str, Value], regime: str, needed: int, learned: bool) -> list[str]:
    """What is known of a job in which nothing fires.

    Args:
        verdict: on it.
        values: the features.
        regime: what the present one began with.
        needed: points below which nothing is said.
        learned: whether its loss has been seen to fall.
    """
    if verdict is Verdict.TOO_SHORT:
        return [f"{values['points']:.0f} points have come; {needed} are needed."]
    out: list[str] = []
    if values["blanked"]:
        out.append(f"{values['since_regime']:.0f} points since the last change ({regime}): too early to judge.")
    if values["in_turn"]:
        out.append(
            "Several optimizers step in turn, each on a loss that depends on the other's: one that rises or stays "
            "where it is may be as it should be. What breaks is told; looked at are the losses of the first optimizer."
        )
    i, i_lo, i_up, c, up = values["i"], values["i_lo"], values["i_up"], values["c"], values["up"]
    if not learned:
        out.append("The loss has not been seen to fall: it does not stand below its beginning by more than chance.")
    elif hardly_moves(values):
        out.append(
            "All that the loss has fallen since its beginning is a small part of it: either most of it is a constant "
            "that no training removes, or the job hardly learns. A run at another learning rate tells which."
        )
    if i is not None and i_lo is not None and i_up is not None:
        if i_lo > 0.0:
            out.append(f"The loss improves by {i:.3f} nats per e-fold of steps (at least {i_lo:.3f}).")
        elif i_up < 0.0:
            out.append(f"The loss rises by {-i:.3f} nats per e-fold of steps (at least {-i_up:.3f}).")
        else:
            words = f"it may rise by {-i_lo:.3f} or fall by {i_up:.3f} nats per e-fold of steps"
            flat = i_lo > -FLAT and i_up < FLAT
            known = "The loss stays where it is" if flat else "The loss is too noisy to say whether it falls"
            out.append(f"{known}: {words}.")
    if c is not None:
        out.append(f"Successive steps have a mean cosine of {c:+.3f}.")
    affine = values["affine_up"]
    if up is not None:
        out.append(f"The loss stands {up:.3f} nats above its best." if up > 0.0 else "The loss is at its best.")
    elif affine is not None and affine > AFFINE_RISE:
        out.append("The loss has run away from its best; one that may be negative does not tell how bad that is.")
    return out


def not_back(values: Mapping[str, Value], memory: LrMemory) -> list[str]:
    """What is to be said of a job that broke, was adjusted and has not come back to its best loss."""
    loss, stood, aim = values["loss_smooth"], memory.stood, memory.aim
    if stood is None or loss is None:
        return []
    where = "" if memory.unstable is None else f" at a learning rate of {memory.unstable:.3g}"
    restart = "" if aim is None else f": a restart at {aim:.3g} may be the shorter way"
    return [
        f"The job broke{where} and was adjusted; its loss, {loss:.4g}, has not come back to where it stood, "
        f"{stood:.4g}. Weights that have been blown up may never come back{restart}."
    ]


def as_high(values: Mapping[str, Value], memory: LrMemory) -> list[str]:
    """What is to be said of a job whose rate has been carried back up to what broke it."""
    return [
        f"The learning rate in force, {values['lr']:.3g}, is about as high as that at which it broke, "
        f"{memory.unstable:.3g}, although it was cut."
    ]


def hardly_moves(values: Mapping[str, Value]) -> bool:
    """Whether a job may be stuck, and may as well have a constant in its loss: nothing tells the two apart."""
    i_up = values["i_up"]
    return values["offset"] is True and values["c"] is None and i_up is not None and i_up < FLAT


def quiet_against(values: Mapping[str, Value]) -> list[str]:
    """What is not known of a job in which nothing fires."""
    if values["c"] is None:
        return [
            "The direction of steps is not known, without which a rate that is somewhat too low or too high does not "
            "show: `steersman run` or `attach` measures it of torch's own optimizers."
        ]
    return []


_HEADLINES = {
    Verdict.HEALTHY: "nothing wrong to be seen",
    Verdict.UNDETERMINED: "not enough is known to say",
    Verdict.TOO_SHORT: "too short to say",
    Verdict.LR_TOO_HIGH: "learning rate too high",
    Verdict.LR_TOO_LOW: "learning rate too low",
    Verdict.WARMUP_TOO_SHORT: "warm-up too short",
    Verdict.DECAY_TOO_EARLY: "learning rate decayed too early",
    Verdict.DECAY_TOO_LATE: "learning rate not yet decayed at the noise floor",
    Verdict.DIVERGED: "the loss diverges",
    Verdict.NONFINITE: "loss or gradient is not a number",
    Verdict.SPIKE: "a spike in the loss",
    Verdict.PLATEAU: "the loss has levelled off",
    Verdict.OVERFITTING: "overfitting",
    Verdict.UNDERFITTING: "underfitting",
    Verdict.GRADIENT_EXPLOSION: "gradients explode",
    Verdict.GRADIENT_VANISHING: "gradients vanish",
    Verdict.PRECISION_OVERFLOW: "numbers too large for the precision",
    Verdict.BAD_DATA: "bad data",
}

_REFUTED = {
    Verdict.HEALTHY: "a rule that fires",
    Verdict.TOO_SHORT: "more points",
    Verdict.UNDETERMINED: "more points, or a rule that fires",
    Verdict.LR_TOO_HIGH: "a loss that falls again at this learning rate, or that falls no faster at a lower one",
    Verdict.LR_TOO_LOW: "a cosine of successive steps below 0.05, or a loss that rises at twice the learning rate",
    Verdict.WARMUP_TOO_SHORT: "trouble of the same kind long after the warm-up, or at half the peak",
    Verdict.DECAY_TOO_EARLY: "a cosine of successive steps below 0.08, or a loss that rises at a higher rate",
    Verdict.DECAY_TOO_LATE: "a loss that falls no faster once the rate comes down",
    Verdict.UNDERFITTING: "a target that the loss has reached, or a training loss that falls again",
    Verdict.DIVERGED: "the loss coming back to its best by itself",
    Verdict.NONFINITE: "finite losses from now on",
    Verdict.SPIKE: "a loss that stays where it is: then its level is another, and it was no spike",
    Verdict.PLATEAU: "an improvement whose lower bound is above 0.03 nats per e-fold of steps",
    Verdict.GRADIENT_EXPLOSION: "gradient norms back where they were, without a hand on the job",
    Verdict.GRADIENT_VANISHING: "gradient norms that grow again, or a loss that falls all the same",
    Verdict.PRECISION_OVERFLOW: "a loss scale that stays where it is for a thousand steps",
    Verdict.BAD_DATA: "labels that prove right when they are looked at, or a loss that falls on other data",
    Verdict.OVERFITTING: "a validation loss below its best, for instance after the learning rate has been lowered",
}
