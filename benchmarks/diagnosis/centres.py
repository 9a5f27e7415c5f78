"""Where the grid of learning rates of each task and optimizer has its middle, as a power of two.

From one coarse pass at factors of four; no rule sees them, and the labels come from the sweep.
"""

from __future__ import annotations

_TABLE = {
    "Q": {"sgd": 0, "sgdm": -3, "adam": -6, "adamw": -6, "rmsprop": -8, "adagrad": -2, "adadelta": 1},
    "QF": {"sgd": 0, "sgdm": -3, "adam": -6},
    "LR": {"sgd": 4, "sgdm": 1, "adam": -2, "adamw": -4, "rmsprop": -2, "adagrad": 3, "adadelta": 6},
    "M1": {"sgd": -2, "sgdm": -4, "adam": -7, "adamw": -6, "rmsprop": -7, "adagrad": -3, "adadelta": 2},
    "M2": {"sgd": 0, "sgdm": -4, "adam": -6, "adamw": -6, "rmsprop": -6, "adagrad": -2, "adadelta": 3},
    "M2C": {"sgdm": -4, "adamw": -6},
    "MF": {"sgd": 3, "sgdm": 0, "adam": -6, "adamw": -6, "rmsprop": -6, "adagrad": 0, "adadelta": 4},
    "T": {"sgdm": -3, "adamw": -8, "adamw95": -8},
    "R": {"sgd": -3, "sgdm": -6, "adam": -8, "adamw": -8, "rmsprop": -9, "adagrad": -4, "adadelta": 0},
    "AE": {"sgd": 5, "sgdm": 1, "adam": -6, "adamw": -6, "rmsprop": -7, "adagrad": -4, "adadelta": 3},
}
CENTRES = {(task, optimizer): power for task, row in _TABLE.items() for optimizer, power in row.items()}
