"""The agent, and what a training script needs of it.

from steersman.agent import watch
"""

from steersman.agent.limits import Limits
from steersman.agent.watch import Watch, watch

__all__ = ["Limits", "Watch", "watch"]
