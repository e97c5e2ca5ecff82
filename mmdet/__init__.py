"""vfe.pytorch: video object detection. The distribution is `vfe-pytorch`, the package `mmdet`."""

import warnings
from importlib import metadata

__version__ = '3.0.0.dev0'


def _warn_of_namesake() -> None:
    """Say so when OpenMMLab's `mmdet` is installed too: either may be imported elsewhere."""
    try:
        other = metadata.distribution('mmdet')
    except metadata.PackageNotFoundError:
        return
    warnings.warn(
        f'Two packages are called mmdet: vfe.pytorch (in use, {__file__}) and '
        f'OpenMMLab mmdet {other.version} ({other.locate_file("mmdet")}). '
        f'Use an environment without the latter: pip uninstall mmdet.',
        stacklevel=2,
    )


_warn_of_namesake()
