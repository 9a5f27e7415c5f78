"""Where the numbers of one sample came from, in words: found out when somebody asks, and never otherwise."""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch

from .gathered import Gathered
from .origin import Origin
from .rows import CALLS, GRAD_NORM, LOSS, STEP_TIME

# What is no code of the job's: ours, torch's, and what Python and torch make as they go.
_OURS = (
    os.path.dirname(os.path.abspath(__file__)) + os.sep,
    os.path.dirname(os.path.abspath(torch.__file__)) + os.sep,
    "<frozen ",
    "<eval_with_key>",
)
_MOST_PLACES = 3
_MOST_GROUPS = 8
_MOST_WORDS = 480
_LIBRARIES = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)


class Source(NamedTuple):
    """Where one number came from.

    Attributes:
        series: its name, or that of what the number belongs to.
        column: where the row has it; -1 where it is no number of the row.
        words: where it came from.
    """

    series: str
    column: int
    words: str


def caller(frame: Any = None) -> str:
    """Who called, as `FILE:LINE in FUNCTION`: the nearest that is neither torch nor ours.

    Where that is a library, the nearest beyond the libraries is said as well.
    """
    looked: Any = sys._getframe(1) if frame is None else frame
    nearest = ""
    while looked is not None:
        name = looked.f_code.co_filename
        if not (name.startswith(_OURS) or _is_torch(looked)):
            library = any(part in name for part in _LIBRARIES)
            place = f"{_short(name)}:{looked.f_lineno} in {looked.f_code.co_name}"
            if not nearest:
                nearest = place
                if not library:
                    return nearest
            elif not library:
                return f"{nearest}, called from {place}"
        looked = looked.f_back
    return nearest or "code that has no file"


def _is_torch(frame: Any) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return name == "torch" or name.startswith("torch.")


def _short(name: str) -> str:
    """A path as somebody in the job's folder would write it, or from its library on."""
    for part in _LIBRARIES:
        if part in name:
            return name.rsplit(part, 1)[1]
    try:
        here = os.getcwd() + os.sep
    except OSError:
        return name
    return name[len(here) :] if name.startswith(here) else name


class Answer(NamedTuple):
    """What is said to those who asked, once the row knows its numbers."""

    identities: Sequence[str]
    sources: Sequence[Source]


