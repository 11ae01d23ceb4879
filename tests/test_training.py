"""The loop: it learns, it stops when it should, and a resumed run is the same to the last bit."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seg_lib.checkpoints import load_checkpoint, load_weights
from seg_lib.data.nifti import write_image
from seg_lib.errors import DataWarning, InputError, TrainingError
from seg_lib.files import folder_lock, folder_written_whole, write_text
from seg_lib.inference import predict_slices
from seg_lib.losses import dice_ce
from seg_lib.run_log import read_history
from seg_lib.steps import segmentation_step
from seg_lib.training import TrainConfig, build_optimizer, fit, seed_everything, update_average

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def on_one_cpu_thread(monkeypatch):
    """Bit-identity is promised on the CPU; and tiny layers are slower on two threads."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(os, "fsync", lambda stream: None)  # nobody pulls the plug during a test
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class AugmentedBatches:
    """Batches whose order and noise are a pure function of (seed, epoch, index), as in data."""

    def __init__(self, n_batches=3, pause_s=0.0):
        self.n_batches, self.pause_s, self.epoch = n_batches, pause_s, 0
        rng = np.random.default_rng(0)
        self.images = rng.random((2 * n_batches, 1, 8, 8), dtype=np.float32)
        self.labels = (self.images > 0.6).astype(np.int64)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        order = np.random.default_rng((0, self.epoch)).permutation(len(self.images))
        for pair in order.reshape(-1, 2):
            noise = np.random.default_rng((0, self.epoch, int(pair[0]))).normal(
                0, 0.05, (2, 1, 8, 8)
            )
            time.sleep(self.pause_s)
            yield {
                "image": torch.from_numpy((self.images[pair] + noise).astype(np.float32)),
                "label": torch.from_numpy(self.labels[pair]),
                "case": [f"case{i}" for i in pair],
            }


def network(seed=0):
    """Convolution, batch normalisation and dropout: all that can go wrong when resuming."""
    seed_everything(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Conv2d(6, 1, 3, padding=1),
    )


def validate_on_fixed_cases(model):
    """A validation that also uses random numbers, as people's validations do."""
    assert not model.training
    batch = next(iter(AugmentedBatches()))
    loss = dice_ce(model(batch["image"]), batch["label"]).item()
    return {"loss": loss, "score": -loss, "dice": 1 - loss / 2, "chance": torch.rand(1)}


def weights_of(path):
    return load_checkpoint(path)[0]


def assert_same(first, second):
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert different == []


