"""The errors and the warning that a user of seg_lib may meet.

Each message is one sentence that says *what* is wrong, *where* (file, case, row, voxel) and *what
to do*. The command line prints it without a traceback; everything else is a bug and shows one.
"""


class InputError(ValueError):
    """Something handed in (a file, a folder, an argument) cannot be used as it is."""


class TrainingError(RuntimeError):
    """Training cannot go on, for example because the loss is no longer finite."""


class Interrupted(Exception):
    """A training was asked to stop, has saved, and is not complete; it can be resumed."""


class DataWarning(UserWarning):
    """A file can be used, but probably is not what its owner thinks it is."""
