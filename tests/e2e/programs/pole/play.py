"""An agent learns to balance a pole on a cart.

    cd pole && python play.py --episodes 2500 --out runs/pole

Writes a line for each episode into OUT/log.jsonl. A file OUT/stop, with a number of episodes in it or empty, ends it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import time
from pathlib import Path

import torch
from agent import Agent  # type: ignore[attr-defined]  # pyright: ignore  # the one beside this file


class Cart:
    """A pole on a cart, by Euler's method."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.reset()

    def reset(self) -> list[float]:
        self.state = [self.draw.uniform(-0.05, 0.05) for _ in range(4)]
        return self.state

    def step(self, action: int) -> tuple[list[float], bool]:
        x, speed, angle, turning = self.state
        force = 10.0 if action else -10.0
        push = (force + 0.05 * turning**2 * math.sin(angle)) / 1.1
        bend = (9.8 * math.sin(angle) - math.cos(angle) * push) / (0.5 * (4 / 3 - 0.1 * math.cos(angle) ** 2 / 1.1))
        moved = push - 0.05 * bend * math.cos(angle) / 1.1
        self.state = [x + 0.02 * speed, speed + 0.02 * moved, angle + 0.02 * turning, turning + 0.02 * bend]
        return self.state, abs(self.state[0]) > 2.4 or abs(self.state[2]) > 0.21


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--episodes", type=int, default=2500)
    parser.add_argument("--longest", type=int, default=30)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds a episode that the data takes to come")
    parser.add_argument("--out", type=Path, default=Path("runs/pole"))
    args = parser.parse_args()
    torch.manual_seed(5)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    agent, cart = Agent(args.lr), Cart(5)
    with (args.out / "log.jsonl").open("w", buffering=1) as log:
        episode = 0
        for episode in range(1, args.episodes + 1):
            time.sleep(args.pause)
            state = cart.reset()
            for _ in range(args.longest):
                state, fallen = cart.step(agent.act(state))
                agent.rewards.append(1.0)
                if fallen:
                    break
            steps = len(agent.rewards)
            log.write(json.dumps({**agent.learn(), "steps": steps}) + "\n")
            stop = args.out / "stop"
            if stop.exists() and episode >= int(stop.read_text() or 0):
                break
        weights = b"".join(p.detach().numpy().tobytes() for p in agent.policy.parameters())
        log.write(json.dumps({"epochs": episode, "weights": hashlib.sha256(weights).hexdigest()}) + "\n")


if __name__ == "__main__":
    main()
