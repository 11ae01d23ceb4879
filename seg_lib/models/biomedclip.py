"""BiomedCLIP: a picture and a sentence as points of one space.

    image (B, 3, S, S) ─ image tower of timm ────────── project ─> (B, E) ┐
                                                                          cosine: how alike they are
    sentences ─ BERT of transformers, state at [CLS] ── project ─> (T, E) ┘

The towers are timm's and transformers'. What open_clip, in whose format BiomedCLIP is published,
puts between them is these few lines, under its names, so that the published weights fit as they
are; open_clip itself would ask the hub for a second repository, with the sizes of PubMedBERT, even
where the folder is there. Zhang et al. 2023, https://arxiv.org/abs/2303.00915. Taught in lesson 21.

Legend: B images, T sentences, L tokens, E features of the common space, S pixels along a side.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seg_lib.errors import InputError
from seg_lib.models.language_model import quiet

CONFIG = "open_clip_config.json"
SAFE, PICKLED = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
GREY = {"mean": [0.5], "std": [0.25]}  # of a twin's pixels; published models bring their own
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class BiomedClip(nn.Module):
    """Image tower, text tower and their projections.

    Args:
        config: of ``open_clip_config.json``. Two fields are our own, for twins: "timm_kwargs" of
            the image tower and "bert", sizes of the text tower; without, it is that of BERT-base.
        tokenizer: of transformers, with [CLS] in front.
    """

    def __init__(self, config: dict[str, Any], tokenizer: Any):
        super().__init__()
        import timm
        from transformers import BertConfig, BertModel

        self.config, self.tokenizer = config, tokenizer
        sizes = config["model_cfg"]
        embed, vision, text = sizes["embed_dim"], sizes["vision_cfg"], sizes["text_cfg"]
        own = vision.get("timm_kwargs", {})
        trunk = timm.create_model(vision["timm_model_name"], num_classes=0, **own)
        bert = BertModel(BertConfig(**text.get("bert", {})), add_pooling_layer=False)
        wide = bert.config.hidden_size
        between = (wide + embed) // 2
        project = nn.Linear(trunk.num_features, embed, bias=False)
        self.visual = nn.ModuleDict({"trunk": trunk, "head": nn.ModuleDict({"proj": project})})
        layers = nn.Linear(wide, between, bias=False), nn.GELU(), nn.Linear(between, embed, False)
        self.text = nn.ModuleDict({"transformer": bert, "proj": nn.Sequential(*layers)})
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    @property
    def layer(self) -> nn.Module:
        """Whose output still knows places: before the last block of a ViT, else the last stage."""
        trunk = self.visual["trunk"]
        return trunk.blocks[-1].norm1 if hasattr(trunk, "blocks") else trunk.layer4

    def encode_image(self, images: Tensor) -> Tensor:
        """Grey images (B, 1, H, W) in [0, 1] -> points (B, E)."""
        size, norm = self.config["model_cfg"]["vision_cfg"]["image_size"], self.config
        norm, images = norm.get("preprocess_cfg", GREY), images.to(self.logit_scale.device)
        mean, std = (images.new_tensor(norm[key])[:, None, None] for key in ("mean", "std"))
        pixels = F.interpolate(images, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
        pixels = (pixels.expand(-1, 3, -1, -1) - mean) / std
        return self.visual["head"]["proj"](self.visual["trunk"](pixels))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """T sentences -> points (T, E); what is longer than the model can read is cut off."""
        text = self.config["model_cfg"]["text_cfg"]
        how = {"padding": True, "truncation": True, "return_tensors": "pt"}
        tokens = self.tokenizer(list(texts), max_length=text["context_length"], **how)
        ids, mask = (tokens[k].to(self.logit_scale.device) for k in ("input_ids", "attention_mask"))
        states = self.text["transformer"](input_ids=ids, attention_mask=mask).last_hidden_state
        return self.text["proj"](states[:, 0])

    def likeness(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """Cosine (B, T) between grey images (B, 1, H, W) in [0, 1] and sentences."""
        image, text = self.encode_image(images), self.encode_text(texts)
        return F.normalize(image, dim=1) @ F.normalize(text, dim=1).T

    def forward(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """Logits (B, T): the cosine times the learned scale."""
        return self.logit_scale.exp() * self.likeness(images, texts)

    def save(self, folder: str | Path) -> None:
        """Write config, weights and tokenizer as open_clip does."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            self.tokenizer.save_pretrained(folder)
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / SAFE)
        (folder / CONFIG).write_text(json.dumps(self.config, indent=1) + "\n")


def build_clip(words: Sequence[str], size: int = 64, channels: int = 16) -> BiomedClip:
    """A small twin of random numbers: a ResNet of 10 layers and a BERT of two.

    A ViT from random numbers needs more pictures than a lesson has; BiomedCLIP has one (ViT-B/16).

    Args:
        words: that the text tower knows; the rest is [UNK].
        size: S, pixels along a side.
        channels: of the first stage of the ResNet.
    """
    from transformers import BertTokenizer

    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *sorted(set(words))])}
    bert = {"vocab_size": len(vocabulary), "hidden_size": 64, "num_hidden_layers": 2}
    bert |= {"num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 64}
    bert |= {"initializer_range": 0.1}
    own = {"channels": [channels * n for n in (1, 2, 4, 4)], "stem_width": channels}
    own |= {"output_stride": 8}  # the last map has S / 8 places along a side
    vision = {"timm_model_name": "resnet10t", "timm_kwargs": own, "image_size": size}
    sizes = {"embed_dim": 64, "vision_cfg": vision}
    sizes["text_cfg"] = {"bert": bert, "context_length": 64}
    return BiomedClip({"model_cfg": sizes, "preprocess_cfg": GREY}, BertTokenizer(vocabulary))


def load_biomedclip(folder: str | Path) -> BiomedClip:
    """The model of a folder in open_clip's format, in evaluation mode.

    A pickle is read with weights only: no code of the folder is run.

    Raises:
        InputError: no such folder, another kind of text tower, or damaged.
    """
    from transformers import AutoTokenizer

    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: no {CONFIG} there; give a folder as BiomedCLIP is published.")
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        text = config["model_cfg"]["text_cfg"]
        known = "bert" in text or "BERT" in text.get("hf_model_name", "")
        if known:
            with quiet():
                model = BiomedClip(config, AutoTokenizer.from_pretrained(folder))
            model.load_state_dict(_weights(folder))
    except Exception as error:  # a damaged file makes the readers fail in any way
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: cannot be loaded ({why}); copy the folder again.") from error
    if not known:
        raise InputError(f"{folder}: its text tower is no BERT; BiomedCLIP has PubMedBERT.")
    return model.eval()


def _weights(folder: Path) -> dict[str, Tensor]:
    if (folder / SAFE).is_file():
        return load_file(folder / SAFE)
    weights = torch.load(folder / PICKLED, map_location="cpu", weights_only=True)
    # Of older transformers: 0, 1, 2 …
    weights.pop("text.transformer.embeddings.position_ids", None)
    return weights
