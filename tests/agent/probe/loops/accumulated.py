"""Several backward calls a step."""

from __future__ import annotations

from tests.agent.probe.loops.loop import Loop


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
