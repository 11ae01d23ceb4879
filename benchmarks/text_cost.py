"""What the note costs a training step, read anew or remembered; and the memory of the network.

    python benchmarks/text_cost.py [--memory]

Forward and backward through the text encoder for a batch of two notes, two sequences a note, eight
learned vectors in each, in float32. Five ways, timed in turn so that a busy machine slows all:

    prompts_first            vectors before the note; it must be read in every step, and backwards
    note_first, live         vectors after the note; the note is read without a gradient
    note_first, cached       the note's keys and values are remembered
    note_first, empty note   only the vectors: what even no text at all would cost
    image step               a small 3D U-Net, two patches of 48 x 48 x 48, forward, backward, AdamW

"beyond the prompts" is cached minus empty, as a share of the image step.

With ``--memory`` instead the peak memory of the network in the sizes of the release, on the region
of source 001: of one training step (forward and backward of one image and two vectors of text,
without the optimizer), of the same with the blocks computed again on the way back, and of one
prediction; each in a process of its own, in float32.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch
from machine import machine, peak_mb
from transformers import LlamaConfig, LlamaModel

from seg_lib import costs
from seg_lib.data.notes import row_to_note
from seg_lib.files import write_text
from seg_lib.losses import dice_ce
from seg_lib.memory import keep_memory
from seg_lib.models import build_model
from seg_lib.models.language_model import llama_cost, load_language_model
from seg_lib.models.presets import fast_layout, sizes_for
from seg_lib.models.text_encoder import NoteCache, NoteTokens, TextEncoder, tokenize_notes
from seg_lib.small_llama import made_up_rows, train_small_llama

# Sizes of SmolLM2-135M, https://huggingface.co/HuggingFaceTB/SmolLM2-135M; weights are random
SMOL = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536}
SMOL |= {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
BATCH = 2
REGION = (64, 352, 352)  # voxels, source 001
WAYS = {"step": False, "step, recomputed": True, "prediction": False}  # with recompute or without


def text_seconds(encoder: TextEncoder, notes: NoteTokens | NoteCache) -> float:
    """Forward and backward once."""
    began = time.perf_counter()
    encoder(notes).square().sum().backward()
    return time.perf_counter() - began


def cost_of(model: LlamaModel, tokens: NoteTokens, rounds: int) -> dict:
    """Median milliseconds of each way, and what remembering takes."""
    before, after = TextEncoder(model), TextEncoder(model, order="note_first")
    began = time.perf_counter()
    cache = after.remember(tokens)
    remember = (time.perf_counter() - began) / len(tokens)
    nothing = after.remember(NoteTokens(tokens.ids[:, :1], tokens.mask[:, :1]))
    image = build_model("unet3d", **sizes_for("unet3d", 48, "small"))
    found = {name: [] for name in ("prompts_first", "live", "cached", "empty", "image_step")}
    for start in range(rounds + 1):
        some = [(start * BATCH + i) % len(tokens) for i in range(BATCH)]
        found["prompts_first"].append(text_seconds(before, tokens[some]))
        found["live"].append(text_seconds(after, tokens[some]))
        for _ in range(3):  # the short ones more often
            found["cached"].append(text_seconds(after, cache[some]))
            found["empty"].append(text_seconds(after, nothing[some]))
        found["image_step"].append(costs.step_seconds(image, (BATCH, 1, 48, 48, 48), steps=1))
    ms = {name: 1e3 * median(took[1:]) for name, took in found.items()}  # the first warms up
    return {
        "ms": ms,
        "share_of_image_step": {name: ms[name] / ms["image_step"] for name in ms},
        "beyond_the_prompts": (ms["cached"] - ms["empty"]) / ms["image_step"],
        "remember_ms_a_note": 1e3 * remember,
        "cache_megabytes_a_note": cache.megabytes / len(tokens),
        "arithmetic": llama_cost(model.config, tokens.ids.shape[1] + 9, bits=32),
    }


def memory_of(way: str, region: tuple[int, ...], threads: int) -> None:
    """In a process of its own: do it once and print the peak of this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    before = peak_mb()
    model = build_model("text_unet3d", recompute=WAYS[way])
    model = model.to(memory_format=fast_layout("text_unet3d"))
    image, text = torch.rand(1, 1, *region), torch.randn(1, 2, model.text_width)
    if not WAYS[way]:
        keep_memory()  # as `fit` and `sliding_window` do
    if way == "prediction":
        with torch.no_grad():
            model.eval()(image, text)
    else:
        text.requires_grad_()  # the prompts learn
        dice_ce(model.train()(image, text), (image > 0.9).long()).backward()
    print(json.dumps({"peak_mb": peak_mb(), "before_mb": before}))


def in_process(way: str, words: argparse.Namespace) -> dict:
    """What `memory_of` prints when this file is called for it."""
    call = [sys.executable, __file__, "--way", way, "--threads", str(words.threads)]
    call += ["--region", *map(str, words.region)]
    out = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    """Measure what was asked for and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=30, help="of the small Llama's training")
    parser.add_argument("--layers", type=int, default=30, help="of the larger one")
    parser.add_argument("--region", type=int, nargs=3, default=REGION, help="voxels")
    parser.add_argument("--memory", action="store_true", help="of the network, and nothing else")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.way:
        return memory_of(words.way, tuple(words.region), words.threads)
    torch.set_num_threads(words.threads)
    path = words.out / "text_cost.json"
    result = json.loads(path.read_text()) if path.is_file() else {}  # the other part is kept
    if words.memory:
        found = {way: in_process(way, words) for way in WAYS}
        result["memory"] = {"region": words.region, "machine": machine(), "ways": found}
        print("memory", json.dumps(found, indent=1), flush=True)
    else:
        result |= cost_of_notes(words)
    write_text(path, json.dumps(result, indent=1) + "\n")


def cost_of_notes(words: argparse.Namespace) -> dict:
    """Both language models."""
    torch.manual_seed(0)
    versions = machine() | {"transformers": version("transformers")}
    result = {"batch": BATCH, "machine": versions, "models": {}}
    with tempfile.TemporaryDirectory() as folder:
        train_small_llama(folder, words.steps)
        tokenizer, small = load_language_model(folder)
    smol = LlamaModel(LlamaConfig(**SMOL, num_hidden_layers=words.layers))
    rows = [row for row in made_up_rows(60) if len(row) == 16][:8]  # nothing is missing: long
    tokens, cut = tokenize_notes(tokenizer, [row_to_note(row) for row in rows])
    result |= {"tokens_a_note": tokens.mask.sum(1).tolist(), "tokens_cut": cut}
    for name, model in (("small_llama", small), ("SmolLM2-135M sizes", smol)):
        found = result["models"][name] = cost_of(model.cpu(), tokens, words.rounds)
        print(name, json.dumps(found, indent=1), flush=True)
    return result


if __name__ == "__main__":
    main()