def without_seconds(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def stop_after(n_steps, step=segmentation_step):
    """A step that has the process receive SIGTERM during its n-th call."""
    calls = []

    def counted(model, batch):
        calls.append(batch)
        if len(calls) == n_steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(model, batch)

    return counted


train = functools.partial(fit, step=segmentation_step, validate=validate_on_fixed_cases)


ADAMW_COSINE = {}
SGD_PLATEAU = {"optimizer": "sgd", "schedule": "plateau", "plateau_patience": 0}
ADAM_POLY_AVERAGE = {"optimizer": "adam", "schedule": "poly", "ema_decay": 0.9, "clip_norm": 0}
SGD_CONSTANT = {"optimizer": "sgd", "momentum": 0, "schedule": "constant", "validate_every": 2}


@pytest.mark.parametrize(
    ("settings", "stopped_at_step"),
    [
        pytest.param(ADAMW_COSINE, 2, id="adamw-cosine-first-epoch"),
        pytest.param(ADAMW_COSINE, 6, id="adamw-cosine-before-validation"),
        pytest.param(ADAMW_COSINE, 10, id="adamw-cosine-mid-epoch"),
        pytest.param(SGD_PLATEAU, 8, id="sgd-plateau-mid-epoch"),
        pytest.param(ADAM_POLY_AVERAGE, 8, id="adam-poly-average-mid-epoch"),
        pytest.param(SGD_CONSTANT, 9, id="sgd-constant-before-an-epoch-without-validation"),
    ],
)
def test_a_resumed_run_is_the_same_to_the_last_bit(tmp_path, settings, stopped_at_step):
    config = TrainConfig(epochs=4, **settings)
    straight = train(network(), batches=AugmentedBatches(), config=config, out_dir=tmp_path / "a")
    stopped = train(
        network(),
        step=stop_after(stopped_at_step),
        batches=AugmentedBatches(),
        config=config,
        out_dir=tmp_path / "b",
    )
    assert len(stopped) == (stopped_at_step - 1) // 3
    assert read_history(tmp_path / "b")["stopped"] == "signal"
    model = network(seed=99)  # other weights: all must come from the checkpoint
    torch.rand(5)
    resumed = train(
        model, batches=AugmentedBatches(), config=config, out_dir=tmp_path / "b", resume=True
    )
    assert without_seconds(resumed) == without_seconds(straight)
    for name in ("last.safetensors", "best.safetensors"):
        assert_same(weights_of(tmp_path / "a" / name), weights_of(tmp_path / "b" / name))
    if "average" not in settings:
        last = weights_of(tmp_path / "a" / "last.safetensors")
        assert torch.equal(model.state_dict()["0.weight"], last["model.0.weight"])


def test_every_epoch_is_announced_to_the_batches(tmp_path):
    announced = []

    class Listening(AugmentedBatches):
        def set_epoch(self, epoch):
            announced.append(epoch)
            super().set_epoch(epoch)

    train(network(), batches=Listening(), config=TrainConfig(epochs=3), out_dir=tmp_path)
    assert announced == [1, 2, 3]


def test_two_epochs_and_then_two_more_are_four(tmp_path):
    """Epochs may grow: nothing depends on their number with a plateau schedule."""
    config = functools.partial(TrainConfig, schedule="plateau", early_stopping=50)
    train(network(), batches=AugmentedBatches(), config=config(epochs=4), out_dir=tmp_path / "a")
    train(network(), batches=AugmentedBatches(), config=config(epochs=2), out_dir=tmp_path / "b")
    history = train(
        network(1),
        batches=AugmentedBatches(),
        config=config(epochs=4),
        out_dir=tmp_path / "b",
        resume=True,
    )
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    both = [weights_of(tmp_path / run / "last.safetensors") for run in "ab"]
    assert_same(*both)


def run_slowly(out_dir):
    """The run that the next test kills; started in another process."""
    os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)
    config = TrainConfig(epochs=400, schedule="constant")
    train(network(), batches=AugmentedBatches(pause_s=0.002), config=config, out_dir=out_dir)


def test_killed_without_warning_and_resumed_is_the_same(tmp_path):
    """SIGKILL at whatever it is doing: saving, training, validating."""
    command = f"import test_training; test_training.run_slowly({str(tmp_path / 'b')!r})"
    process = subprocess.Popen([sys.executable, "-c", command], cwd=TESTS, stdout=subprocess.PIPE)
    for _ in range(5):
        process.stdout.readline()  # five epochs are done
    process.kill()
    process.communicate()
    done = len(load_checkpoint(tmp_path / "b" / "last.safetensors")[1]["history"])
    assert 3 <= done < 400  # at most the epoch it was in is lost
    config = TrainConfig(epochs=400, schedule="constant")
    # Only a few epochs more: the run of 400 is itself stopped, at the same step in both folders.
    stop = (done + 2) * 3
    train(
        network(1),
        step=stop_after(stop - 3 * done),
        batches=AugmentedBatches(),
        config=config,
        out_dir=tmp_path / "b",
        resume=True,
    )
    train(
        network(),
        step=stop_after(stop),
        batches=AugmentedBatches(),
        config=config,
        out_dir=tmp_path / "a",
    )
    both = [weights_of(tmp_path / run / "last.safetensors") for run in "ab"]
    assert_same(*both)


