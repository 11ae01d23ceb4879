"""The loss log of source 000 is written and read; lines, events and history tell the same story."""

import json
import os

import pytest

from seg_lib import run_log
from seg_lib.errors import InputError

HISTORY = [
    {"epoch": 1, "loss": 0.9, "lr": 1e-3, "seconds": 1.0},
    {"epoch": 2, "loss": 0.8, "val_loss": 0.71, "dice": 0.25, "lr": 9.13e-4, "seconds": 12.34},
    {"epoch": 3, "loss": 0.7, "lr": 1e-4, "seconds": 1.0},
    {"epoch": 4, "loss": 0.6, "val_loss": 0.6149, "dice": 1 / 3, "lr": 1e-5, "seconds": 2.0},
]


def test_an_epoch_is_one_plain_line():
    row = {"epoch": 3, "loss": 0.4121, "dice": 0.653, "lr": 9.1e-4, "seconds": 12.34}
    line = run_log.epoch_line(row, epochs=20)
    assert line == "epoch  3/20  loss 0.412  dice 0.653  lr 9.1e-04  12.3 s"


def test_the_log_has_the_layout_of_source_000():
    text = run_log.loss_log_text(HISTORY, "Mon Aug  5 06:50:34 2024", "Mon Aug  5 07:00:00 2024")
    assert text == (
        "\n\nMon Aug  5 06:50:34 2024\n"
        "epoch, loss, mean, ptv, ctv, gtv\n"
        "2, 0.710, 0.250000, 0.250\n"
        "4, 0.615, 0.333333, 0.333\n"
        "\nFinished at Mon Aug  5 07:00:00 2024\n"
    )


def test_write_and_read_are_inverse_to_the_printed_digits(tmp_path):
    run_log.write_logs(tmp_path, HISTORY, {"epochs": 4}, "today", "epochs")
    assert run_log.read_loss_log(tmp_path / "loss_log.txt") == [
        {"epoch": 2, "loss": 0.71, "mean": 0.25, "ptv": 0.25},
        {"epoch": 4, "loss": 0.615, "mean": 0.333333, "ptv": 0.333},
    ]


def test_classes_of_a_validation_fill_their_columns(tmp_path):
    row = HISTORY[1] | {"ptv": 0.1, "ctv": 0.2, "gtv": 0.3}
    run_log.write_logs(tmp_path, [row], {}, "today")
    (read,) = run_log.read_loss_log(tmp_path / "loss_log.txt")
    assert (read["ptv"], read["ctv"], read["gtv"]) == (0.1, 0.2, 0.3)


def test_a_run_without_validation_logs_its_training_loss(tmp_path):
    run_log.write_logs(tmp_path, [HISTORY[0], HISTORY[2]], {}, "today")
    rows = run_log.read_loss_log(tmp_path / "loss_log.txt")
    assert rows == [{"epoch": 1, "loss": 0.9}, {"epoch": 3, "loss": 0.7}]


THEIRS = "\n\nTue Jan  2 03:04:05 2024\nepoch, loss, mean, ptv, ctv, gtv, organs\n"
PRINTED = "Text before the table.\n\nTue Jan 2 03:04:05 2024\n\nepoch\tloss\tmean\tptv\tctv\tgtv\n"
AFTER = "\n\nA sentence, and another, with the number 2024."


@pytest.mark.parametrize(
    "text",
    [
        THEIRS + "60, 1.025, 0.000019, 0.000\n65, 0.982, 0.031315, 0.031\n\nFinished at noon",
        THEIRS + "60, 1.025, 0.000019, 0.000\n" + THEIRS + "65, 0.982, 0.031315, 0.031\n",
        PRINTED + "60\t1.025\t0.000019\t0.000\t\t\n65\t0.982\t0.031315\t0.031\t\t" + AFTER,
    ],
    ids=["code of MM-LLM-RO", "continued with a second header", "printed in source 000"],
)
def test_logs_in_the_layouts_of_source_000_are_read(tmp_path, text):
    path = tmp_path / "loss_log.txt"
    path.write_text(text)
    assert run_log.read_loss_log(path) == [
        {"epoch": 60, "loss": 1.025, "mean": 0.000019, "ptv": 0.0},
        {"epoch": 65, "loss": 0.982, "mean": 0.031315, "ptv": 0.031},
    ]


