"""Say whether training and testing can work here: needs the standard library only."""

import os
import sys

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, REPO)  # this package may not be installed, or another one of its name may be
from mmdet.programs.commands.doctor import main  # noqa: E402

sys.path.remove(REPO)

if __name__ == '__main__':
    main()