def test_one_batch_is_learned_by_heart(tmp_path):
    batches = [next(iter(AugmentedBatches()))] * 30
    model = network()
    fit(model, segmentation_step, batches, TrainConfig(epochs=5, learning_rate=0.03), tmp_path)
    probability = model.eval()(batches[0]["image"]).sigmoid()
    label = batches[0]["label"]
    mask = (probability >= 0.5).long()
    assert 2 * (mask * label).sum() / (mask.sum() + label.sum()) > 0.95


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_not_finite_stops_and_names_epoch_step_and_cases(tmp_path, poison):
    config = TrainConfig(epochs=5)
    calls = []

    def step(model, batch):
        calls.append(batch)
        loss = segmentation_step(model, batch)["loss"]
        if len(calls) < 5:
            return {"loss": loss}
        if poison == "loss":
            return {"loss": loss * torch.nan}
        return {"loss": loss + (loss - loss.detach()).abs().sqrt()}  # finite, its slope is not

    with pytest.raises(TrainingError, match=r"epoch 2, step 2: the .* (nan|inf)") as error:
        fit(network(), step, AugmentedBatches(), config, tmp_path)
    assert poison in str(error.value)
    assert all(name in str(error.value) for name in calls[-1]["case"])
    good = weights_of(tmp_path / "best.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in good.values())
    assert len(load_checkpoint(tmp_path / "last.safetensors")[1]["history"]) == 1


def test_a_validation_that_is_not_finite_stops_too(tmp_path):
    with pytest.raises(TrainingError, match="epoch 1: the validation"):
        train(
            network(),
            batches=AugmentedBatches(),
            config=TrainConfig(epochs=2),
            out_dir=tmp_path,
            validate=lambda model: {"loss": float("nan")},
        )


def test_a_validation_without_a_verdict_is_refused(tmp_path):
    with pytest.raises(InputError, match="score"):
        train(
            network(),
            batches=AugmentedBatches(),
            config=TrainConfig(epochs=2),
            out_dir=tmp_path,
            validate=lambda model: {"dice": 0.5},
        )


def test_best_weights_reproduce_the_best_score(tmp_path):
    """002-23: what ModelCheckpoint promises."""
    about = {"task": "slices2d", "network": "tiny", "window": [-1000.0, 400.0]}
    history = train(
        network(),
        batches=AugmentedBatches(),
        config=TrainConfig(epochs=5, learning_rate=0.05),
        out_dir=tmp_path,
        about=about,
    )
    model = network(7)
    kept = load_weights(model, tmp_path / "best.safetensors")
    best = max(history, key=lambda row: row["score"])
    assert kept == {"format": 1, **about, "result": best}
    assert validate_on_fixed_cases(model.eval())["score"] == best["score"]


def test_the_best_epoch_is_kept_not_the_last(tmp_path):
    scores, seen = iter([0.1, 0.9, 0.3]), []

    def validate(model):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"score": next(scores)}

    train(
        network(),
        batches=AugmentedBatches(),
        config=TrainConfig(epochs=3),
        out_dir=tmp_path,
        validate=validate,
    )
    assert_same(weights_of(tmp_path / "best.safetensors"), seen[1])
    assert not torch.equal(seen[1]["0.weight"], seen[2]["0.weight"])


def test_early_stopping_ends_the_run(tmp_path):
    falling = iter(range(100, 0, -1))
    history = train(
        network(),
        batches=AugmentedBatches(),
        config=TrainConfig(epochs=50, early_stopping=3),
        out_dir=tmp_path,
        validate=lambda model: {"score": next(falling)},
    )
    assert len(history) == 4
    assert read_history(tmp_path)["stopped"] == "early stopping"


def test_the_plateau_lowers_the_rate_that_the_optimizer_uses(tmp_path):
    """002-24: factor 0.1 after more than ``patience`` validations without improvement."""
    config = TrainConfig(
        epochs=5, schedule="plateau", plateau_patience=1, min_lr=1e-7, learning_rate=0.01
    )
    history = train(
        network(),
        batches=AugmentedBatches(),
        config=config,
        out_dir=tmp_path,
        validate=lambda model: {"loss": 1.0},
    )
    assert [row["lr"] for row in history] == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.001])