class Inquiry:
    """A question that waits for a round, and what was seen of the round.

    Args:
        identity: whose question it is.

    Attributes:
        identities: those of all who asked meanwhile: they get the same answer.
        open: whether what happens is being looked at.
        since: the round in which that began, which is not looked at itself: it was half over.
    """

    def __init__(self, identity: str) -> None:
        self.identities = [identity]
        self.open = False
        self.since = -1
        self._validated: Dict[str, str] = {}
        self.again()

    def again(self) -> None:
        """Forget what was seen of a round: it gave no sample, and the next will do."""
        self._norm = ""
        self._backwards: List[str] = []
        self._origins: List[Optional[Origin]] = []
        self._clipped: List[str] = []
        self._steps: List[Source] = []
        self._loss: Optional[str] = None

    def place(self) -> str:
        """Who called what is being called."""
        return caller()

    # what is seen, in the order in which it happens

    def backward(self, made: Optional[Origin]) -> None:
        """Backward was called on a loss made so."""
        self._backwards.append(caller())
        self._origins.append(made)

    def clipped(self) -> None:
        """The job clips."""
        self._clipped.append(caller())

    def validated(self, function: str) -> None:
        """A loss function ran without grad."""
        self._validated["val_loss"] = f"{function} ran without grad, called at {caller()}"

    def logged(self, name: str) -> None:
        """The script has logged a validation loss."""
        self._validated[name] = f"logged by the script at {caller()}"

    def loss(self, gathered: Gathered) -> None:
        """The backward calls of the round are over."""
        calls, divisor = gathered.calls, gathered.divisor
        words = [f"the tensor that backward was called on at {_places(self._backwards)}"]
        if not gathered.scalars:
            words = [f"unknown: backward was called on no scalar of torch's, at {_places(self._backwards)}"]
        elif gathered.lost:
            words.append("unknown: more values were on their way from the device than there is room for")
        elif gathered.scalars > 1:
            of = f"over {calls} backward calls" if calls == gathered.scalars else f"of {gathered.scalars} losses"
            words[0] = f"the sum {of}, at {_places(self._backwards)}"
            if gathered.summed:
                words.append("nothing shows that each was divided by their number")
            else:
                words.append(f"each had been divided by {divisor:g}, so that it is the mean of what was divided")
        if gathered.scaled:
            words.append("GradScaler's scale is undone")
        if gathered.slots:
            words.append("copied from the device without waiting for it")
        for made in _different(self._origins):
            words.append(
                f"made by {made.function}, called at {made.place}" if made.place else f"made by {made.function}"
            )
        if None in self._origins and gathered.scalars:
            words.append(
                "which of torch's loss functions made it is not known" if calls == 1 else "others by what is not known"
            )
        self._loss = "; ".join(words)

    def norm(self, words: str) -> None:
        """How the gradient's norm was come by."""
        self._norm = self._norm or words

    def clip_words(self, most: float) -> str:
        """Of a norm that the job's own clipping had."""
        to = f", to {most:g}" if most > 0 else ""
        return f"what the job's own clipping computed, before it clipped{to}, at {_places(self._clipped)}"

    def step(
        self, optimizer: Any, number: int, groups: Sequence[Tuple[int, Tuple[int, int], Any]], laid: bool, closure: bool
    ) -> None:
        """An optimizer has made its step."""
        kind = type(optimizer)
        name = f"{kind.__module__}.{kind.__qualname__}"
        with_closure = ", with a closure" if closure else ""
        self._steps.append(Source("optimizer", -1, f"{name} (optimizer {number}), stepped at {caller()}{with_closure}"))
        prefix = "" if number == 0 else f"{number}."
        for count, (index, (column, own), settings) in enumerate(groups):
            group = f"{prefix}{index}"
            if count == _MOST_GROUPS:
                self._steps.append(Source(f"lr/{group}", -1, "this group and those after it are read in the same way"))
                break
            lr = settings.get("lr")
            what = f"a tensor on {lr.device}" if isinstance(lr, torch.Tensor) else f"a {type(lr).__name__}"
            read = f'param_groups[{index}]["lr"] of optimizer {number}, {what}, read after the step'
            if laid:
                read += ", while an overlay lay on it"
                self._steps.append(Source(f"own_lr/{group}", own, "what stood there before the overlay was laid on"))
            self._steps.append(Source(f"lr/{group}", column, read))

    def sources(self, known: Callable[[str], int]) -> List[Source]:
        """The answer; `known` gives the column of a name, -1 where there is none."""
        found = [one for one in self._steps if one.series == "optimizer"]
        if self._loss is None:
            found.append(Source("loss", -1, "unknown: no backward call was seen between this step and the last"))
        else:
            found.append(Source("loss", LOSS, self._loss))
            found.append(Source("backward_calls", CALLS, "torch.autograd.backward as it was called by this thread"))
        if self._norm:
            found.append(Source("grad_norm", GRAD_NORM, self._norm))
        found += [one for one in self._steps if one.series != "optimizer"]
        found.append(Source("step_time", STEP_TIME, "from the end of the step before to the end of this one"))
        for name in ("batch_size", "targets"):
            if self._origins and None not in self._origins and known(name) >= 0:
                found.append(Source(name, known(name), "the shapes of what the loss function was given"))
        for name, words in self._validated.items():
            found.append(Source(name, known(name), f"{words}; their mean since the step before"))
        if not self._validated:
            found.append(Source("val_loss", -1, "none came with this sample"))
        return [Source(series, column, words[:_MOST_WORDS]) for series, column, words in found]


def _places(places: Sequence[str]) -> str:
    different = list(dict.fromkeys(places))
    more = len(different) - _MOST_PLACES
    text = " and ".join(different[:_MOST_PLACES]) or "a place nobody saw"
    return text if more <= 0 else f"{text} and {more} more"


def _different(origins: Sequence[Optional[Origin]]) -> List[Origin]:
    return list({(one.function, one.place): one for one in origins if one is not None}.values())[:_MOST_PLACES]
