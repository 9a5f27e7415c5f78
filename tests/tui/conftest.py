from __future__ import annotations

import sys
from pathlib import Path

# the pictures in docs/images are made from the same scenes, so these are modules and no fixtures
sys.path.insert(0, str(Path(__file__).parents[2]))
