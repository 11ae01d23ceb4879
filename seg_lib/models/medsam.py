"""MedSAM: an image and a box in, the mask of what is in the box out.

    image ─ image encoder (a ViT) ─> map of features ─┐
    box ─── prompt encoder ────────> two tokens ──────┴─ mask decoder ─> mask, a quarter of the size

The network is `SamModel` of transformers, unchanged; here are the sizes of a small twin, the
loading and the way from pixels of a slice to those of the network. Ma et al. 2024,
https://doi.org/10.1038/s41467-024-44824-z. Taught in notebook 21.

Legend: N slices, H, W their sides, S the side of the network's input, P boxes a slice.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg_lib.errors import InputError
from seg_lib.models.language_model import quiet

AT_ONCE = 8  # slices that are segmented together


def build_sam(
    size: int = 32, patch: int = 4, width: int = 64, layers: int = 2, decoder: int = 64
) -> Any:
    """A small `transformers.SamModel` of random numbers, with all parts of the large one.

    Args:
        size: S, pixels along a side.
        patch: pixels along a side of a token; the mask has S * 4 / patch pixels along a side.
        width: features of a token in the image encoder.
        layers: of the image encoder; the last one looks at the whole image, the others at windows.
        decoder: features of a token in prompt encoder and mask decoder; a multiple of 8.
    """
    from transformers import SamConfig, SamModel

    start = 0.2  # spread of the weights; the default leaves the image encoder at zero
    vision = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4}
    vision |= {"image_size": size, "patch_size": patch, "output_channels": decoder}
    vision |= {"window_size": 4, "global_attn_indexes": [layers - 1], "initializer_range": start}
    vision |= {"num_pos_feats": decoder // 2, "scale": 1.0}  # as released; the default blurs places
    prompt = {"hidden_size": decoder, "image_size": size, "patch_size": patch}
    masks = {"hidden_size": decoder, "mlp_dim": 4 * decoder, "num_attention_heads": 4}
    masks |= {"iou_head_hidden_dim": decoder}
    parts = {"vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": masks}
    return SamModel(SamConfig(**parts, initializer_range=start))


def load_medsam(folder: str | Path) -> Any:
    """A `transformers.SamModel` of a folder in the Hugging Face format, in evaluation mode.

    Weights in a pickle (MedSAM's) are read with weights only: no code of the folder is run.

    Raises:
        InputError: no such folder, another family than SAM, or damaged.
    """
    from transformers import AutoConfig, SamModel

    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"{folder}: no config.json there; give a folder as MedSAM is published.")
    try:
        family = AutoConfig.from_pretrained(folder).model_type
        if family == "sam":
            with quiet():
                model, report = SamModel.from_pretrained(folder, output_loading_info=True)
    except Exception as error:  # a damaged file makes the readers fail in any way
        text = " ".join(str(error).split())[:200]
        raise InputError(f"{folder}: cannot be loaded ({text}); copy the folder again.") from error
    if family != "sam":
        raise InputError(f"{folder} is of the family '{family}'; MedSAM is a 'sam'.")
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(f"{folder}: {len(missing)} weights are missing, such as {missing[0]}.")
    return model.eval()


def mask_logits(model: Any, images: Tensor, boxes: Tensor | None = None) -> Tensor:
    """Logits of the mask in each box.

    Args:
        model: a `SamModel`.
        images: (N, 1, H, W) in [0, 1]; stretched to (S, S) as MedSAM does it.
        boxes: (N, P, 4) in pixels of the image: x and y of a corner, x and y of the opposite one.
            None: no prompt, and P is 1.

    Returns:
        (N, P, H, W).
    """
    size, (height, width) = model.config.vision_config.image_size, images.shape[2:]
    pixels = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    if boxes is not None:
        boxes = boxes.float()
        boxes = boxes * boxes.new_tensor([size / width, size / height] * 2)
    found = model(pixels.expand(-1, 3, -1, -1), input_boxes=boxes, multimask_output=False)
    masks = found.pred_masks[:, :, 0]  # (N, P, S * 4 / patch, S * 4 / patch)
    return F.interpolate(masks, (height, width), mode="bilinear")


@torch.no_grad()
def predict_masks(model: Any, images: np.ndarray, boxes: np.ndarray | None = None) -> np.ndarray:
    """Probability (N, H, W) float32 of what is in the box of each slice.

    Args:
        model: a `SamModel`; is put into evaluation mode.
        images: (N, 1, H, W) uint8.
        boxes: (N, 4), see ``mask_logits``; None for no prompt.

    Raises:
        InputError: not one box for each slice.
    """
    if boxes is not None and np.shape(boxes) != (len(images), 4):
        raise InputError(
            f"boxes {np.shape(boxes)} for {len(images)} slices; give (N, 4): x0, y0, x1, y1."
        )
    model.eval()
    found = []
    for start in range(0, len(images), AT_ONCE):
        part = torch.from_numpy(images[start : start + AT_ONCE]).to(model.device).float() / 255
        prompt = None
        if boxes is not None:
            prompt = torch.as_tensor(boxes[start : start + AT_ONCE], device=model.device)[:, None]
        found.append(mask_logits(model, part, prompt)[:, 0].sigmoid().float().cpu().numpy())
    return np.concatenate(found)
