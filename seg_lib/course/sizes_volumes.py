"""How big the lessons on volumes are: rows of the table of `seg_lib.course.sizes`."""

# fmt: off
PATCHES = {
    "network": "unet3d", "preset": "small", "loss": "dice_ce_of_batch", "optimizer": "adamw",
    "learning_rate": 4e-3, "weight_decay": 1e-5, "spacing_mm": None, "box": "lungs",
    "size": (160, 160, 32), "share_of_time": 0.2, "timed_patch": (64, 32, 32),
    "timed_preset": "paper", "patch": (32, 32, 16), "batch_size": 4, "patches": 16,
    "positives": 0.5, "jitter": 0.0, "validate_every": 8, "precision": "fast",
    "ema_decay": 0.0,
}

TEXT = {"size": (96, 96, 32)}

NOTED = PATCHES | {
    "size": (96, 96, 32), "positives": 0.7, "jitter": 0.4, "other_note": 0.5, "learning_rate": 3e-3,
    "align_epochs": 20, "image_epochs": 4, "epochs": 5, "language_model": "", "llama_steps": 150,
    "encoder": {"order": "note_first", "prompt_std": 0.1}, "warmup_epochs": 1.0,
}

# shares: of the training patients; seeds: trainings of each share; n_judged, n_external: patients
# of the perturbations and of each other hospital.
LESS = NOTED | {"shares": (0.2, 0.5, 1.0), "seeds": (0,), "overlap": 0.25}
del LESS["align_epochs"]

# Source 004: volumes cut around the pancreas. share: of the classification in the loss.
PANCREAS = PATCHES | {
    "size": (96, 64, 40), "patch": (64, 48, 32), "learning_rate": 4e-3, "weight_decay": 1e-2,
    "batch_size": 2, "patches": 2, "positives": 0.8, "jitter": 0.3, "share": 0.3,
    "ramp_epochs": 1, "head": "together", "optimizer": "adamw", "validate_every": 2, "n_judged": 4,
    "schedule": "warmup_cosine", "momentum": 0.9,
}
for name in ("network", "loss", "box", "share_of_time", "timed_patch", "timed_preset"):
    del PANCREAS[name]

