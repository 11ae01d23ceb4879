"""With this folder in PYTHONPATH, ``--profile smoke`` takes seconds (see conftest.py)."""

import os

from seg_lib.course import profiles

SIZES = {
    "network": "resnet18_unet", "encoder_weights": None, "loss": "dice_ce", "optimizer": "adamw",
    "batch_size": 4, "learning_rate": 1e-3, "size": 32, "copies": 0, "preset": "small",
    "epochs": int(os.environ["SEG_LIB_TEST_EPOCHS"]),
}  # fmt: skip
profiles.TABLE["06"]["smoke"] = profiles.TABLE["06"]["smoke"] | SIZES