def test_more_classes_than_columns_do_no_harm(tmp_path):
    path = tmp_path / "loss_log.txt"
    path.write_text(THEIRS + "5, 0.5, 0.4, 0.1, 0.2, 0.3, 0.4, 0.9, 0.9\n")
    (row,) = run_log.read_loss_log(path)
    assert row["organs"] == 0.4 and len(row) == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no header"),
        ("1, 2, 3\n", "no header"),
        (THEIRS + "5, 0.5, zero, 0.1\n", "line 5"),
        (THEIRS + "5, 0.5, 0.4\nfive, 0.5, 0.4\n", "line 6"),
    ],
)
def test_what_is_no_log_is_refused_with_its_line(tmp_path, text, message):
    path = tmp_path / "loss_log.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        run_log.read_loss_log(path)


def test_a_log_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("a.txt", "missing.txt"):
        with pytest.raises(InputError, match=name):
            run_log.read_loss_log(tmp_path / name)


def test_history_round_trip_keeps_every_digit(tmp_path):
    run_log.write_logs(tmp_path, HISTORY, {"epochs": 4}, "today", "signal")
    content = run_log.read_history(tmp_path)
    assert content == {"stopped": "signal", "config": {"epochs": 4}, "history": HISTORY}


@pytest.mark.parametrize("text", [None, "", "[]", '{"history": []}', "{"])
def test_a_folder_without_a_history_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "history.json").write_text(text)
    with pytest.raises(InputError, match=r"history\.json"):
        run_log.read_history(tmp_path)


def test_events_come_back_with_tensorboards_own_reader(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = run_log.event_writer(tmp_path, first_epoch=1)
    for row in HISTORY:
        run_log.write_events(writer, row)
    writer.close()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "val_loss", "dice", "lr", "seconds"}
    losses = [(event.step, event.value) for event in events.Scalars("loss")]
    assert losses == [(row["epoch"], pytest.approx(row["loss"])) for row in HISTORY]
    assert [event.step for event in events.Scalars("dice")] == [2, 4]


def test_events_of_epochs_done_again_are_replaced(tmp_path):
    """Killed in epoch 4, continued from epoch 3: TensorBoard shows each epoch once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first in (1, 3):
        writer = run_log.event_writer(tmp_path, first_epoch=first)
        for row in HISTORY[first - 1 :]:
            run_log.write_events(writer, row)
        writer.close()
        os.rename(*_file_of_its_own(tmp_path, first))
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]


def _file_of_its_own(folder, number):
    """Names carry only the second of writing; two runs within one second would sort by chance."""
    newest = max((folder / "events").iterdir(), key=os.path.getmtime)
    return newest, newest.with_name(f"events.out.tfevents.{number}")


class Kernel:
    kernel = "a notebook kernel"


@pytest.mark.parametrize(
    ("environment", "shell", "watched"),
    [
        ({"JPY_SESSION_NAME": "a.ipynb"}, Kernel(), True),
        ({"COLAB_RELEASE_TAG": "release"}, Kernel(), True),
        ({}, Kernel(), False),  # papermill, nbconvert: a kernel without a frontend
        ({"JPY_SESSION_NAME": "a.ipynb", "SEG_LIB_HEADLESS": "1"}, Kernel(), False),
        ({"JPY_SESSION_NAME": "a.ipynb"}, None, False),  # a script started from a notebook
        ({}, None, False),
    ],
)
def test_bars_only_where_somebody_watches(monkeypatch, environment, shell, watched):
    for name in (*run_log.LIVE_MARKS, "SEG_LIB_HEADLESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    assert run_log.is_watched() is watched


def test_without_a_bar_the_batches_pass_untouched(monkeypatch):
    monkeypatch.setenv("SEG_LIB_HEADLESS", "1")
    batches = iter([1, 2])
    assert run_log.progress(batches, "epoch 1/2", 0, 2) is batches


def test_with_a_bar_every_batch_still_passes_once(monkeypatch):
    monkeypatch.setattr(run_log, "is_watched", lambda: True)
    shown = {}

    def bar(batches, **options):
        shown.update(options)
        return batches

    monkeypatch.setattr("tqdm.notebook.tqdm", bar)
    assert list(run_log.progress([5, 6, 7], "epoch 2/9", done=4, total=7)) == [5, 6, 7]
    assert shown == {"desc": "epoch 2/9", "initial": 4, "total": 7, "leave": False}


def test_history_is_valid_json_for_other_programs(tmp_path):
    run_log.write_logs(tmp_path, HISTORY, {}, "today")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "history.json").read_text()
    assert json.loads(text, parse_constant=refuse)["stopped"] is None
