"""What the probe costs, measured where it is installed: `steersman bench probe` and the benchmarks use this.

Nothing is imported here: the ears are a process of their own and do without torch.
"""
