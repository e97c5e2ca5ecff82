"""The tiny videos and detectors of tests/test_apis are used here, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / 'test_apis'))
