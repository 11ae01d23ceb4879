"""Load a language model of the Llama family, and say beforehand what it costs.

Taught in notebook 15.
"""

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from seg_lib.errors import InputError
from seg_lib.memory import has_bf16
from seg_lib.models.hub import why_out_of_reach

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
BITS = {"fp32": 32, "fp16": 16, "bf16": 16, "4bit": 4.5}  # nf4: 4, and a scale for 64 weights
PRECISIONS = ("auto", *BITS)
OPEN = "HuggingFaceTB/SmolLM2-135M or TinyLlama/TinyLlama-1.1B-Chat-v1.0"  # anybody may fetch them


def load_language_model(name: str | Path, precision: str = "auto") -> tuple[Any, Any]:
    """A tokenizer and the body of a Llama (no head), frozen and in evaluation mode.

    Weights are read from safetensors only, and no code of a repository is run.

    Args:
        name: a folder in the Hugging Face format, such as that of `small_llama`, or a name on the
            hub, such as "meta-llama/Llama-2-7b-chat-hf".
        precision: "auto" (bf16 on a GPU that has it, fp16 on another, fp32 on a CPU), "fp32",
            "fp16", "bf16", or "4bit", which needs a GPU and the package bitsandbytes.

    Returns:
        (tokenizer, model); the model lies on the GPU if there is one.

    Raises:
        InputError: not there, not allowed, another family, damaged, or too large for this machine.

    Taught in notebook 15.
    """
    from transformers import AutoModel, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = _config(name)
    how = _fitting(name, config, precision, device)
    try:
        with quiet():  # that the head is left out needs no table
            tokenizer = AutoTokenizer.from_pretrained(name)
            model, report = AutoModel.from_pretrained(
                name, config=config, use_safetensors=True, output_loading_info=True, **how
            )
    except Exception as error:  # a damaged file makes the readers fail in any way
        raise InputError(_why(name, error)) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(f"{name}: {len(missing)} weights are missing, such as {missing[0]}.")
    if max(tokenizer.get_vocab().values()) >= config.vocab_size:
        raise InputError(f"{name}: the tokenizer knows more tokens than the model has.")
    model = model.requires_grad_(False).eval()
    return tokenizer, model if "quantization_config" in how else model.to(device)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no remarks of transformers in this block."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _config(name: str | Path) -> Any:
    """The sizes of the model, once it is sure that it is there and a Llama."""
    from transformers import AutoConfig

    if not Path(name).is_dir():
        if not isinstance(name, str) or name.count("/") != 1 or name.startswith((".", "/", "~")):
            raise InputError(f"{name}: no such folder; a name on the hub reads owner/model.")
        if why := why_out_of_reach(name, "config.json"):
            raise InputError(
                f"{name} is out of reach ({why}); go online once, copy its folder here and give "
                "its path, or train the small one: seg_lib.small_llama.train_small_llama."
            )
    try:
        config = AutoConfig.from_pretrained(name)
    except Exception as error:
        raise InputError(_why(name, error)) from error
    if config.model_type != "llama":
        raise InputError(f"{name} is a '{config.model_type}'; take a Llama, such as {OPEN}.")
    return config


def _why(name: str | Path, error: Exception) -> str:
    """What went wrong and what to do, in a sentence."""
    text = " ".join(str(error).split())
    if any(sign in text for sign in ("gated", "401", "403")):
        return (
            f"{name} is gated: ask for access on huggingface.co/{name}, then log in with "
            f"'hf auth login'; or take an open one: {OPEN}."
        )
    return f"{name}: cannot be loaded ({text[:200]}); check the name or copy the folder again."


def _fitting(name: str | Path, config: Any, precision: str, device: str) -> dict[str, Any]:
    """How to load, once it is sure that this machine can: before minutes of reading."""
    import psutil
    from transformers import BitsAndBytesConfig

    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}; choose one of: {', '.join(PRECISIONS)}.")
    if precision == "auto":  # fp16 where bf16 would be emulated
        precision = "fp32" if device != "cuda" else "bf16" if has_bf16("cuda") else "fp16"
    if precision == "4bit" and (device == "cpu" or not importlib.util.find_spec("bitsandbytes")):
        raise InputError(
            "precision '4bit' needs a CUDA device and the package bitsandbytes "
            "(pip install bitsandbytes); take 'bf16' or 'auto'."
        )
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available
    need = llama_cost(config, 1, bits=BITS[precision])["weights_gb"]
    if need > free / 1e9:
        raise InputError(
            f"{name} needs {need:.1f} GB in {precision} and {free / 1e9:.1f} GB are free; "
            f"take another precision ({', '.join(BITS)}) or a smaller model."
        )
    if precision != "4bit":
        return {"dtype": DTYPES[precision]}
    four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    four = BitsAndBytesConfig(load_in_4bit=True, **four)
    return {"dtype": torch.bfloat16, "quantization_config": four, "device_map": {"": 0}}


def llama_cost(
    config: Any, tokens: int, sequences: int = 2, known: int = 0, bits: float = 16
) -> dict[str, float]:
    """What a Llama costs, from the sizes alone.

    Args:
        config: a `transformers.LlamaConfig`.
        tokens: of each sequence that are computed.
        sequences: computed side by side, P for every note.
        known: tokens before them whose keys and values are remembered.
        bits: of a weight; activations and the cache have at least 16.

    Returns:
        "parameters" with the head that predicts words, "body_parameters" without; of the body,
        "weights_gb" (10^9 bytes); "tflop" of a forward pass (10^12 operations), and "step_tflop"
        with the way back to the learned vectors, which costs the same again, not twice, because no
        frozen weight gets a gradient; "activations_gb" kept for it; "cache_bytes_per_token".
    """
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    heads = config.num_attention_heads * config.head_dim
    kv_heads = config.num_key_value_heads * config.head_dim
    table = config.vocab_size * width
    matrices = layers * (2 * width * heads + 2 * width * kv_heads + 3 * width * inner)
    body = table + matrices + (2 * layers + 1) * width
    looks = tokens * (known + tokens) * heads  # query times key, and again weight times value
    tflop = sequences * (2 * matrices * tokens + 4 * layers * looks) / 1e12
    number = max(bits, 16) / 8  # bytes
    # The norms keep their input in float32 (and a scale), attention q, k, v, its output and a sum
    # for each head, the gated layer three products.
    kept = 8 * width + 8 + 4 * config.num_attention_heads
    kept += number * (2 * heads + 2 * kv_heads + 3 * inner)
    return {
        "parameters": body + (0 if config.tie_word_embeddings else table),
        "body_parameters": body,
        "weights_gb": body * bits / 8 / 1e9,
        "tflop": tflop,
        "step_tflop": 2 * tflop,
        "activations_gb": layers * kept * sequences * tokens / 1e9,
        "cache_bytes_per_token": 2 * layers * kv_heads * number,
    }
