"""The package under test is beside the tests, not among what is installed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
