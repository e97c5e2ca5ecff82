"""The small annotation files and literal loops of tests/test_evaluation are used here, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / 'test_evaluation'))
