"""The small Llama: a Hugging Face folder like any other, whose states say where the tumour is."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from seg_lib.data.notes import WORDINGS, row_to_note
from seg_lib.errors import InputError
from seg_lib.models import language_model
from seg_lib.models.language_model import llama_cost, load_language_model
from seg_lib.models.text_encoder import TextEncoder, tokenize_notes
from seg_lib.small_llama import made_up_notes, made_up_rows, token_ids, train_small_llama
from seg_lib.training import TrainConfig, fit

LLAMA_2_7B = LlamaConfig()  # its defaults are those sizes


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """(folder, what the training says): 150 steps, about 13 s."""
    folder = tmp_path_factory.mktemp("small_llama")
    return folder, train_small_llama(folder, steps=150)


def test_it_learned_the_language_of_the_notes(small):
    """Far better than who knows only how often each token occurs, on notes it never saw."""
    folder, found = small
    tokenizer, _ = load_language_model(folder)
    ids = [token_ids(tokenizer, made_up_notes(500, seed))[:, 1:] for seed in (3, 4)]
    counts = torch.bincount(ids[0].flatten(), minlength=len(tokenizer))[1:] + 1.0
    seen = ids[1][ids[1] != 0] - 1
    unigram = float((-torch.log(counts / counts.sum())[seen]).mean().exp())
    assert unigram > 50 and 1.3 < found["perplexity"] < unigram / 15
    assert found["parameters"] < 1e6


def test_the_folder_is_one_of_hugging_face(small):
    folder, found = small
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert isinstance(model, LlamaForCausalLM) and model.num_parameters() == found["parameters"]
    assert llama_cost(model.config, 1)["parameters"] == found["parameters"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3e6


def where(row):
    return {"side", "lobe"} <= set(row)


@pytest.mark.parametrize("order", ["prompts_first", "note_first"])
def test_side_and_lobe_can_be_read_from_the_state_at_seg(small, order):
    """By a straight line, on other notes, and in a wording that the line was not drawn with."""
    tokenizer, model = load_language_model(small[0])
    torch.manual_seed(0)
    encoder = TextEncoder(model, order=order)

    def states(rows, variants):
        notes = [row_to_note(row, variants[i % len(variants)]) for i, row in enumerate(rows)]
        with torch.no_grad():
            return encoder(tokenize_notes(tokenizer, notes)[0]).flatten(1).numpy()

    learn, test = (list(filter(where, made_up_rows(n, seed))) for n, seed in ((350, 11), (250, 12)))
    for left_out in range(len(WORDINGS)):
        known = [variant for variant in range(len(WORDINGS)) if variant != left_out]
        x, unseen = states(learn, known), states(test, [left_out])
        mean, spread = x.mean(0), x.std(0)
        for fact in ("side", "lobe"):
            line = LogisticRegression(max_iter=2000, C=0.1)
            line.fit((x - mean) / spread, [row[fact] for row in learn])
            right = line.score((unseen - mean) / spread, [row[fact] for row in test])
            assert right >= 0.95, (fact, left_out)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_seed_gives_the_same_files(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_small_llama(tmp_path / name, steps=3, seed=seed)
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert digest(tmp_path / "a" / file) == digest(tmp_path / "b" / file)
    assert digest(tmp_path / "a/model.safetensors") != digest(tmp_path / "c/model.safetensors")


def test_made_up_rows_have_gaps_and_key_words_only_of_what_the_note_says():
    rows = made_up_rows(600)
    assert rows == made_up_rows(600) != made_up_rows(600, 1)
    assert {len(row) for row in rows} >= {2, 5, 16} and not any("mrn" in row for row in rows)
    assert not any(row.get("side") == "left" and row.get("lobe") == "middle" for row in rows)
    pairs = made_up_notes(600)
    assert all(
        word in note for note, known in pairs for word in known.split() if known != "unknown"
    )
    assert any(known == "unknown" for _, known in pairs)
    assert {known.split()[0] for _, known in pairs} > {"left", "right", "upper", "T3", "IIIA"}


# ---- loading -------------------------------------------------------------------------------------


def test_what_is_loaded_is_frozen_and_as_precise_as_asked(small):
    tokenizer, model = load_language_model(small[0])
    assert isinstance(model, LlamaModel) and not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    expected = torch.float32 if model.device.type == "cpu" else torch.bfloat16
    assert model.dtype == expected
    assert load_language_model(str(small[0]), "bf16")[1].dtype == torch.bfloat16
    assert tokenizer.bos_token_id == model.config.bos_token_id == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such/folder", "no such folder"),
        ("../nothing_here", "no such folder"),
        ("llama", "owner/model"),
        ("a/b/c", "no such folder"),
    ],
)
def test_a_name_of_nothing(name, message):
    with pytest.raises(InputError, match=message):
        load_language_model(name)


def test_without_the_hub_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(language_model, "why_out_of_reach", lambda *_: "no connection")
    with pytest.raises(InputError, match="no connection.*train_small_llama"):
        load_language_model("meta-llama/Llama-2-7b-chat-hf")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            "You are trying to access a gated repo. 401 Client Error.",
            "ask for access.*hf auth login",
        ),
        ("nobody/nothing is not a local folder and is not a valid identifier", "check the name"),
    ],
)
def test_a_gated_model_and_one_that_is_not_there(monkeypatch, answer, message):
    def refuse(*_, **__):
        raise OSError(answer)

    monkeypatch.setattr(language_model, "why_out_of_reach", lambda *_: None)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(InputError, match=message):
        load_language_model("meta-llama/Llama-2-7b-chat-hf")


def changed(small, tmp_path, **values):
    """A copy of the folder with other values in config.json."""
    folder = shutil.copytree(small[0], tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


def test_another_family(small, tmp_path):
    with pytest.raises(InputError, match="is a 'gpt2'.*SmolLM2"):
        load_language_model(changed(small, tmp_path, model_type="gpt2"))


def test_a_folder_that_is_damaged_in_many_ways(small, tmp_path):
    whole = (small[0] / "model.safetensors").read_bytes()
    folder = changed(small, tmp_path)
    (folder / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_language_model(folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")  # a pickle is never read
    with pytest.raises(InputError, match="cannot be loaded"):
        load_language_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_language_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        load_language_model(folder)


@pytest.mark.parametrize(
    "values", [{"num_hidden_layers": 3}, {"vocab_size": 600}, {"hidden_size": 64}, {"head_dim": 4}]
)
def test_weights_that_do_not_belong_to_the_sizes(small, tmp_path, values):
    with pytest.raises(InputError, match="missing|cannot be loaded|tokenizer"):
        load_language_model(changed(small, tmp_path, **values))


def test_more_than_the_memory_holds_and_precisions(small, monkeypatch):
    monkeypatch.setattr(language_model.torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="choose one of: auto"):
        load_language_model(small[0], "int3")
    with pytest.raises(InputError, match="bitsandbytes"):
        load_language_model(small[0], "4bit")
    nearly_nothing = type("Memory", (), {"available": 1e6})
    monkeypatch.setattr("psutil.virtual_memory", lambda: nearly_nothing)
    with pytest.raises(InputError, match=r"needs 0.0 GB in fp32"):
        load_language_model(small[0])


# ---- costs ---------------------------------------------------------------------------------------


def test_llama_2_7b_by_hand():
    with torch.device("meta"):
        model = LlamaForCausalLM(LLAMA_2_7B)
    found = llama_cost(LLAMA_2_7B, 136)
    assert found["parameters"] == 6_738_415_616 == sum(w.numel() for w in model.parameters())
    assert found["body_parameters"] == sum(w.numel() for w in model.model.parameters())
    assert found["parameters"] * 2 / 1e9 == pytest.approx(13.48, abs=0.01)
    assert found["weights_gb"] == pytest.approx(13.21, abs=0.01)  # without the head
    # a layer: 4 matrices 4096 x 4096, 3 of 4096 x 11008; 2 x 136 tokens; attention 136 x 136
    layer = 4 * 4096**2 + 3 * 4096 * 11008
    assert found["tflop"] == 2 * 32 * (2 * layer * 136 + 4 * 136**2 * 4096) / 1e12
    assert found["tflop"] == pytest.approx(3.54, abs=0.01)
    assert found["cache_bytes_per_token"] == 524_288  # 32 layers x 2 x 4096 x 2 bytes
    assert found["activations_gb"] == pytest.approx(1.146, abs=0.001)
    after = llama_cost(LLAMA_2_7B, 9, known=121)
    assert after["step_tflop"] / found["step_tflop"] == pytest.approx(0.066, abs=0.001)
    assert llama_cost(LLAMA_2_7B, 1, bits=4.5)["weights_gb"] == pytest.approx(3.72, abs=0.01)


@pytest.mark.parametrize("kv_heads", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operations_and_activations_are_those_that_torch_counts(kv_heads, dtype):
    sizes = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3}
    config = LlamaConfig(
        **sizes, vocab_size=50, num_attention_heads=4, num_key_value_heads=kv_heads
    )
    model = LlamaModel(config).to(dtype).requires_grad_(False)
    own = {w.untyped_storage().data_ptr() for w in [*model.parameters(), *model.buffers()]}
    kept = {}

    def keep(tensor):
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in own:
            kept[memory.data_ptr()] = (memory.nbytes(), tensor)  # held, or the place is used again
        return tensor

    line = torch.randn(2, 40, 64, dtype=dtype, requires_grad=True)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        FlopCounterMode(display=False) as counter,
    ):
        model(inputs_embeds=line, use_cache=False)
    expected = llama_cost(config, 40, bits=dtype.itemsize * 8)
    assert counter.get_total_flops() / 1e12 == pytest.approx(expected["tflop"], rel=1e-3)
    found = sum(size for size, _ in kept.values()) / 1e9
    assert found == pytest.approx(expected["activations_gb"], rel=0.06)  # and the last norm


def test_tied_embeddings_and_grouped_heads_are_counted_once():
    sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    smol = LlamaConfig(  # SmolLM2-135M
        **sizes,
        vocab_size=49152,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    assert llama_cost(smol, 1)["parameters"] == 134_515_008
    assert np.isclose(llama_cost(smol, 1)["cache_bytes_per_token"], 30 * 2 * 3 * 64 * 2)


# ---- training ------------------------------------------------------------------------------------


class SideReader(nn.Module):
    """The least network that listens to a note: left or right?"""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, 2)

    def forward(self, notes):
        return self.head(self.encoder(notes).mean(1))


def reading_step(model, batch):
    return {"loss": nn.functional.cross_entropy(model(batch["notes"]), batch["label"])}


@pytest.mark.parametrize("kind", ["live", "cached"])
def test_batches_of_notes_go_through_fit(small, tmp_path, kind):
    """Prompts learn to ask for the side, and the files of the run hold no language model."""
    tokenizer, language_model = load_language_model(small[0])
    rows = [row for row in made_up_rows(120, 5) if "side" in row][:64]
    tokens, _ = tokenize_notes(tokenizer, [row_to_note(row) for row in rows])
    label = torch.tensor([int(row["side"] == "left") for row in rows])
    torch.manual_seed(0)
    model = SideReader(TextEncoder(language_model, order="note_first"))
    before = language_model.layers[0].mlp.up_proj.weight.clone()
    notes = tokens if kind == "live" else model.encoder.remember(tokens, device="cpu")
    parts = [list(range(start, start + 8)) for start in range(0, 64, 8)]
    batches = [{"notes": notes[p], "label": label[p], "case": [str(n) for n in p]} for p in parts]
    config = TrainConfig(epochs=4, learning_rate=1e-2, precision="bf16", ema_decay=0.5)
    history = fit(model, reading_step, batches, config, tmp_path, lambda m: {"score": 1.0})
    assert history[-1]["loss"] < 0.2 < history[0]["loss"]
    assert torch.equal(before.cpu(), language_model.layers[0].mlp.up_proj.weight.cpu())
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) < 2e5
