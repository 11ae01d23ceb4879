"""ResNet50-U-Net: a U-Net whose encoder is a ResNet, as in source 002. Taught in notebook 06.

    image (B, 1, H, W)
      │  stem 7x7, stride 2      64  @ H/2   ──────────── skip ──┐
      │  max-pool, stage 1      256  @ H/4   ───────── skip ──┐  │
      │  stage 2                512  @ H/8   ────── skip ──┐  │  │
      │  stage 3               1024  @ H/16  ─── skip ──┐  │  │  │
      └─ stage 4               2048  @ H/32 ── up, up, up, up, up ── 3x3 head ── logits

A residual block computes y = F(x) + x, so the gradient always has a short way back (He et al. 2016,
https://arxiv.org/abs/1512.03385). The skip connections of the U-Net bring back the detail that the
strides threw away (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597).

The network is `segmentation_models_pytorch.Unet`; only the choice of its numbers is ours.
"""

from functools import partial

from torch import nn

from seg_lib.errors import InputError
from seg_lib.models.hub import from_hub


def build_resnet50_unet(
    *,
    in_channels: int = 1,
    classes: int = 1,
    encoder: str = "resnet50",
    weights: str | None = None,
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16),
) -> nn.Module:
    """Build the ResNet-U-Net; 32,514,833 parameters for one channel, one class and ResNet-50.

    Args:
        in_channels: channels of the image, 1 for CT.
        classes: channels of the logits, 1 for a binary mask.
        encoder: an encoder name of segmentation_models_pytorch, for example "resnet18".
        weights: None starts from random numbers; "imagenet" downloads pretrained weights
            once. With one input channel their RGB stem is summed. When the hub cannot be reached,
            the fall-back to random numbers is logged as a warning.
        decoder_channels: widths of the five decoder blocks, coarse to fine.

    Returns:
        A network (B, in_channels, H, W) -> logits (B, classes, H, W); any H and W.

    Taught in notebook 06.
    """
    import segmentation_models_pytorch as smp  # 1.5 s: only who builds the network pays

    channels = {"in_channels": in_channels, "decoder_channels": decoder_channels}
    build = partial(smp.Unet, encoder, classes=classes, **channels)
    if weights is None:
        return build(encoder_weights=None)
    known = smp.encoders.encoders[encoder]["pretrained_settings"]
    if weights not in known:
        raise InputError(f"{encoder}: no weights {weights!r}; None, or one of: {', '.join(known)}.")
    place = {name: known[weights][name] for name in ("repo_id", "revision")}
    found = from_hub(partial(build, encoder_weights=weights), f"{weights} weights", **place)
    return found or build(encoder_weights=None)
