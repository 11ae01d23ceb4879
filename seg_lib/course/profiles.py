"""The profiles of a lesson: its sizes and its budget, from the table in `seg_lib.course.sizes`."""

from dataclasses import dataclass, fields
from types import MappingProxyType

from seg_lib.course.sizes import TABLE
from seg_lib.errors import InputError
from seg_lib.schedules import TrainConfig

# Names of sizes that are settings of the training.
OF_TRAINING = {entry.name for entry in fields(TrainConfig)} - {"minutes", "seed"}

# Longest budget of a lesson, in seconds. "paper" is a preset with its honest price, not a CI job.
LONGEST_S = {"smoke": 60, "laptop": 300, "gpu": 1200, "paper": float("inf")}
PROFILES = tuple(LONGEST_S)
ON_CPU = ("smoke", "laptop")


@dataclass(frozen=True)
class Settings:
    """One row of the table; each size is an attribute: ``settings.batch_size``."""

    notebook: str
    profile: str
    sizes: MappingProxyType

    def __getattr__(self, name: str):
        """A size by its name; called only for names that are not fields."""
        if name.startswith("_") or name == "sizes":  # half-made, while it is being copied
            raise AttributeError(name)
        if name in self.sizes:
            return self.sizes[name]
        row = f"lesson {self.notebook}, profile {self.profile}"
        raise AttributeError(f"{row}: no size {name!r}; there are {', '.join(self.sizes)}.")

    def train_config(self, seed: int, minutes: float | None = None) -> TrainConfig:
        """The sizes that are settings of a training, as such."""
        chosen = {name: value for name, value in self.sizes.items() if name in OF_TRAINING}
        chosen = {"checkpoint_every": max(1, self.epochs // 4)} | chosen
        return TrainConfig(seed=seed, minutes=minutes, **chosen)

    def budget_line(self) -> str:
        """What the lesson will cost, in a line for a person."""
        where = "two cores" if self.profile in ON_CPU else "one GPU"
        return (
            f"Lesson {self.notebook}, profile {self.profile}: about {self.budget_s:.0f} s and "
            f"{self.budget_mb / 1000:.1f} GB on {where}"
        )


def settings(notebook: str, profile: str) -> Settings:
    """The row of the table for a notebook (two digits) and a profile (one of ``PROFILES``).

    Raises:
        InputError: the notebook or the profile is not in the table.
    """
    if notebook not in TABLE:
        raise InputError(f"no lesson {notebook!r} in the table; there are {', '.join(TABLE)}.")
    if profile not in TABLE[notebook]:
        raise InputError(f"no profile {profile!r}; choose one of {', '.join(TABLE[notebook])}.")
    return Settings(notebook, profile, MappingProxyType(TABLE[notebook][profile]))
