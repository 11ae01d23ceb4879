"""A Llama of under a million parameters that has read made-up clinical notes and nothing else.

    made-up rows ─ row_to_note, note_to_prompt ─> notes ─> tokenizer ─> LlamaForCausalLM ─> folder

The folder has the Hugging Face format, so `models.language_model.load_language_model` takes it the
way it takes Llama-2-7B, and every lesson runs offline. Taught in notebook 15.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_lib.data import clinical_fields as words
from seg_lib.data.notes import PROMPTS, WORDINGS, note_to_prompt, row_to_note
from seg_lib.training import TrainConfig, fit

SIZES = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4}
SIZES |= {"num_attention_heads": 4, "max_position_embeddings": 256, "tie_word_embeddings": True}
PAD, BOS, EOS = "<pad>", "<s>", "</s>"
TOKENS = 1024  # of the vocabulary; the 256 bytes are among them, so any text can be written
LONGEST = 128  # tokens of a note that are learned from
NOTES = 2000  # different notes, read again when they are used up
BATCH = 16


def made_up_rows(n_rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows as of `data.clinical_rows.read_clinical`, each field missing now and then.

    Every word of the allow-list occurs, so that no note of this project has unknown words.
    """
    rng = np.random.default_rng(seed)

    def one(values: Sequence) -> Any:
        return values[rng.integers(len(values))]

    rows = []
    for _ in range(n_rows):
        row = {"age": int(rng.integers(18, words.OLDEST_AGE + 2)), "sex": one([*words.SEXES])}
        row["age"] = row["age"] if row["age"] <= words.OLDEST_AGE else words.OLD
        row |= {"site": "lung" if rng.random() < 0.7 else one([*words.SITES])}
        row |= {"histology": one([*words.HISTOLOGIES]), "side": one([*words.SIDES])}
        row |= {"lobe": one([*words.LOBES][: 2 + (row["side"] == "right")][::-1])}
        row |= {"size_mm": round(float(rng.uniform(3, 90)), 1)}
        row |= {"t": one(["T1a", "T1b", "T1c", "T2a", "T2b", "T3", "T4"])}
        row |= {"n": one(["N0", "N1", "N2", "N3"]), "m": one(["M0", "M1a"])}
        row |= {"stage": one(["IA1", "IA2", "IA3", "IB", "IIA", "IIB", "IIIA", "IVA"])}
        row |= {"ecog": int(rng.integers(5)), "pack_years": int(rng.integers(100))}
        row |= {"bmi": round(float(rng.uniform(15, 42)), 1), "rt_aim": one([*words.AIMS])}
        row |= {"chemotherapy": one([*words.CHEMOTHERAPIES])}
        rows.append({name: value for name, value in row.items() if rng.random() < 0.85})
    return rows


def made_up_notes(n_notes: int, seed: int = 0) -> list[str]:
    """Notes in every wording and prompts in every style, in turn."""
    ways = [lambda row, v=v: row_to_note(row, v) for v in range(len(WORDINGS))]
    ways += [lambda row, style=style: note_to_prompt(row, style) for style in PROMPTS]
    return [ways[i % len(ways)](row) for i, row in enumerate(made_up_rows(n_notes, seed))]


def train_tokenizer(notes: Sequence[str]) -> Any:
    """Byte-pair encoding over bytes (as GPT-2), every digit a token of its own (as Llama)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), split])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(notes, trainer)
    special = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def note_ids(tokenizer: Any, notes: Sequence[str]) -> Tensor:
    """(N, LONGEST + 1) int64: BOS, the note, EOS, padding."""
    rows = []
    for ids in tokenizer(list(notes), add_special_tokens=False)["input_ids"]:
        line = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id][: LONGEST + 1]
        rows.append(line + [tokenizer.pad_token_id] * (LONGEST + 1 - len(line)))
    return torch.tensor(rows)


class NoteBatches:
    """``steps`` batches of notes in an order that follows from the seed, for `training.fit`."""

    def __init__(self, ids: Tensor, steps: int, seed: int):
        self.ids, self.steps = ids, steps
        rng = np.random.default_rng(seed)
        rounds = -(-steps * BATCH // len(ids))
        self.order = np.concatenate([rng.permutation(len(ids)) for _ in range(rounds)])

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for step in range(self.steps):
            chosen = self.order[step * BATCH : (step + 1) * BATCH]
            yield {"ids": self.ids[chosen], "case": [f"note {n}" for n in chosen]}


def next_token_step(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Cross-entropy of every token given those before it; padding (0) does not count."""
    ids = batch["ids"][:, : int((batch["ids"] != 0).sum(1).max())]
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return {"loss": F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)}


@torch.no_grad()
def perplexity(model: nn.Module, ids: Tensor) -> float:
    """E to the mean cross-entropy a token; as if one had to guess among so many tokens."""
    losses = [next_token_step(model, {"ids": part})["loss"] for part in ids.split(BATCH)]
    counts = torch.tensor([float((part[:, 1:] != 0).sum()) for part in ids.split(BATCH)])
    return float(torch.exp((torch.stack(losses) * counts).sum() / counts.sum()))


def train_small_llama(out_dir: str | Path, steps: int = 400, seed: int = 0) -> dict[str, float]:
    """Train tokenizer and model, and save both in ``out_dir``.

    Args:
        out_dir: gets config.json, model.safetensors and the files of the tokenizer.
        steps: of training, 16 notes each; 400 take about half a minute on two cores.
        seed: of notes, weights and order; the same seed gives the same files.

    Returns:
        "perplexity" on held-out notes, "unigram_perplexity" of who knows only how often a token
        occurs, "parameters" and "seconds".

    Taught in notebook 15.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from seg_lib.training import seed_everything

    began = time.perf_counter()
    notes = made_up_notes(NOTES, seed)
    tokenizer = train_tokenizer(notes)
    ids = note_ids(tokenizer, notes)
    held_out = note_ids(tokenizer, made_up_notes(200, seed + 1_000_000))
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    seed_everything(seed)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SIZES, **special))
    config = TrainConfig(epochs=1, learning_rate=3e-3, warmup_epochs=0.1, seed=seed)
    with tempfile.TemporaryDirectory() as run:
        fit(model, next_token_step, NoteBatches(ids, steps, seed), config, run)
    model = model.cpu().eval()
    model.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    share = torch.bincount(ids[:, 1:].flatten(), minlength=len(tokenizer))[1:] + 1.0
    seen = held_out[:, 1:][held_out[:, 1:] != 0]
    unigram = -torch.log(share / share.sum())[seen - 1].mean()
    return {
        "perplexity": perplexity(model, held_out),
        "unigram_perplexity": float(unigram.exp()),
        "parameters": float(sum(weight.numel() for weight in model.parameters())),
        "seconds": time.perf_counter() - began,
    }