VOLUMES = {
    "10": {
        "smoke": PATCHES
        | {"size": (112, 112, 24), "n_cases": 10, "epochs": 11, "timed_preset": "small"}
        | {"budget_s": 60, "budget_mb": 3500},
        "laptop": PATCHES
        | {"n_cases": 120, "patches": 7, "epochs": 10, "validate_every": 3}
        | {"budget_s": 300, "budget_mb": 4000},
        "gpu": PATCHES
        | {"n_cases": 120, "size": (256, 256, 96), "patch": (96, 96, 64), "epochs": 60}
        | {"preset": "paper", "budget_s": 1200, "budget_mb": 12000},
        # Source 003: 291 volumes, patches of 160 x 160 x 64, a quarter of them positive, one in a
        # batch, AdamW 3e-4, 300 epochs: 20 h on two A40.
        "paper": PATCHES
        | {"n_cases": 291, "size": (512, 512, 160), "patch": (160, 160, 64), "loss": "dice_ce"}
        | {"network": "swin_unetr", "preset": "paper", "batch_size": 1, "patches": 1}
        | {"positives": 0.25, "learning_rate": 3e-4, "weight_decay": 1e-6}
        | {"epochs": 300, "validate_every": 1, "budget_s": 144000, "budget_mb": 48000},
    },
    "11": {
        "smoke": PATCHES
        | {"size": (112, 112, 24), "n_cases": 9, "epochs": 6, "overlaps": (0.0, 0.5)}
        | {"window": (32, 32, 16), "n_judged": 2, "budget_s": 60, "budget_mb": 3500},
        "laptop": PATCHES
        | {"n_cases": 48, "epochs": 6, "window": (32, 32, 16), "n_judged": 3}
        | {"overlaps": (0.0, 0.25, 0.5, 0.7), "budget_s": 300, "budget_mb": 4000},
        "gpu": PATCHES
        | {"n_cases": 120, "size": (256, 256, 96), "patch": (96, 96, 64), "epochs": 30}
        | {"window": (96, 96, 64), "overlaps": (0.0, 0.25, 0.5, 0.7, 0.8)}
        | {"preset": "paper", "n_judged": 24, "budget_s": 1200, "budget_mb": 12000},
        "paper": PATCHES
        | {"n_cases": 291, "size": (512, 512, 160), "patch": (160, 160, 64)}
        | {"window": (160, 160, 64), "overlaps": (0.5, 0.8), "preset": "paper", "epochs": 300}
        | {"n_judged": 24, "budget_s": 144000, "budget_mb": 48000},
    },
    "14": {
        "smoke": TEXT | {"n_cases": 4, "notes": 200, "budget_s": 20, "budget_mb": 1000},
        "laptop": TEXT | {"n_cases": 10, "notes": 1000, "budget_s": 60, "budget_mb": 1000},
        "gpu": TEXT | {"n_cases": 40, "notes": 1000, "budget_s": 240, "budget_mb": 2000},
        "paper": TEXT | {"n_cases": 40, "notes": 1000, "budget_s": 240, "budget_mb": 2000},
    },
    "15": {
        "smoke": NOTED
        | {"n_cases": 14, "align_epochs": 5, "image_epochs": 7, "epochs": 1, "llama_steps": 60}
        | {"budget_s": 60, "budget_mb": 3500},
        "laptop": NOTED | {"n_cases": 100, "budget_s": 300, "budget_mb": 4000},
        "gpu": NOTED
        | {"n_cases": 100, "size": (128, 128, 48), "image_epochs": 20, "epochs": 40}
        | {"budget_s": 1200, "budget_mb": 12000},
        # Source 000: 100 whole volumes, Llama-2-7B, 1000 epochs (18 h, two A40), none image-only.
        "paper": NOTED
        | {"n_cases": 100, "size": (384, 384, 128), "patch": (384, 384, 128), "preset": "paper"}
        | {"batch_size": 2, "patches": 1, "learning_rate": 1e-4, "jitter": 0.0, "image_epochs": 1}
        | {"epochs": 1000, "language_model": "meta-llama/Llama-2-7b-chat-hf", "encoder": {}}
        | {"warmup_epochs": 10, "budget_s": 130000, "budget_mb": 90000},
    },
    "16": {
        "smoke": LESS
        | {"n_cases": 7, "shares": (0.5, 1.0), "patches": 4, "image_epochs": 2, "epochs": 1}
        | {"n_judged": 1, "n_external": 1, "llama_steps": 10, "overlap": 0.0}
        | {"budget_s": 40, "budget_mb": 3500},
        "laptop": LESS
        | {"n_cases": 100, "patches": 2, "image_epochs": 22, "epochs": 5}
        | {"n_judged": 10, "n_external": 10, "budget_s": 300, "budget_mb": 4000},
        # Budget: a guess, not measured.
        "gpu": LESS
        | {"n_cases": 100, "shares": (0.1, 0.25, 0.5, 0.75, 0.9, 1.0), "seeds": (0, 1, 2)}
        | {"patches": 8, "image_epochs": 10, "epochs": 5, "n_judged": 30, "n_external": 24}
        | {"budget_s": 1200, "budget_mb": 12000},
        # Source 001, each share trained as in lesson 15. Budget: 60 such trainings.
        "paper": LESS
        | {"n_cases": 100, "size": (384, 384, 128), "patch": (384, 384, 128), "preset": "paper"}
        | {"shares": tuple(i / 10 for i in range(1, 11)), "seeds": (0, 1, 2), "batch_size": 2}
        | {"patches": 1, "learning_rate": 1e-4, "jitter": 0.0, "image_epochs": 1, "epochs": 1000}
        | {"language_model": "meta-llama/Llama-2-7b-chat-hf", "encoder": {}}
        | {"warmup_epochs": 10, "n_judged": 30, "n_external": 24}
        | {"budget_s": 7800000, "budget_mb": 90000},
    },
    "17": {
        "smoke": PANCREAS
        | {"n_cases": 30, "size": (64, 48, 24), "patch": (48, 32, 16), "epochs": 10}
        | {"budget_s": 60, "budget_mb": 3500},
        "laptop": PANCREAS | {"n_cases": 240, "epochs": 4, "budget_s": 300, "budget_mb": 4000},
        "gpu": PANCREAS
        | {"n_cases": 360, "size": (160, 112, 64), "patch": (128, 96, 48), "epochs": 100}
        | {"preset": "paper", "validate_every": 10, "budget_s": 1200, "budget_mb": 24000},
        # Source 004: 252/36/72 cases of about 181 x 118 x 59, patch 192 x 128 x 64, batch 2, SGD
        # 0.01 as it really ran, 250 steps an epoch; stopped after 100 of 1000.
        "paper": PANCREAS
        | {"n_cases": 360, "size": (184, 120, 60), "patch": (192, 128, 64), "epochs": 1000}
        | {"preset": "paper", "positives": 0.33, "optimizer": "sgd", "learning_rate": 1e-2}
        | {"schedule": "poly", "momentum": 0.99, "weight_decay": 3e-5, "budget_s": 260000}
        | {"budget_mb": 16000},
    },
}
