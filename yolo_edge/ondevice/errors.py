"""Errors that are for a person: one line that says what is wrong, where, and what to do."""


class YoloEdgeError(Exception):
    """A job failed for a stated reason. The command line prints the message and exits with `exit_code`."""

    exit_code = 1


class InputError(YoloEdgeError):
    """What the user gave cannot be used: a file, an option, a value."""

    exit_code = 2


class SpecError(InputError):
    """A model's spec is missing, malformed, or does not fit the model it came with."""


class MissingSpecError(SpecError):
    """A model carries no spec: another program wrote it."""


class MissingRuntimeError(InputError):
    """What runs a model is not installed."""