def test_a_rate_of_zero_leaves_the_weights_alone(tmp_path):
    model = network()
    before = model[0].weight.clone()
    config = TrainConfig(epochs=1, learning_rate=1e-9, schedule="constant", optimizer="sgd")
    train(model, batches=AugmentedBatches(), config=config, out_dir=tmp_path)
    assert torch.allclose(model[0].weight, before, atol=1e-7)


@pytest.mark.parametrize("longest", [0.1, 0.0], ids=["clipped", "not-clipped"])
def test_gradients_are_clipped_to_the_given_length(tmp_path, longest):
    """With plain SGD at rate 1 the weights move by exactly the gradient."""
    model, batch = nn.Conv2d(1, 1, 1), next(iter(AugmentedBatches()))
    before = nn.utils.parameters_to_vector(model.parameters()).clone()

    def steep(model, batch):
        return {"loss": 50 * segmentation_step(model, batch)["loss"]}

    gradient = torch.autograd.grad(steep(model, batch)["loss"], list(model.parameters()))
    whole = nn.utils.parameters_to_vector(gradient).norm().item()
    config = TrainConfig(
        1, "sgd", 1.0, weight_decay=0, momentum=0, schedule="constant", clip_norm=longest
    )
    fit(model, steep, [batch], config, tmp_path)
    moved = (nn.utils.parameters_to_vector(model.parameters()) - before).norm().item()
    assert whole > 2
    assert moved == pytest.approx(longest or whole, rel=1e-4)


def test_minutes_stop_the_run_and_resume_goes_on(tmp_path):
    config = TrainConfig(epochs=2, minutes=0)
    assert train(network(), batches=AugmentedBatches(), config=config, out_dir=tmp_path) == []
    assert read_history(tmp_path)["stopped"] == "minutes"
    assert load_weights(network(), tmp_path / "best.safetensors")["result"] == {}
    for _ in range(4):  # one step a call
        train(network(), batches=AugmentedBatches(), config=config, out_dir=tmp_path, resume=True)
    history = train(
        network(),
        batches=AugmentedBatches(),
        config=TrainConfig(epochs=2),
        out_dir=tmp_path,
        resume=True,
    )
    assert [row["epoch"] for row in history] == [1, 2]
    assert read_history(tmp_path)["stopped"] == "epochs"


def test_signal_handlers_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    train(network(), batches=AugmentedBatches(), config=TrainConfig(epochs=1), out_dir=tmp_path)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)) == before


def test_a_complete_run_returns_its_history_at_once(tmp_path):
    config = TrainConfig(epochs=2)
    first = train(network(), batches=AugmentedBatches(), config=config, out_dir=tmp_path)
    stamp = (tmp_path / "last.safetensors").stat().st_mtime_ns

    def never(model, batch):
        raise AssertionError("nothing is left to train")

    again = train(
        network(),
        step=never,
        batches=AugmentedBatches(),
        config=config,
        out_dir=tmp_path,
        resume=True,
    )
    assert again == first
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == stamp


def test_resume_without_a_checkpoint_is_refused(tmp_path):
    """nnU-Net warns and starts from scratch; a night later the first run is gone."""
    with pytest.raises(InputError, match="nothing to resume"):
        train(
            network(),
            batches=AugmentedBatches(),
            config=TrainConfig(epochs=1),
            out_dir=tmp_path,
            resume=True,
        )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": "sgd", "learning_rate": 0.5}, "optimizer was 'adamw' and is now 'sgd'"),
        ({"learning_rate": 0.5}, "learning_rate was 0.001 and is now 0.5"),
        ({"epochs": 1}, "epochs was 2 and is now 1"),
    ],
)
def test_resume_with_other_settings_lists_them(tmp_path, changed, message):
    train(network(), batches=AugmentedBatches(), config=TrainConfig(epochs=2), out_dir=tmp_path)
    with pytest.raises(InputError, match=message):
        train(
            network(),
            batches=AugmentedBatches(),
            config=TrainConfig(**{"epochs": 2} | changed),
            out_dir=tmp_path,
            resume=True,
        )


