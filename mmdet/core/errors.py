"""Everything that a user can put right. A command shows such an error as one sentence, without a
traceback; anything else that is raised is a fault of this toolbox."""


class VFEError(Exception):
    """Base of all of them: the message says what was given, what is legal and what to do next."""


class ConfigError(VFEError, ValueError):
    """A mistake in a config or in the arguments of a command."""


class CheckpointError(VFEError, RuntimeError):
    """A checkpoint is absent, damaged, unsafe, or does not fit the model."""


class DownloadError(VFEError, RuntimeError):
    """An address could not be fetched, or what came is not what its name promises."""


class LaunchError(VFEError, RuntimeError):
    """The processes of a run were not started as the launcher needs it."""


class NonFiniteLossError(VFEError, RuntimeError):
    """The loss became NaN or infinite."""


class AnnotationError(VFEError, ValueError):
    """An annotation file that breaks a rule; names the file, the entry and the rule."""


class UndecodableFrameError(VFEError, RuntimeError):
    """A frame file that exists but is no whole image. `path` names it."""

    def __init__(self, message: str, path: str = '') -> None:
        super().__init__(message)
        self.path = path


class EvaluationError(VFEError, ValueError):
    """Results, a motion file, a frame list or classes that do not fit the annotation file."""


class VideoError(VFEError, RuntimeError):
    """A source that gives no frames, or not such as were promised."""


class LogError(VFEError, ValueError):
    """A training log that is none, or has nothing in it."""


class ConversionError(VFEError, ValueError):
    """Input that is not what its format says; names the file and the row or element."""


class UnsafePathError(VFEError, ValueError):
    """A path from a file or a client that leads out of the folder it is meant for."""


class WriteError(VFEError, OSError):
    """A file cannot be written: which, and why. What was there before is still whole."""


class AddressError(VFEError, RuntimeError):
    """A page cannot be served at the address that was asked for."""
