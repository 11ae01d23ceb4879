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
SMALL = {"n_cases": 3, "size": (96, 96, 40)}
USUAL = {"n_cases": 8, "size": (128, 128, 64)}
LARGE = {"n_cases": 16, "size": (192, 192, 96)}
QUICK = {"n_cases": 12, "phantom_size": 128, "size": 64, "copies": 2}
SLICES = {"n_cases": 24, "phantom_size": 256, "size": 128, "copies": 4}
MANY = {"n_cases": 96, "phantom_size": 512, "size": 256, "copies": 4}

# Source 002 trained with BCE and Adam 1e-4 for 100 epochs; DiceCE and AdamW learn more in few.
NETWORK = {
    "network": "resnet50_unet",
    "encoder_weights": None,
    "loss": "dice_ce",
    "optimizer": "adamw",
    "batch_size": 8,
    "copies": 0,  # augmented images of each slice in an epoch, beside the first
}

TABLE = {
    "00": {
        "smoke": SMALL | {"budget_s": 30, "budget_mb": 1000},
        "laptop": USUAL | {"budget_s": 60, "budget_mb": 1000},
        "gpu": LARGE | {"budget_s": 120, "budget_mb": 2000},
        "paper": LARGE | {"budget_s": 120, "budget_mb": 2000},
    },
    "03": {
        "smoke": QUICK | {"budget_s": 30, "budget_mb": 1000},
        "laptop": SLICES | {"budget_s": 60, "budget_mb": 1200},
        "gpu": MANY | {"budget_s": 180, "budget_mb": 4000},
        "paper": MANY | {"n_cases": 806, "budget_s": 900, "budget_mb": 12000},
    },
    "04": {
        "smoke": QUICK | {"budget_s": 40, "budget_mb": 1200},
        "laptop": SLICES | {"budget_s": 60, "budget_mb": 1500},
        "gpu": MANY | {"budget_s": 240, "budget_mb": 4000},
        "paper": MANY | {"n_cases": 806, "budget_s": 1800, "budget_mb": 12000},
    },
    "06": {
        "smoke": NETWORK
        | {"network": "resnet18_unet", "n_cases": 120, "phantom_size": 96, "size": 96}
        | {"epochs": 11, "learning_rate": 1e-3, "budget_s": 60, "budget_mb": 2000},
        "laptop": NETWORK
        | {"n_cases": 240, "phantom_size": 96, "size": 96}
        | {"epochs": 16, "learning_rate": 1e-3, "budget_s": 290, "budget_mb": 3500},
        "gpu": NETWORK
        | {"n_cases": 944, "phantom_size": 512, "size": 256, "batch_size": 16}
        | {"epochs": 60, "learning_rate": 1e-3, "budget_s": 1200, "budget_mb": 12000},
        # Source 002: 708 training slices (three quarters of 944), each five times in an epoch, 256
        # px, ImageNet encoder, binary cross-entropy, Adam 1e-4, 100 epochs of 443 batches of 8.
        # Budget: a guess for a laptop's GPU, not measured.
        "paper": NETWORK
        | {"n_cases": 944, "phantom_size": 512, "size": 256, "encoder_weights": "imagenet"}
        | {"loss": "bce", "optimizer": "adam", "epochs": 100, "learning_rate": 1e-4, "copies": 4}
        | {"budget_s": 18000, "budget_mb": 12000},
    },
    "12": {
        "smoke": SMALL | {"n_cases": 6, "budget_s": 30, "budget_mb": 1000},
        "laptop": USUAL | {"n_cases": 20, "budget_s": 60, "budget_mb": 1000},
        "gpu": LARGE | {"n_cases": 40, "budget_s": 240, "budget_mb": 2000},
        "paper": LARGE | {"n_cases": 40, "budget_s": 240, "budget_mb": 2000},
    },
}


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
