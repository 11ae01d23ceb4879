"""How big each lesson is: one literal table, (notebook, profile) to sizes and budget.

``budget_s`` and ``budget_mb`` are what the lesson may take, in seconds and in 10^6 bytes, on two
CPU cores (``smoke``, ``laptop``) or one GPU (``gpu``, ``paper``). The runner fails a lesson that
takes more than 1.5 times its budget. ``size`` is in pixels per side (slices) or in voxels along
x, y and z (volumes).
"""

from seg_lib.course.sizes_volumes import VOLUMES

# fmt: off
SMALL = {"n_cases": 3, "size": (96, 96, 40)}
USUAL = {"n_cases": 8, "size": (128, 128, 64)}
LARGE = {"n_cases": 16, "size": (192, 192, 96)}
QUICK = {"n_cases": 12, "phantom_size": 128, "size": 64, "copies": 2}
SLICES = {"n_cases": 24, "phantom_size": 256, "size": 128, "copies": 4}
MANY = {"n_cases": 96, "phantom_size": 512, "size": 256, "copies": 4}

# Source 002 trained with BCE and Adam 1e-4 for 100 epochs; DiceCE and AdamW learn more in few.
# "copies": augmented images of each slice in an epoch, beside the first.
NETWORK = {
    "network": "resnet50_unet", "encoder_weights": None, "loss": "dice_ce", "optimizer": "adamw",
    "batch_size": 8, "copies": 0, "learning_rate": 1e-3, "phantom_size": 96, "size": 96,
    "preset": "small", "schedule": "warmup_cosine", "weight_decay": 1e-5, "clip_norm": 1.0,
}

# A U-Net so small that four trainings fit into a lesson; width: channels of its first stage.
CONTEST = {"phantom_size": 96, "size": 64, "width": 8, "batch_size": 8, "learning_rate": 1e-2}

# n_cases: patients of three slices each; steps: batches of four images.
LEAK = {"size": 64, "copies": 3, "width": 20, "learning_rate": 6e-3}

