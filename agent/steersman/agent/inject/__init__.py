"""What is carried into a job: by its environment under `steersman run`, by force under `steersman attach`."""

from steersman.agent.inject.luggage import compile_for, pack

__all__ = ["compile_for", "pack"]
