"""The agent: a policy, and how it learns from an episode."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Categorical


class Agent:
    """REINFORCE with returns set to mean 0 and deviation 1."""

    def __init__(self, lr: float, gamma: float = 0.99) -> None:
        self.policy = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=lr)
        self.gamma = gamma
        self.chances: list[torch.Tensor] = []
        self.rewards: list[float] = []

    def act(self, state: list[float]) -> int:
        choice = Categorical(logits=self.policy(torch.tensor(state)))
        action = choice.sample()
        self.chances.append(choice.log_prob(action))
        return int(action)

    def learn(self) -> dict[str, float]:
        total = 0.0
        returns: list[float] = []
        for reward in reversed(self.rewards):
            total = reward + self.gamma * total
            returns.insert(0, total)
        goals = torch.tensor(returns)
        goals = (goals - goals.mean()) / (goals.std() + 1e-8)
        loss = torch.stack([-chance * goal for chance, goal in zip(self.chances, goals, strict=True)]).sum()
        self.optimizer.zero_grad()
        loss.backward()
        norm = sum(float(p.grad.double().pow(2).sum()) for p in self.policy.parameters() if p.grad is not None) ** 0.5
        self.optimizer.step()
        self.chances, self.rewards = [], []
        return {"loss": loss.item(), "grad_norm": norm, "lr": self.optimizer.param_groups[0]["lr"]}
