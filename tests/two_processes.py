"""What the processes of test_distributed.py run: ``two_processes.py SCENARIO FOLDER``."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seg_lib.processes import batch_per_process, n_processes, process_state
from seg_lib.steps import segmentation_step
from seg_lib.training import TrainConfig, fit, seed_everything

N, BATCH = 24, 8  # 24 pictures in 3 batches of 8, or in 6 of 4 that two processes share
N_JUDGED = 7  # the first of them; two processes cannot share them equally


class Pictures:
    """Batches in an order that follows from the epoch; the pictures do not depend on their size."""

    def __init__(self, pause_s=0.0):
        self.size, self.pause_s, self.epoch = batch_per_process(BATCH), pause_s, 0
        self.images = np.random.default_rng(0).random((N, 1, 8, 8), dtype=np.float32)
        self.labels = (self.images > 0.6).astype(np.int64)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return N // self.size

    def __iter__(self):
        order = np.random.default_rng(self.epoch).permutation(N)
        for chosen in order.reshape(-1, self.size):
            time.sleep(self.pause_s)
            yield {
                "image": torch.from_numpy(self.images[chosen]),
                "label": torch.from_numpy(self.labels[chosen]),
                "case": [f"case{i}" for i in chosen],
            }


def network(seed=0):
    """Nothing in it looks at other pictures of the batch, so two halves are like one whole."""
    seed_everything(seed)
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(6, 1, 3, padding=1))


def mean_bce(logits, label):
    """The mean over all pixels: the mean of the means of two halves."""
    return nn.functional.binary_cross_entropy_with_logits(logits, label.float())


def step(model, batch):
    return segmentation_step(model, batch, loss=mean_bce)


def judge(scored):
    """A validation that notes which cases it scores; the loss is the mean over these cases."""
    pictures = Pictures()

    def validate(model):
        losses = []
        for i in range(N_JUDGED):
            image, label = map(torch.from_numpy, (pictures.images[[i]], pictures.labels[[i]]))
            scored.append(f"case{i}")
            losses.append(mean_bce(model(image), label).item())
        return {"loss": sum(losses) / N_JUDGED}

    return validate


def train(out, epochs=3, resume=False, step=step, pause_s=0.0, **settings):
    """One training; returns the model, its history and the cases that this process scored."""
    scored = []
    config = TrainConfig(epochs=epochs, **{"learning_rate": 0.05, **settings})
    model = network(seed=process_state().process_index)  # DDP must make them equal
    batches = Pictures(pause_s)
    return model, fit(model, step, batches, config, out, judge(scored), resume), scored


def interrupted(at):
    """A step in which the last process, and it alone, is told to stop."""
    calls = []

    def counted(model, batch):
        calls.append(batch)
        if len(calls) == at and process_state().process_index == n_processes() - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(model, batch)

    return counted


def several(folder):
    """Three trainings one after the other, and one that is stopped in an epoch and goes on."""
    scored = []
    for name, settings in {"sgd": {"optimizer": "sgd"}, "average": {"ema_decay": 0.9}}.items():
        model, history, cases = train(folder / name, **settings)
        scored.append(cases)
    train(folder / "straight")
    train(folder / "stopped", step=interrupted(at=5))
    middle = process_state().process_index
    _, history, _ = train(folder / "stopped", resume=True)
    said = {"weights": model.state_dict(), "scored": scored, "epochs": len(history)}
    torch.save(said, folder / f"rank{middle}.pt")


def crash(folder):
    """The second process fails in the middle of an epoch."""

    def failing(model, batch):
        if process_state().process_index == 1:
            raise RuntimeError("this process has lost its GPU")
        return step(model, batch)

    train(folder, step=failing)


def slowly(folder):
    """Long enough to be stopped from outside; goes on by itself."""
    resume = (folder / "last.safetensors").exists()
    train(folder, epochs=12, resume=resume, pause_s=0.0 if resume else 0.05)


def quickly(folder):
    """The same, never stopped."""
    train(folder, epochs=12)


def launcher(folder):
    """`notebook_launcher` starts two copies of this process; the ports are free ones."""
    from accelerate import notebook_launcher

    network()(torch.zeros(1, 1, 8, 8)).sum().backward()  # a notebook has used torch before
    free = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
    notebook_launcher(several, (folder,), num_processes=2, **free)


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    scenarios = (several, crash, slowly, quickly, launcher)
    {function.__name__: function for function in scenarios}[sys.argv[1]](Path(sys.argv[2]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