# Swin-Unet from random numbers needs a loss that points at the nodules (lesson 07).
ADAMW = {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01}
SWIN = NETWORK | ADAMW | {"network": "swin_unet", "loss": "dice_weighted_bce"}
# Source 002 for UNETR; "plateau" follows the validation loss, and the best weights are kept.
SGD = {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
SGD |= {"schedule": "plateau", "min_lr": 1e-7, "early_stopping": 20, "clip_norm": 0.0}
UNETR = NETWORK | SGD | {
    "network": "unetr", "momentum": 0.9, "schedule": "warmup_cosine", "min_lr": 0.0,
    "early_stopping": 0, "clip_norm": 1.0, "precision": "fast", "adamw": ADAMW, "source": SGD,
}
GPU = {"n_cases": 944, "phantom_size": 512, "size": 256, "batch_size": 16, "preset": "paper"}

# Two processes on the CPU, whatever the profile.
SCALE = {"phantom_size": 96, "batch_size": 8}
SCALE_BIG = {"n_cases": 160, "size": 128, "epochs": 6, "budget_s": 300, "budget_mb": 4000}

# n_cases: studies drawn from a benchmark; size: resamples of the bootstrap.
STUDIES = {"n_cases": 400, "size": 300, "budget_s": 20, "budget_mb": 600}
BIG = ("gpu", "paper")  # the same where nothing is trained

# phantom_size: of the slices; size: of the pieces cut from them; the epochs of the four trainings.
FOUNDATION = {"phantom_size": 192, "size": 32, "batch_size": 8, "learning_rate": 2e-3}

SLICES_AND_REST = {
    "00": {
        "smoke": SMALL | {"budget_s": 20, "budget_mb": 1000},
        "laptop": USUAL | {"budget_s": 60, "budget_mb": 1000},
        **dict.fromkeys(BIG, LARGE | {"budget_s": 120, "budget_mb": 2000}),
    },
    "01": {
        "smoke": SMALL | {"budget_s": 20, "budget_mb": 1000},
        "laptop": USUAL | {"budget_s": 30, "budget_mb": 1000},
        **dict.fromkeys(BIG, LARGE | {"budget_s": 60, "budget_mb": 1500}),
    },
    "02": {
        "smoke": LEAK | {"n_cases": 20, "steps": 300, "budget_s": 40, "budget_mb": 1200},
        "laptop": LEAK
        | {"n_cases": 40, "copies": 4, "steps": 800, "budget_s": 150, "budget_mb": 1500},
        "gpu": LEAK
        | {"n_cases": 100, "size": 128, "copies": 4, "width": 32, "steps": 4000}
        | {"budget_s": 900, "budget_mb": 6000},
        # 708 slices as in source 002. Budget: a guess, not measured.
        "paper": LEAK
        | {"n_cases": 236, "size": 256, "copies": 4, "width": 32, "steps": 44300}
        | {"budget_s": 7200, "budget_mb": 16000},
    },
    "03": {
        "smoke": QUICK | {"budget_s": 15, "budget_mb": 1000},
        "laptop": SLICES | {"budget_s": 60, "budget_mb": 1200},
        "gpu": MANY | {"budget_s": 180, "budget_mb": 4000},
        "paper": MANY | {"n_cases": 806, "budget_s": 900, "budget_mb": 12000},
    },
    "04": {
        "smoke": QUICK | {"budget_s": 20, "budget_mb": 1200},
        "laptop": SLICES | {"budget_s": 60, "budget_mb": 1500},
        "gpu": MANY | {"budget_s": 240, "budget_mb": 4000},
        "paper": MANY | {"n_cases": 806, "budget_s": 1800, "budget_mb": 12000},
    },
    "05": {
        "smoke": CONTEST | {"n_cases": 120, "epochs": 15, "budget_s": 45, "budget_mb": 1500},
        "laptop": CONTEST | {"n_cases": 240, "epochs": 40, "budget_s": 150, "budget_mb": 1500},
        "gpu": CONTEST
        | {"n_cases": 944, "phantom_size": 512, "size": 256, "width": 16, "epochs": 40}
        | {"budget_s": 900, "budget_mb": 8000},
        "paper": CONTEST
        | {"n_cases": 944, "phantom_size": 512, "size": 256, "width": 32, "epochs": 100}
        | {"budget_s": 7200, "budget_mb": 12000},
    },
    "06": {
        "smoke": NETWORK
        | {"network": "resnet18_unet", "n_cases": 120, "epochs": 11}
        | {"budget_s": 60, "budget_mb": 2000},
        "laptop": NETWORK
        | {"n_cases": 240, "epochs": 18, "budget_s": 290, "budget_mb": 3500},
        "gpu": NETWORK
        | {"n_cases": 944, "phantom_size": 512, "size": 256, "batch_size": 16}
        | {"epochs": 60, "budget_s": 1200, "budget_mb": 12000},
        # Source 002: 708 training slices (three quarters of 944), each five times in an epoch, 256
        # px, ImageNet encoder, binary cross-entropy, Adam 1e-4, 100 epochs of 443 batches of 8.
        # Budget: a guess for a laptop's GPU, not measured.
        "paper": NETWORK
        | {"n_cases": 944, "phantom_size": 512, "size": 256, "encoder_weights": "imagenet"}
        | {"loss": "bce", "optimizer": "adam", "epochs": 100, "learning_rate": 1e-4, "copies": 4}
        | {"schedule": "constant", "weight_decay": 0.0, "clip_norm": 0.0}
        | {"budget_s": 18000, "budget_mb": 12000},
    },
    "07": {
        "smoke": SWIN
        | {"n_cases": 60, "epochs": 3, "steps": 30, "budget_s": 60, "budget_mb": 2500},
        "laptop": SWIN
        | {"n_cases": 240, "epochs": 50, "steps": 80, "budget_s": 290, "budget_mb": 2500},
        "gpu": SWIN | GPU | {"epochs": 60, "steps": 100, "budget_s": 1200, "budget_mb": 12000},
        # github.com/HuCaoFighting/Swin-Unet: SGD 0.05 with poly, batches of 24, 150 epochs.
        "paper": SWIN | GPU
        | {"loss": "swin_unet", "optimizer": "sgd", "learning_rate": 0.05, "schedule": "poly"}
        | {"weight_decay": 1e-4, "clip_norm": 0.0, "batch_size": 24, "epochs": 150, "copies": 4}
        | {"encoder_weights": "imagenet", "steps": 100, "budget_s": 36000, "budget_mb": 12000},
    },
    "08": {
        "smoke": UNETR
        | {"n_cases": 60, "epochs": 2, "n_unlabelled": 40, "pretraining_epochs": 3}
        | {"budget_s": 60, "budget_mb": 2500},
        "laptop": UNETR
        | {"n_cases": 240, "epochs": 12, "n_unlabelled": 240, "pretraining_epochs": 5}
        | {"budget_s": 290, "budget_mb": 2500},
        "gpu": UNETR | GPU
        | {"epochs": 40, "n_unlabelled": 944, "pretraining_epochs": 40}
        | {"budget_s": 1200, "budget_mb": 16000},
        "paper": UNETR | GPU | SGD
        | {"epochs": 100, "batch_size": 8, "copies": 4, "n_unlabelled": 944}
        | {"pretraining_epochs": 100, "budget_s": 72000, "budget_mb": 16000},
    },
    "09": {
        "smoke": SWIN
        | {"n_cases": 60, "epochs_of": {"resnet50_unet": 1, "swin_unet": 2, "unetr": 1}}
        | {"budget_s": 60, "budget_mb": 3500},
        "laptop": SWIN
        | {"n_cases": 240, "epochs_of": {"resnet50_unet": 5, "swin_unet": 14, "unetr": 8}}
        | {"budget_s": 240, "budget_mb": 3500},
        "gpu": SWIN | GPU
        | {"epochs_of": {"resnet50_unet": 20, "swin_unet": 20, "unetr": 10}}
        | {"budget_s": 1200, "budget_mb": 16000},
        "paper": SWIN | GPU
        | {"epochs_of": {"resnet50_unet": 100, "swin_unet": 150, "unetr": 100}}
        | {"budget_s": 120000, "budget_mb": 16000},
    },
    "12": {
        "smoke": SMALL | {"n_cases": 6, "budget_s": 20, "budget_mb": 1000},
        "laptop": USUAL | {"n_cases": 20, "budget_s": 60, "budget_mb": 1000},
        **dict.fromkeys(BIG, LARGE | {"n_cases": 40, "budget_s": 240, "budget_mb": 2000}),
    },
    "13": {"smoke": STUDIES, **dict.fromkeys(("laptop", *BIG), STUDIES | {"n_cases": 2000})},
    "18": {
        "smoke": SMALL | {"n_cases": 6, "budget_s": 20, "budget_mb": 1000},
        "laptop": SMALL | {"n_cases": 12, "budget_s": 60, "budget_mb": 1000},
        **dict.fromkeys(BIG, USUAL | {"n_cases": 30, "budget_s": 240, "budget_mb": 2000}),
    },
    "19": {
        "smoke": SCALE
        | {"n_cases": 40, "size": 64, "epochs": 3, "budget_s": 40, "budget_mb": 3000},
        "laptop": SCALE
        | {"n_cases": 80, "size": 96, "epochs": 6, "budget_s": 120, "budget_mb": 3000},
        **dict.fromkeys(BIG, SCALE | SCALE_BIG),
    },
    "20": {
        "smoke": SMALL | {"n_cases": 6, "budget_s": 20, "budget_mb": 1000},
        "laptop": SMALL | {"n_cases": 12, "budget_s": 60, "budget_mb": 1000},
        **dict.fromkeys(BIG, USUAL | {"n_cases": 20, "budget_s": 240, "budget_mb": 2000}),
    },
    "21": {
        "smoke": FOUNDATION
        | {"n_cases": 80, "text_epochs": 2, "epochs": 3, "tuning_epochs": 1}
        | {"budget_s": 50, "budget_mb": 2500},
        "laptop": FOUNDATION
        | {"n_cases": 280, "text_epochs": 20, "epochs": 26, "tuning_epochs": 10}
        | {"budget_s": 300, "budget_mb": 2500},
        # Budget: a guess, not measured.
        **dict.fromkeys(
            BIG,
            FOUNDATION
            | {"n_cases": 944, "text_epochs": 20, "epochs": 60, "tuning_epochs": 20}
            | {"budget_s": 1200, "budget_mb": 8000},
        ),
    },
}

TABLE = dict(sorted((SLICES_AND_REST | VOLUMES).items()))
