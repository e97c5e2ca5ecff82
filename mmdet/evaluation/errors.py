"""The error of everything that a user can put right: files and options given to the evaluation."""


class EvaluationError(ValueError):
    """Results, a motion file, a frame list or classes that do not fit the annotation file."""
