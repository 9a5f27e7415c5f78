"""What `steersman run` carries into a job by its environment."""

from steersman.agent.inject.luggage import pack

__all__ = ["pack"]
