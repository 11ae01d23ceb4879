"""A Llama of half a million parameters that has read made-up clinical notes and nothing else.

    made-up rows ─ row_to_note, note_to_prompt ─> notes ─> tokenizer ─> LlamaForCausalLM ─> folder

The folder has the Hugging Face format, so `models.language_model.load_language_model` takes it the
way it takes Llama-2-7B, and every lesson runs offline.

After each note stands the end-of-text token and then, in any order, the key words: side, lobe, T
and stage. To predict them, the model must gather at the end of a note where the tumour is, however
the note puts it. Llama-2 has learned to sum up from two million million tokens; a small model that
only continues notes has no need to (0.73 of the sides could be read there, instead of all).
Taught in notebook 15.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_lib.data import clinical_fields as words
from seg_lib.data.notes import PROMPTS, WORDINGS, note_to_prompt, row_to_note
from seg_lib.models.language_model import quiet
from seg_lib.training import TrainConfig, fit, seed_everything

SIZES = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 8, "max_position_embeddings": 512, "tie_word_embeddings": True}
SIZES |= {"initializer_range": 0.06}  # near 1/√128; 0.02, made for wide models, learns 4 x slower
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TOKENS = 1024  # of the vocabulary; the 256 bytes are among them, so any text can be written
NOTES, BATCH = 4000, 16
KEY_WORDS = ("side", "lobe", "t", "stage")
WEIGHT = 10.0  # of a key word, where a token of the note counts 1
SHARES = (0.0, 0.2, 1.0)  # of the other facts that a note tells; short ones teach faster
LETTERS = {"t": ["T1a", "T1b", "T1c", "T2a", "T2b", "T3", "T4"], "n": ["N0", "N1", "N2", "N3"]}
LETTERS |= {"m": ["M0", "M1a"], "stage": ["IA1", "IA2", "IA3", "IB", "IIA", "IIB", "IIIA", "IVA"]}
LISTS = {"sex": words.SEXES, "site": words.SITES, "histology": words.HISTOLOGIES}
LISTS |= {"side": words.SIDES, "rt_aim": words.AIMS, "chemotherapy": words.CHEMOTHERAPIES}


def made_up_rows(n_rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows as of `data.clinical_rows.read_clinical`, with gaps; every word of its lists occurs."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n_rows):
        age = int(rng.integers(18, words.OLDEST_AGE + 2))
        row = {"age": age if age <= words.OLDEST_AGE else words.OLD}
        for name, known in (LISTS | LETTERS).items():
            row[name] = str(rng.choice(list(known)))
        lobes = ["upper", "lower"] if row["side"] == "left" else ["upper", "middle", "lower"]
        row |= {"lobe": str(rng.choice(lobes)), "ecog": int(rng.integers(5))}
        row |= {"size_mm": round(float(rng.uniform(3, 90)), 1)}
        row |= {"bmi": round(float(rng.uniform(15, 42)), 1), "pack_years": int(rng.integers(100))}
        share = rng.choice(SHARES)
        often = {"side": 0.9, "lobe": 0.9, "t": 0.5}
        told = {name: rng.random() < max(share, often.get(name, 0)) for name in row}
        rows.append({name: value for name, value in row.items() if told[name]})
    return rows


def made_up_notes(n_notes: int, seed: int = 0) -> list[tuple[str, str]]:
    """(note, key words) in every wording and style, in turn."""
    rng = np.random.default_rng([seed, 1])
    pairs = []
    for number, row in enumerate(made_up_rows(n_notes, seed)):
        way = number % (len(WORDINGS) + len(PROMPTS))
        style = PROMPTS[way - len(WORDINGS)]
        note = row_to_note(row, way) if way < len(WORDINGS) else note_to_prompt(row, style)
        said = [row[name] for name in KEY_WORDS if name in row and row[name] in note]
        pairs.append((note, " ".join(rng.permutation(said or ["unknown"]))))
    return pairs


def train_tokenizer(texts: Sequence[str]) -> Any:
    """Byte-pair encoding over bytes (as GPT-2), every digit a token of its own (as Llama)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), split])
    tokenizer.decoder = decoders.ByteLevel()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}  # ids 0, 1, 2
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=list(special.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def token_ids(tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> Tensor:
    """(N, T) int64: BOS, the note, EOS, the key words, EOS, padding (0)."""
    texts = [f"<s>{note}</s> {known}</s>" for note, known in pairs]
    return tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt").input_ids


def next_token_step(
    model: nn.Module, batch: Mapping[str, Any], weight: float = WEIGHT
) -> dict[str, Tensor]:
    """Cross-entropy of every token given those before it; a key word counts ``weight`` times."""
    ids = batch["ids"][:, : int((batch["ids"] != 0).sum(1).max())]
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    losses = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")  # (B, T - 1)
    ended = (ids == SPECIAL["eos_token_id"]).cumsum(1)[:, :-1] > 0
    counts = torch.where(ended, weight, 1.0) * (ids[:, 1:] != 0)
    return {"loss": (losses * counts).sum() / counts.sum()}


def train_small_llama(out_dir: str | Path, steps: int = 200, seed: int = 0) -> dict[str, float]:
    """Train tokenizer and model, and save both in ``out_dir``.

    Args:
        out_dir: gets config.json, model.safetensors and the files of the tokenizer.
        steps: of 16 notes. 200 take about 17 s on one core; from 100 on, side and lobe can be read
            from the state at the end of a note.
        seed: of notes, weights and order; the same seed gives the same files.

    Returns:
        "perplexity" of held-out notes (among so many tokens one would have to guess), "parameters"
        and "seconds".

    Taught in notebook 15.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    began = time.perf_counter()
    pairs = made_up_notes(NOTES, seed)
    tokenizer = train_tokenizer([f"{note} {known}" for note, known in pairs])
    ids, chance = token_ids(tokenizer, pairs), np.random.default_rng([seed, 2])
    order = [chance.integers(NOTES, size=BATCH) for _ in range(steps)]
    batches = [{"ids": ids[chosen], "case": [f"note {n}" for n in chosen]} for chosen in order]
    seed_everything(seed)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SIZES, **SPECIAL))
    config = TrainConfig(epochs=1, learning_rate=5e-3, warmup_epochs=0.1, seed=seed)
    with tempfile.TemporaryDirectory() as run:
        fit(model, next_token_step, batches, config, run)
    model = model.cpu().eval()
    with quiet():
        model.save_pretrained(out_dir)
        tokenizer.save_pretrained(out_dir)
    held_out = token_ids(tokenizer, made_up_notes(200, seed + 1_000_000))
    with torch.no_grad():
        loss = next_token_step(model, {"ids": held_out}, weight=1.0)["loss"]
    return {
        "perplexity": float(loss.exp()),
        "parameters": float(sum(weight.numel() for weight in model.parameters())),
        "seconds": time.perf_counter() - began,
    }
