"""How big each lesson is: one literal table, (notebook, profile) to sizes and budget.

``budget_s`` and ``budget_mb`` are what the lesson may take, in seconds and in 10^6 bytes, on two
CPU cores (``smoke``, ``laptop``) or one GPU (``gpu``, ``paper``). The runner fails a lesson that
takes more than 1.5 times its budget. ``size`` is in pixels per side (slices) or in voxels along
x, y and z (volumes).
"""

from dataclasses import dataclass, field
from types import MappingProxyType

from seg_lib.errors import InputError

# Longest budget of a lesson, in seconds. "paper" is a preset with its honest price, not a CI job.
LONGEST_S = {"smoke": 60, "laptop": 300, "gpu": 1200, "paper": float("inf")}
PROFILES = tuple(LONGEST_S)
WHERE = {
    "smoke": "two cores",
    "laptop": "two cores",
    "gpu": "one GPU",
    "paper": "one GPU",
}

# fmt: off
TABLE = {
    "00": {
        "smoke": {"n_cases": 2, "size": (64, 64, 24), "budget_s": 20, "budget_mb": 900},
        "laptop": {"n_cases": 3, "size": (96, 96, 48), "budget_s": 30, "budget_mb": 1000},
        "gpu": {"n_cases": 6, "size": (128, 128, 48), "budget_s": 60, "budget_mb": 2000},
        "paper": {"n_cases": 6, "size": (128, 128, 48), "budget_s": 60, "budget_mb": 2000},
    },
    "03": {
        "smoke": {"n_cases": 4, "size": (64, 64, 24), "budget_s": 30, "budget_mb": 1000},
        "laptop": {"n_cases": 8, "size": (96, 96, 48), "budget_s": 60, "budget_mb": 1200},
        "gpu": {"n_cases": 16, "size": (128, 128, 48), "budget_s": 120, "budget_mb": 2500},
        "paper": {"n_cases": 16, "size": (128, 128, 48), "budget_s": 120, "budget_mb": 2500},
    },
    "04": {
        "smoke": {"n_cases": 6, "size": 96, "copies": 2, "budget_s": 30, "budget_mb": 1000},
        "laptop": {"n_cases": 12, "size": 128, "copies": 4, "budget_s": 60, "budget_mb": 1200},
        "gpu": {"n_cases": 48, "size": 256, "copies": 4, "budget_s": 180, "budget_mb": 2500},
        "paper": {"n_cases": 48, "size": 256, "copies": 4, "budget_s": 180, "budget_mb": 2500},
    },
    "06": {
        "smoke": {
            "n_cases": 48, "size": 64, "copies": 0, "network": "resnet18_unet",
            "encoder_weights": None, "epochs": 8, "batch_size": 8, "learning_rate": 1e-3,
            "minutes": 0.6, "budget_s": 60, "budget_mb": 1800,
        },
        "laptop": {
            "n_cases": 120, "size": 96, "copies": 0, "network": "resnet18_unet",
            "encoder_weights": None, "epochs": 20, "batch_size": 8, "learning_rate": 1e-3,
            "minutes": 4, "budget_s": 240, "budget_mb": 2200,
        },
        "gpu": {
            "n_cases": 806, "size": 256, "copies": 4, "network": "resnet50_unet",
            "encoder_weights": None, "epochs": 20, "batch_size": 16, "learning_rate": 1e-4,
            "minutes": 15, "budget_s": 1200, "budget_mb": 12000,
        },
        # Source 002: 708 train and 98 test slices, 5 stored images of each train slice, 256 px,
        # ImageNet encoder, binary cross-entropy, Adam 1e-4, 100 epochs on a laptop's RTX 3050.
        # The time is an estimate: 443 batches of 8 an epoch, at about 3 a second on that card.
        "paper": {
            "n_cases": 806, "size": 256, "copies": 4, "network": "resnet50_unet",
            "encoder_weights": "imagenet", "epochs": 100, "batch_size": 8, "learning_rate": 1e-4,
            "minutes": 300, "budget_s": 18000, "budget_mb": 12000,
        },
    },
    "12": {
        "smoke": {"n_cases": 4, "size": (64, 64, 24), "budget_s": 30, "budget_mb": 1000},
        "laptop": {"n_cases": 8, "size": (96, 96, 48), "budget_s": 60, "budget_mb": 1200},
        "gpu": {"n_cases": 16, "size": (128, 128, 48), "budget_s": 120, "budget_mb": 2500},
        "paper": {"n_cases": 16, "size": (128, 128, 48), "budget_s": 120, "budget_mb": 2500},
    },
}
# fmt: on


@dataclass(frozen=True)
class Settings:
    """The sizes of one lesson in one profile; each is an attribute: ``settings.batch_size``."""

    notebook: str
    profile: str
    budget_s: float
    budget_mb: float
    sizes: MappingProxyType = field(repr=False)

    def __getattr__(self, name: str):
        """A size by its name; called only for names that are not fields."""
        if name.startswith("_") or name == "sizes":
            raise AttributeError(name)
        if name not in self.sizes:
            raise AttributeError(
                f"lesson {self.notebook}, profile {self.profile}: no size {name!r}; "
                f"there are {', '.join(self.sizes)}."
            )
        return self.sizes[name]

    def budget_line(self) -> str:
        """What the lesson will cost, in a line for a person."""
        return (
            f"Lesson {self.notebook}, profile {self.profile}: about {self.budget_s:.0f} s and "
            f"{self.budget_mb / 1000:.1f} GB on {WHERE[self.profile]}"
        )


def settings(notebook: str, profile: str) -> Settings:
    """The row of the table for a notebook and a profile.

    Args:
        notebook: two digits, as in the file name.
        profile: one of ``PROFILES``.

    Raises:
        InputError: the notebook or the profile is not in the table.
    """
    if notebook not in TABLE:
        raise InputError(f"no lesson {notebook!r} in the table; there are {', '.join(TABLE)}.")
    if profile not in TABLE[notebook]:
        raise InputError(f"no profile {profile!r}; choose one of {', '.join(TABLE[notebook])}.")
    row = dict(TABLE[notebook][profile])
    budget_s, budget_mb = row.pop("budget_s"), row.pop("budget_mb")
    return Settings(notebook, profile, budget_s, budget_mb, MappingProxyType(row))
