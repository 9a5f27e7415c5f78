"""The names that rules may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FeatureName:
    """One feature as rules know it.

    Attributes:
        name: as in expressions.
        kind: `number` or `bool`.
        text: what it is, with its unit, for people.
    """

    name: str
    kind: str
    text: str


def catalogue() -> dict[str, FeatureName]:
    """Every feature, by name, in the order of docs/rules.md."""
    return {name: FeatureName(name, kind, text) for name, kind, text in _NAMES}


_NAMES: tuple[tuple[str, str, str], ...] = (
    ("step", "number", "last optimizer step"),
    ("points", "number", "points seen since the start"),
    ("since_regime", "number", "points since the present regime began"),
    ("blanked", "bool", "too early in the regime to judge"),
    ("adjusted", "number", "how often our own hand has changed the LR"),
    ("joined", "bool", "the beginning of the job was not seen: what is compared with it is unknown"),
    ("in_turn", "bool", "optimizers step in turn, each on a loss that depends on the other: this one's may rise"),
    ("loss", "number", "last finite loss, the job's own unit"),
    ("loss_smooth", "number", "loss smoothed over some 8 points, the job's own unit"),
    ("z_loss", "number", "highest z score of the loss since the last check"),
    ("jump", "number", "nats by which that loss stood above its location"),
    ("z_gnorm", "number", "highest z score of ln grad norm since the last check"),
    ("cusum", "number", "cumulative sum of the loss's z score; beyond 10 is sustained worsening"),
    ("cusum_gnorm", "number", "the same of ln grad norm"),
    ("up", "number", "nats that the smoothed loss stands above its best"),
    ("above_start", "number", "nats that the smoothed loss stands above its first value"),
    ("overshoot", "number", "nats that the smoothed loss once rose above its first value"),
    ("fell", "number", "nats from the first value down to the best"),
    (
        "affine_up",
        "number",
        "the smoothed loss above its best where losses are not positive, as asinh(loss / 5 sd of the first 50)",
    ),
    ("breakout", "number", "nats by which the last two losses both stand above every one before them"),
    ("breakout_top", "number", "the same of the higher of the two"),
    (
        "rattle",
        "number",
        "mean change from each loss to the next before those two but for a trend, nats; of the first 23 losses",
    ),
    ("breakout_gnorm", "number", "nats by which the last two gradient norms both stand above every one before them"),
    ("lr_surge", "number", "learning rate over its highest before it surged, for 64 points after that"),
    ("surge_points", "number", "points since then"),
    ("surge_top", "number", "nats by which two losses in a row stood above where the loss was when the rate surged"),
    ("surge_stands", "number", "the same of the mean of the last eight losses"),
    ("surge_noise", "number", "standard deviation of single losses before the rate surged"),
    ("knee", "number", "fall of the last four losses over the steepest fall that four ever had"),
    ("loss_first", "number", "first loss, the job's own unit"),
    ("loss_zero_run", "number", "losses of exactly zero in a row, up to now"),
    ("loss_zeros_earlier", "number", "losses of exactly 0.0 before that"),
    ("gnorm_zero_run", "number", "points in a row in which the gradient norm has been exactly 0.0"),
    ("loss_before_zero", "number", "last loss that was not exactly zero, the job's own unit"),
    ("gnorm_change", "number", "nats that the smoothed grad norm stands above its start"),
    ("unrecovered", "number", "points since a spike from which the loss has not come back; 0 where there is none"),
    (
        "spikes_recent",
        "number",
        "spikes of loss and grad norm together among the last 500 points, at least ten points apart",
    ),
    ("scale_halvings", "number", "halvings of the loss scale among the last 50 points"),
    ("clip_share", "number", "share of gradients that were clipped, over some 32 points"),
    ("stale", "number", "squared grad norm over its mean with Adam's memory of 1,000 steps"),
    ("drought", "number", "steps for which that was below 0.2 until just now"),
    ("offset", "bool", "the loss has a constant in it that hides its progress: what it gained is a small part of it"),
    ("gnorm_noise", "number", "sd of single points of ln grad norm around their location"),
    ("noise", "number", "sd of single points of log-loss around their location, nats"),
    ("i", "number", "improvement rate: nats per e-fold of steps over the last half of the regime"),
    ("i_lo", "number", "its lower bound, 95 % one-sided"),
    ("i_up", "number", "its upper bound, 95 % one-sided"),
    ("mk", "number", "Mann-Kendall S over 16 blocks: 38 or more is rising, -38 or less is falling"),
    ("span", "number", "e-folds of steps that the trend covers"),
    ("c", "number", "mean hypergradient cosine of the regime, -1 to 1"),
    ("t_c", "number", "its t statistic"),
    ("n_c", "number", "samples it is made of"),
    ("c_own", "number", "mean cosine of a step and the descent direction of the gradient it was made with"),
    ("r", "number", "relative step |du| / |theta|"),
    ("r_top", "number", "highest relative step of the regime"),
    ("p_low", "number", "learned: probability that a much higher LR would end better"),
    ("p_high", "number", "learned: probability that a much lower LR would end better"),
    ("octaves", "number", "learned: log2 of the LR in force over the best one"),
    (
        "travel",
        "number",
        "least distance from the first weights seen, in their own length, from the growth of the norm",
    ),
    (
        "pace",
        "number",
        "that distance drawn out to the horizon as a random walk: travel sqrt(horizon / step), a least R",
    ),
    ("horizon", "number", "steps that R_assumed counts over"),
    ("R", "number", "r sqrt(T) over the planned steps; unknown where the job has no plan"),
    ("R_assumed", "number", "the same over the planned steps, or over 1,000, or over those taken if they are more"),
    ("rho", "number", "realised over predicted decrease of the loss over 8 samples"),
    ("promise", "number", "decrease that the steps of the horizon promise to first order, over the loss"),
    ("progress", "number", "share of the planned steps taken; unknown without a plan"),
    ("lr", "number", "learning rate of the first group, as in force"),
    ("lr_share", "number", "that rate over its highest so far"),
    ("lr_peak", "number", "highest learning rate of the first group so far"),
    ("warmup_ratio", "number", "steps taken over the length of the warm-up, 1 in it; unknown where there was none"),
    ("lr_zero_share", "number", "share of points at a rate of zero"),
    ("lr_zero_run", "number", "points in a row, up to now, at a rate of zero"),
    ("warmup", "bool", "the LR has only risen so far, and still does"),
    ("decaying", "bool", "the LR is 5 % or more below the highest of its regime"),
    ("nonfinite_loss", "number", "losses in a row, up to now, that are not finite"),
    ("nonfinite_loss_recent", "number", "losses that were not finite among the last 50"),
    ("nonfinite_gnorm", "number", "grad norms in a row, up to now, that are not finite"),
    ("nonfinite_gnorm_recent", "number", "grad norms that were not finite among the last 50"),
    ("v_up", "number", "last three evaluations above those around the best, in standard errors; set that rose most"),
    ("v_gain", "number", "the same in percent of the best"),
    ("v_last", "number", "the last evaluation above the best, in percent of the best"),
    ("gap", "number", "nats of validation above training loss, of that set"),
    ("gap_rise", "number", "nats by which that gap has grown since the best evaluation"),
    ("evals", "number", "evaluations of that set"),
    ("evals_since_best", "number", "evaluations of that set since its best"),
)
