"""Checkpoints come back as they were, damaged ones are refused, and nothing in them is ever run."""

import json
import os
import pickle
import resource
import struct
import subprocess

import pytest
import torch
from torch import nn

from seg_lib.checkpoints import (
    fill_optimizer,
    load_checkpoint,
    load_newest,
    load_weights,
    optimizer_tensors,
    previous_of,
    save_checkpoint,
)
from seg_lib.errors import DataWarning, InputError


def network(classes=1, width=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, classes, 1)
    )


def test_round_trip_keeps_every_bit_and_dtype(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {
        "float": torch.randn(3, 4),
        "bfloat": torch.randn(5).bfloat16(),
        "counter": torch.tensor(7),
        "empty": torch.zeros(0, 2),
        "not contiguous": torch.arange(6.0).reshape(2, 3).T,
    }
    about = {"task": "slices2d", "window": [-1000.0, 400.0], "score": 0.1 + 0.2, "note": "Größe"}
    save_checkpoint(path, tensors, about)
    loaded, said = load_checkpoint(path)
    assert said == {"format": 1, **about}
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert all(loaded[name].dtype == tensors[name].dtype for name in tensors)


def test_tied_weights_are_written_once_a_name(tmp_path):
    """safetensors itself refuses tensors that share memory."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save_checkpoint(tmp_path / "a.safetensors", model.state_dict(), {})
    with torch.no_grad():
        before = model[0].weight.clone()
        model[0].weight.zero_()
    load_weights(model, tmp_path / "a.safetensors")
    assert torch.equal(model[0].weight, before) and model[1].weight is model[0].weight


def test_loaded_tensors_outlive_the_file(tmp_path):
    """Views of a mapped file would kill Python with a bus error here."""
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": torch.ones(100_000)}, {})
    loaded, _ = load_checkpoint(path)
    path.write_bytes(b"")
    assert loaded["x"].sum() == 100_000


def test_about_must_be_plain(tmp_path):
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "a.safetensors", {}, {"model": nn.Linear(1, 1)})
    assert list(tmp_path.iterdir()) == []


def header(length, body=b""):
    return struct.pack("<Q", length) + body


def table(**entry):
    text = json.dumps(
        {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | entry}
    ).encode()
    return header(len(text), text) + b"\0" * 16


DAMAGED = {
    "empty": b"",
    "html": b"<!DOCTYPE html><title>Sign in</title>",
    "a header of 1 TiB": header(2**40, b"{}"),
    "no table": header(5, b"{'a':"),
    "offsets beyond the end": table(data_offsets=[0, 2**40]),
    "offsets that do not fit the shape": table(shape=[5]),
    "a tensor of 4 TiB": table(shape=[2**40], data_offsets=[0, 2**42]),
    "bytes missing at the end": table()[:-3],
    "bytes too many": table() + b"more",
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_damaged_files_are_refused_by_name(tmp_path, fault):
    path = tmp_path / "best.safetensors"
    path.write_bytes(DAMAGED[fault])
    with pytest.raises(InputError, match=r"best\.safetensors: not a whole safetensors file"):
        load_checkpoint(path)


def test_the_table_for_the_damage_is_itself_whole(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(table())
    assert load_checkpoint(tmp_path / "a.safetensors")[0]["x"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("about", ["[" * 100_000, "[1]", "{", '{"format": 2}', '{"format": "1"}'])
def test_a_strange_description_or_newer_format_is_refused(tmp_path, about):
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"about": about})
    with pytest.raises(InputError, match=r"a\.safetensors"):
        load_checkpoint(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "best.safetensors")


def test_weights_of_others_need_no_description(tmp_path):
    from safetensors.torch import save_file

    model = network()
    save_file(model.state_dict(), tmp_path / "theirs.safetensors")
    assert load_weights(network(), tmp_path / "theirs.safetensors") == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("2.bias"), "missing: 2.bias"),
        (lambda w: w.update(extra=torch.zeros(1)), "unexpected: extra"),
        (
            lambda w: w.update({"2.weight": torch.zeros(2, 4, 1, 1)}),  # two classes
            r"2.weight \(2, 4, 1, 1\) instead of \(1, 4, 1, 1\)",
        ),
        (lambda w: [w.pop(name) for name in list(w)], "and 5 more"),
    ],
    ids=["missing", "unexpected", "other class count", "nothing fits"],
)
def test_weights_that_do_not_fit_are_listed_and_nothing_is_loaded(tmp_path, change, message):
    weights = {name: tensor + 1 for name, tensor in network().state_dict().items()}
    change(weights)
    save_checkpoint(tmp_path / "a.safetensors", weights, {})
    model = network()
    before = model[0].weight.clone()
    with pytest.raises(InputError, match=message):
        load_weights(model, tmp_path / "a.safetensors")
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("wrap", ["", "state_dict", "model"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_pt_files_of_tensors_can_be_read(tmp_path, wrap, zipped):
    weights = {name: tensor + 1 for name, tensor in network().state_dict().items()}
    content = {wrap: weights, "epoch": 3} if wrap else weights
    path = tmp_path / "weights.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    model = network()
    load_weights(model, path)
    assert torch.equal(model[0].weight, weights["0.weight"])


class Evil:
    def __init__(self, function, argument):
        self.function, self.argument = function, argument

    def __reduce__(self):
        return self.function, (self.argument,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "system"), (eval, "eval"), (exec, "exec"), (subprocess.getoutput, "getoutput")],
)
def test_evil_pt_files_never_run_and_name_what_they_wanted(tmp_path, function, name, zipped):
    mark = tmp_path / "ran"
    argument = f"touch {mark}" if name in ("system", "getoutput") else f"open({str(mark)!r}, 'w')"
    path = tmp_path / "gift.pt"
    content = {"x": torch.zeros(2), "y": Evil(function, argument)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=rf"gift\.pt: asks to run \S*{name}"):
        load_weights(network(), path)
    assert not mark.exists()
    assert pickle.dumps(Evil(function, argument))  # the payload itself is a working pickle


@pytest.mark.parametrize(
    "content", [b"", b"<html></html>", b"PK\x03\x04 cut", b"\x80\x02.", pickle.dumps([1, 2])]
)
def test_broken_pt_files_are_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.pth"):
        load_weights(network(), path)


def test_a_pt_file_that_is_no_dictionary_of_tensors_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="dictionary of tensors"):
        load_weights(network(), tmp_path / "a.pt")
    with pytest.raises(InputError, match="no such file"):
        load_weights(network(), tmp_path / "b.pt")


def test_the_previous_generation_is_kept_when_asked(tmp_path):
    path = tmp_path / "last.safetensors"
    for value in (1.0, 2.0, 3.0):
        save_checkpoint(path, {"x": torch.tensor(value)}, {}, keep_previous=True)
    assert load_checkpoint(path)[0]["x"] == 3
    assert load_checkpoint(previous_of(path))[0]["x"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "last.previous.safetensors",
        "last.safetensors",
    ]


class Killed(BaseException):
    """Stands for the process ending at this very call."""


def dies_after(monkeypatch, n_calls, can_link):
    """Let ``n_calls`` calls that touch the folder through; the process ends at the next one."""
    budget = iter(range(n_calls))

    def mortal(name):
        real = getattr(os, name)

        def call(*arguments, **options):
            if next(budget, None) is None:
                raise Killed
            if name == "link" and not can_link:
                raise OSError(1, "not on this file system")
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("link", "replace", "fsync", "unlink"):
        mortal(name)


@pytest.mark.filterwarnings("ignore::seg_lib.errors.DataWarning")
@pytest.mark.parametrize("can_link", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("n_calls", range(5))
def test_killed_at_any_call_a_whole_checkpoint_is_left(tmp_path, monkeypatch, n_calls, can_link):
    path = tmp_path / "last.safetensors"
    for value in (1.0, 2.0):
        save_checkpoint(path, {"x": torch.tensor(value)}, {}, keep_previous=True)
    with monkeypatch.context() as patch:
        dies_after(patch, n_calls, can_link)
        with pytest.raises(Killed):
            save_checkpoint(path, {"x": torch.tensor(3.0)}, {}, keep_previous=True)
    if can_link:
        assert load_checkpoint(path)[0]["x"] in (2, 3)  # the name itself is never without a file
    assert load_newest(path)[0]["x"] in (2, 3)


def test_a_damaged_newest_is_put_aside_and_the_one_before_is_used(tmp_path):
    path = tmp_path / "last.safetensors"
    for value in (1.0, 2.0):
        save_checkpoint(path, {"x": torch.tensor(value)}, {}, keep_previous=True)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(DataWarning, match="Going on from last.previous.safetensors"):
        assert load_newest(path)[0]["x"] == 1
    save_checkpoint(path, {"x": torch.tensor(3.0)}, {}, keep_previous=True)
    assert load_checkpoint(previous_of(path))[0]["x"] == 1  # not the damaged one
    assert load_newest(path)[0]["x"] == 3


def test_two_damaged_generations_are_an_error(tmp_path):
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"cut")
    with pytest.raises(InputError, match=r"last\.safetensors: not a whole safetensors file"):
        load_newest(path)
    previous_of(path).write_bytes(b"cut")
    with pytest.raises(InputError, match=r"\.safetensors: not a whole safetensors file"):
        load_newest(path)
    assert path.is_file(), "nothing is put aside where nothing else can be used"


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path):
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, {"x": torch.tensor(1.0)}, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(InputError, match=r"best\.safetensors: cannot be written"):
            save_checkpoint(path, {"x": torch.zeros(1_000_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(path)[0]["x"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["best.safetensors"]


@pytest.mark.parametrize("kind", ["AdamW", "SGD", "SGD without momentum"])
def test_the_optimizer_remembers(kind):
    def steps(model, optimizer, n):
        for _ in range(n):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()

    def made():
        torch.manual_seed(1)
        model = nn.Linear(3, 2)
        if kind == "AdamW":
            return model, torch.optim.AdamW(model.parameters(), lr=0.1)
        momentum = 0.9 if kind == "SGD" else 0
        return model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=momentum)

    straight, optimizer = made()
    steps(straight, optimizer, 3)
    weights = {name: tensor.clone() for name, tensor in straight.state_dict().items()}
    memory = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}
    steps(straight, optimizer, 2)
    resumed, optimizer = made()
    resumed.load_state_dict(weights)
    fill_optimizer(optimizer, memory)
    steps(resumed, optimizer, 2)
    assert torch.equal(straight.weight, resumed.weight)


@pytest.mark.parametrize("fault", ["smaller", "of one weight too many"])
def test_an_optimizer_memory_of_other_weights_is_refused(fault):
    """The fused optimizers read beyond the end of a smaller memory: Python itself crashed."""
    weight = torch.nn.Parameter(torch.ones(3, 2))
    optimizer = torch.optim.AdamW([weight], fused=True)
    weight.sum().backward()
    optimizer.step()
    memory = optimizer_tensors(optimizer)
    if fault == "smaller":
        memory["0.exp_avg"] = memory["0.exp_avg"][:1]
    else:
        memory |= {name.replace("0.", "1."): tensor for name, tensor in memory.items()}
    with pytest.raises(InputError, match="made with other trained weights"):
        fill_optimizer(optimizer, memory)


def test_the_optimizer_memory_gets_the_layout_of_its_weight():
    """Another layout is slower, and may add up in another order."""
    layer = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    saved = {name: tensor.contiguous() for name, tensor in optimizer_tensors(optimizer).items()}
    fresh = torch.optim.AdamW(layer.parameters())
    fill_optimizer(fresh, saved)
    for memory in fresh.state.values():
        assert all(tensor.dtype == torch.float32 for tensor in memory.values())
    assert fresh.state[layer.weight]["exp_avg"].stride() == layer.weight.stride()
    assert saved["0.exp_avg"].stride() != layer.weight.stride()