def test_resume_with_other_data_or_network_is_refused(tmp_path):
    config = TrainConfig(epochs=1)
    train(network(), batches=AugmentedBatches(), config=config, out_dir=tmp_path)
    with pytest.raises(InputError, match="batches of an epoch was 3 and is now 4"):
        train(
            network(),
            batches=AugmentedBatches(4),
            config=config,
            out_dir=tmp_path,
            resume=True,
        )
    other = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))
    with pytest.raises(InputError, match="missing|unexpected"):
        train(other, batches=AugmentedBatches(), config=config, out_dir=tmp_path, resume=True)


@pytest.mark.parametrize("damage", [b"", b"<html>quota</html>", None], ids=["empty", "html", "cut"])
def test_a_damaged_checkpoint_costs_one_generation(tmp_path, damage):
    config, run = TrainConfig(epochs=3), tmp_path / "run"
    first = train(network(), batches=AugmentedBatches(), config=config, out_dir=tmp_path / "whole")
    for resume in (False, *4 * [True]):  # one step a call
        hurried = replace(config, minutes=0)
        train(network(), batches=AugmentedBatches(), config=hurried, out_dir=run, resume=resume)
    last = run / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-40] if damage is None else damage)
    with pytest.warns(DataWarning, match=r"last\.previous\.safetensors instead"):
        again = train(
            network(), batches=AugmentedBatches(), config=config, out_dir=run, resume=True
        )
    assert without_seconds(again) == without_seconds(first)
    assert_same(weights_of(last), weights_of(tmp_path / "whole" / "last.safetensors"))


def test_a_complete_run_keeps_one_generation(tmp_path):
    """A third of the disk of a run: nothing is left to go on from."""
    train(network(), batches=AugmentedBatches(), config=TrainConfig(epochs=3), out_dir=tmp_path)
    kept = {path.name for path in tmp_path.glob("*.safetensors")}
    assert kept == {"best.safetensors", "last.safetensors"}


def test_a_new_run_leaves_nothing_of_the_old_one(tmp_path):
    stopped = TrainConfig(epochs=3, minutes=0)
    for resume in (False, True):
        train(
            network(), batches=AugmentedBatches(), config=stopped, out_dir=tmp_path, resume=resume
        )
    assert (tmp_path / "last.previous.safetensors").exists()
    (tmp_path / ".part-77-last.safetensors").write_bytes(b"left by a killed run")
    scores = [tmp_path / n for n in ("results.json", "results.csv", "subtype_results.csv")]
    for path in scores:
        path.write_text("{}")
    train(network(), batches=AugmentedBatches(), config=TrainConfig(epochs=1), out_dir=tmp_path)
    assert not (tmp_path / "last.previous.safetensors").exists()
    assert not list(tmp_path.glob(".part-*")) and not any(path.exists() for path in scores)
    assert len(list((tmp_path / "events").iterdir())) == 1
    assert len(read_history(tmp_path)["history"]) == 1


def test_results_in_a_folder_without_a_run_are_somebody_elses(tmp_path):
    (tmp_path / "results.csv").write_text("mine")
    train(network(), batches=AugmentedBatches(), config=TrainConfig(epochs=1), out_dir=tmp_path)
    assert (tmp_path / "results.csv").read_text() == "mine"


def test_two_runs_never_share_a_folder(tmp_path):
    with folder_lock(tmp_path), pytest.raises(InputError, match="another run"):
        train(network(), batches=AugmentedBatches(), config=TrainConfig(epochs=1), out_dir=tmp_path)


