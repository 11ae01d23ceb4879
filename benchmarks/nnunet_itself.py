"""What `versus_nnunet.py` asks of nnU-Net; it runs where nnunetv2 is installed.

    NNUNET_PYTHON benchmarks/nnunet_itself.py '{"do": "prepare"}'

The order is JSON, the answer the last line printed, JSON too. Folders come from nnU-Net's three
environment variables. Nothing of nnU-Net is changed but numbers: how many steps, and in the plan
called ``small`` the patch, the batch and the size of the network.
"""

import copy
import json
import os
import sys
import time
from pathlib import Path

import torch

NUMBER, PLANNER = 1, "nnUNetPlannerResEncM"
PLANS = "nnUNetResEncUNetMPlans"
EPOCHS = 12  # nnU-Net lowers the learning rate after each
WARM, TIMED = 2, 6  # steps before the number of steps for a given time is chosen


def dataset_folder(variable: str) -> Path:
    """``Dataset001_…`` below one of nnU-Net's folders."""
    [folder] = Path(os.environ[variable]).glob(f"Dataset{NUMBER:03d}_*")
    return folder


def prepare(train: list[str], val: list[str], **_: object) -> dict:
    """Fingerprint, plan, preprocessing and split; returns what was planned."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    api.extract_fingerprints([NUMBER], num_processes=2, verbose=False)
    name = api.plan_experiments([NUMBER], PLANNER)
    api.preprocess([NUMBER], name, ["3d_fullres"], [2])
    folder = dataset_folder("nnUNet_preprocessed")
    (folder / "splits_final.json").write_text(json.dumps([{"train": train, "val": val}]))
    planned = json.loads((folder / f"{PLANS}.json").read_text())["configurations"]["3d_fullres"]
    arch = planned["architecture"]["arch_kwargs"]
    return {name: planned[name] for name in ("patch_size", "batch_size", "spacing")} | {
        "features": arch["features_per_stage"]
    }


def plans(network: dict | None) -> tuple[dict, str]:
    """nnU-Net's plan and a configuration: its own, or a copy with our sizes (z, y, x)."""
    found = json.loads((dataset_folder("nnUNet_preprocessed") / f"{PLANS}.json").read_text())
    found["continue_training"] = False
    if network is None:
        return found, "3d_fullres"
    small = copy.deepcopy(found["configurations"]["3d_fullres"])
    small |= {"patch_size": network["patch"], "batch_size": network["batch_size"]}
    small["architecture"]["arch_kwargs"] |= {
        "n_stages": len(network["features"]),
        "features_per_stage": network["features"],
        "n_blocks_per_stage": network["blocks"],
        "n_conv_per_stage_decoder": [1] * (len(network["features"]) - 1),
        "strides": network["strides"],
        "kernel_sizes": network["kernels"],
    }
    found["configurations"]["small"] = small
    return found, "small"


def new_trainer(network: dict | None, steps: int):
    """nnU-Net's own trainer for ``steps`` steps, silent about its progress."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plan, configuration = plans(network)
    about = json.loads((dataset_folder("nnUNet_raw") / "dataset.json").read_text())
    trainer = nnUNetTrainer(plan, configuration, 0, about, torch.device("cpu"))
    trainer.num_epochs = min(EPOCHS, steps)
    trainer.num_iterations_per_epoch = max(1, steps // trainer.num_epochs)
    trainer.num_val_iterations_per_epoch = 1
    trainer._best_ema = float("inf")  # the last weights are judged, as nnU-Net does
    trainer.logger.plot_progress_png = lambda *_: None
    return trainer


def seconds_a_step(network: dict | None) -> float:
    """Of a network that is thrown away."""
    trainer = new_trainer(network, 1)
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    for step in range(WARM + TIMED):
        if step == WARM:
            began = time.perf_counter()
        trainer.train_step(next(trainer.dataloader_train))
    seconds = (time.perf_counter() - began) / TIMED
    trainer.disable_checkpointing = True
    trainer.on_train_end()
    return seconds


def train(network: dict | None, steps: int | None, seconds: float | None, seed: int, **_) -> dict:
    """Train for a number of steps, or for as many as fit into ``seconds``."""
    torch.manual_seed(seed)
    if steps is None:
        steps = max(EPOCHS, int(seconds / seconds_a_step(network)))
    trainer = new_trainer(network, steps)
    began = time.perf_counter()
    trainer.run_training()
    done = trainer.num_epochs * trainer.num_iterations_per_epoch
    return {
        "seconds": time.perf_counter() - began,
        "steps": done,
        "patches": done * trainer.batch_size,
        "parameters": sum(weight.numel() for weight in trainer.network.parameters()),
        "folder": trainer.output_folder_base,
    }


def predict(folder: str, images: list[str], out: list[str], mirroring: bool, **_: object) -> dict:
    """Predict files into files, one after the other in this process; seconds of all of them."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(folder, (0,))
    ends = [path.removesuffix(".nii.gz") for path in out]
    Path(out[0]).parent.mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential([images[:1]], ends[:1])  # the first call warms up
    began = time.perf_counter()
    predictor.predict_from_files_sequential([[image] for image in images], ends)
    return {"seconds": time.perf_counter() - began}


def main() -> None:
    """Do what the first argument orders."""
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order.get("threads", 2))
    found = {"prepare": prepare, "train": train, "predict": predict}[order.pop("do")](**order)
    print(json.dumps(found | {"torch": torch.__version__}))


if __name__ == "__main__":
    main()