@pytest.mark.parametrize("in_the_way", ["file", "lock"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, in_the_way):
    target = tmp_path / "runs"
    if in_the_way == "file":
        target.write_text("a file where the folder should be")
    else:
        (target / ".lock").mkdir(parents=True)
    with pytest.raises(InputError, match=r"runs: cannot be written \(.+\); choose another folder"):
        train(network(), batches=AugmentedBatches(), config=TrainConfig(epochs=1), out_dir=target)


@contextlib.contextmanager
def read_only(folder):
    """Nothing can be written there while the block runs; root, who always could, is nobody."""
    user = os.geteuid()
    folder.chmod(0o555)
    try:
        os.seteuid(user or 65534)
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


def trained_for_an_epoch(folder):
    train(network(), batches=AugmentedBatches(), config=TrainConfig(epochs=1), out_dir=folder)


def a_folder_within(folder):
    with folder_written_whole(folder / f"cases{len(list(folder.iterdir()))}") as part:
        (part / "a").write_text("whole")


WRITERS = {
    "a run": trained_for_an_epoch,
    "an image": lambda folder: write_image(folder / "ct.nii", np.zeros((2, 2, 2)), np.eye(4)),
    "a text": lambda folder: write_text(folder / "a.txt", "whole"),
    "a folder": a_folder_within,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_read_only_folder_is_named_and_its_files_stay_whole(writer):
    """What was written the first time is there, to the byte, and nothing beside it."""
    with tempfile.TemporaryDirectory() as name:  # tmp_path lies where nobody else may look
        folder = Path(name)
        WRITERS[writer](folder)
        before = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
        said = rf"{name}.*: cannot be written \(Permission denied\)"
        with read_only(folder), pytest.raises(InputError, match=said):
            WRITERS[writer](folder)
        assert before
        assert before == {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_precision_can_change_between_runs_in_one_process(tmp_path):
    """accelerate keeps the precision for the process; a notebook trains more than once."""
    seen = []

    class Watched(nn.Conv2d):
        def forward(self, image):
            out = super().forward(image)
            seen.append(out.dtype)
            return out

    model = Watched(1, 1, 3, padding=1)
    for precision in ("no", "bf16", "no", "bf16"):
        config = TrainConfig(epochs=1, precision=precision)
        fit(model, segmentation_step, AugmentedBatches(), config, tmp_path / precision)
    wanted = [torch.float32, torch.bfloat16, torch.float32, torch.bfloat16]
    assert seen == [dtype for dtype in wanted for _ in range(3)]
    assert model(torch.rand(1, 1, 8, 8)).dtype == torch.float32  # and the model is plain again


def test_the_moving_average_validates_in_the_precision_of_the_run(tmp_path):
    seen = []

    def validate(model):
        conv = model[0]
        handle = conv.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
        found = validate_on_fixed_cases(model)
        handle.remove()
        return found

    config = TrainConfig(epochs=1, precision="bf16", ema_decay=0.9)
    train(
        network(),
        batches=AugmentedBatches(),
        config=config,
        out_dir=tmp_path,
        validate=validate,
    )
    assert seen == [torch.bfloat16]


def precision_of(model):
    """A set that fills with the (device, number type) of what the first layer puts out."""
    seen = set()
    model[0].register_forward_hook(lambda m, i, out: seen.add((out.device.type, out.dtype)))
    return seen


def test_automatic_precision_on_a_cpu_is_float32_and_fp16_is_refused(tmp_path):
    model = network()
    seen = precision_of(model)
    fit(model, segmentation_step, AugmentedBatches(), TrainConfig(epochs=1), tmp_path)
    assert seen == {("cpu", torch.float32)}
    with pytest.raises(InputError, match="fp16"):
        fit(model, segmentation_step, AugmentedBatches(), TrainConfig(precision="fp16"), tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_it_learns_in_bfloat16_and_resumes(tmp_path, monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    model = network(1)
    seen = precision_of(model)

    def validate(model):
        probability = predict_slices(model, AugmentedBatches().images)
        return {"score": -abs(probability - AugmentedBatches().labels).mean()}

    config = TrainConfig(epochs=6, learning_rate=0.02, ema_decay=0.5)
    run = functools.partial(fit, batches=AugmentedBatches(), config=config, out_dir=tmp_path)
    run(network(), step=stop_after(8), validate=validate)
    history = run(model, step=segmentation_step, validate=validate, resume=True)
    assert seen == {("cuda", torch.bfloat16)}
    assert len(history) == 6 and history[-1]["loss"] < history[0]["loss"]


def test_the_moving_average_by_hand():
    """Decay 0.5 at a late step: 0 -> 4 gives 2, then 8 gives 5; counters are copied."""
    average, model = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    with torch.no_grad():
        average.weight.fill_(0.0)
        for value, expected in ((4.0, 2.0), (8.0, 5.0)):
            model.weight.fill_(value)
            model.num_batches_tracked += 1
            update_average(average, model, decay=0.5, step=1000)
            assert average.weight.item() == expected
    assert average.num_batches_tracked == 2
    with torch.no_grad():
        average.weight.fill_(0.0)
    update_average(average, model, decay=0.999, step=0)  # early: 0.1 of the old, 0.9 of the new
    assert average.weight.item() == pytest.approx(7.2)


def test_the_average_is_what_is_validated_and_kept(tmp_path):
    judged = []

    def validate(model):
        judged.append({name: t.clone() for name, t in model.state_dict().items()})
        return {"score": 1.0}

    model = network()
    config = TrainConfig(epochs=1, ema_decay=0.99, learning_rate=0.05)
    train(model, batches=AugmentedBatches(), config=config, out_dir=tmp_path, validate=validate)
    best = weights_of(tmp_path / "best.safetensors")
    assert_same(best, judged[0])
    assert not torch.equal(best["0.weight"], model.state_dict()["0.weight"])


def test_frozen_weights_stay_and_have_no_optimizer_memory(tmp_path):
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    train(model, batches=AugmentedBatches(), config=TrainConfig(epochs=1), out_dir=tmp_path)
    assert torch.equal(model[0].weight, before)
    assert len(build_optimizer(model, TrainConfig()).param_groups[0]["params"]) == 4


@pytest.mark.parametrize("again", [False, True])
def test_freed_memory_is_kept_unless_maps_are_computed_again(tmp_path, monkeypatch, again):
    kept, model = [], network()
    monkeypatch.setattr("seg_lib.training.keep_memory", lambda: kept.append(True))
    model[0].recompute = again
    train(model, batches=AugmentedBatches(), config=TrainConfig(epochs=1), out_dir=tmp_path)
    assert bool(kept) is not again


def test_too_few_batches_are_refused(tmp_path):
    with pytest.raises(InputError, match="0 batches"):
        train(network(), batches=[], config=TrainConfig(epochs=1), out_dir=tmp_path)


def test_seeding_repeats_and_depends_on_every_number():
    def drawn(*numbers):
        seed_everything(*numbers)
        return torch.rand(1).item(), np.random.random()

    assert drawn(3, 5) == drawn(3, 5)
    assert len({drawn(3, 5), drawn(5, 3), drawn(3), drawn(3, 6)}) == 4


def without_statistics(weights):
    """Batch normalisation keeps each process's own."""
    return {name: tensor for name, tensor in weights.items() if "running" not in name}


def run_one_of_two(out_dir):
    """What each of the two processes of the next test runs."""
    torch.set_num_threads(1)
    model = network(int(os.environ["RANK"]))  # different at the start: must be made equal
    batches = AugmentedBatches(n_batches=5)  # odd: the last one has no partner and is left out
    cases = []

    def step(model, batch):
        cases.extend(batch["case"])
        return segmentation_step(model, batch)

    config = TrainConfig(epochs=2)
    history = train(model, step=step, batches=batches, config=config, out_dir=out_dir)
    said = {"weights": model.state_dict(), "cases": cases, "epochs": len(history)}
    torch.save(said, Path(out_dir) / f"rank{os.environ['RANK']}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_train_one_network(tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    shared |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    command = f"import test_training; test_training.run_one_of_two({str(tmp_path)!r})"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", command],
            cwd=TESTS,
            env=os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert said[0].count("epoch 1/2") == 1 and said[1] == ""  # one speaks and writes
    first, second = (torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in (0, 1))
    assert first["epochs"] == second["epochs"] == 2
    assert len(set(first["cases"][:4] + second["cases"][:4])) == 8  # each case once an epoch
    assert_same(*(without_statistics(said["weights"]) for said in (first, second)))
    assert load_checkpoint(tmp_path / "last.safetensors")[1]["steps"] == 2
