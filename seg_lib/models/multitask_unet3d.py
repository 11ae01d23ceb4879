"""Segment and classify with one network: nnU-Net's residual U-Net and a small head beside it.

    image (B, C, X, Y, Z)
      encoder ── maps of all stages ── decoder ── logits (B, K, X, Y, Z) ── where is the lesion?
                  │                                                            │
                  └─ the chosen, shallow stages ── pooled inside and around it ┘── subtype (B, S)

A plain classifier at the bottleneck sees the whole organ, has many weights and few cases, and
learns the training cases by heart. Here the segmentation says where to look: of each chosen map
only the mean and the spread inside the lesion and in a shell around it are kept (texture and
margin), and one linear layer of a few hundred weights decides.

The U-Net is the one of lesson 10, written by hand, with nnU-Net's stem, biases and thin decoder:
with the plan of source 004 it has the 102,268,079 weights of nnU-Net's ResEnc M, and with nnU-Net's
weights it gives nnU-Net's logits (a test). In evaluation it returns a tensor, as every sliding
window expects.

Sources: 004; Isensee et al. 2024, https://arxiv.org/abs/2404.09556 (ResEnc M). Taught in lesson 17.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_lib.errors import InputError
from seg_lib.models.unet3d import Triple, UNet3d

EVERYWHERE = 1e-6  # weight of a voxel far from any lesion, so that an empty prediction pools too


def mean_and_spread(maps: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean and standard deviation of each channel: (B, C, …), (B, 1, …) -> (B, 2 C)."""
    share = weight / weight.sum((2, 3, 4), keepdim=True)
    mean = (maps * share).sum((2, 3, 4), keepdim=True)
    variance = ((maps - mean) ** 2 * share).sum((2, 3, 4))
    return torch.cat([mean.flatten(1), (variance + 1e-6).sqrt()], dim=1)


class SubtypeHead(nn.Module):
    """Which subtype a lesion has, from the maps inside and around it.

    Inside is the lesion without its outermost voxels, which are half surroundings and would spread
    the numbers more than any texture does. The numbers are standardised by what the head has seen
    so far, not by the batch: a batch has two lesions.

    Args:
        channels: of each map.
        subtypes: how many there are.
        dropout: of the pooled numbers, in training.
    """

    def __init__(self, channels: Sequence[int], subtypes: int, dropout: float = 0.3):
        super().__init__()
        n = 4 * sum(channels)  # mean and spread, inside and around
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("variance", torch.ones(n))
        self.dropout, self.decide = nn.Dropout(dropout), nn.Linear(n, subtypes)

    def pool(self, maps: Sequence[Tensor], lesion: Tensor) -> Tensor:
        """Maps (B, C_i, …) and probability of lesion (B, 1, X, Y, Z) -> (B, 4 sum C_i) float32."""
        core = -F.max_pool3d(-lesion, (3, 3, 1), 1, (1, 1, 0))
        wide = F.max_pool3d(lesion, (5, 5, 3), 1, (2, 2, 1))
        places = torch.cat([core**2, wide - core], dim=1).float() + EVERYWHERE
        pooled = []
        for features in maps:
            there = F.adaptive_avg_pool3d(places, features.shape[2:])
            pooled += [mean_and_spread(features.float(), there[:, i : i + 1]) for i in (0, 1)]
        return torch.cat(pooled, dim=1)

    def standardised(self, pooled: Tensor) -> Tensor:
        """Pooled numbers (B, N) by the mean and variance of those seen before."""
        if self.training:
            with torch.no_grad():
                self.variance.lerp_(((pooled - self.mean) ** 2).mean(0), 0.02)
                self.mean.lerp_(pooled.mean(0), 0.02)
        return (pooled - self.mean) / (self.variance + 1e-6).sqrt()

    def forward(self, maps: Sequence[Tensor], lesion: Tensor) -> Tensor:
        """-> (B, subtypes) logits, in float32: float16 overflowed here in the first step."""
        with torch.autocast(lesion.device.type, enabled=False):
            return self.decide(self.dropout(self.standardised(self.pool(maps, lesion))))


class MultitaskUNet3d(nn.Module):
    """The network; see the drawing at the top of this file.

    Args:
        in_channels: channels of the image.
        classes: channels of the logits; the last one is the lesion.
        features: channels of each stage, full resolution first. The presets are in
            `seg_lib.models.presets`; a plan gives them too, see `seg_lib.nnunet_plan`.
        blocks: residual blocks of each stage.
        strides: of each stage, the first (1, 1, 1), as nnU-Net writes them.
        kernels: of each stage.
        subtypes: how many there are; 0 is nnU-Net's network without a head.
        stages: of the encoder that the head sees, 0 for the full resolution.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 3,
        features: Sequence[int] = (32, 64, 128, 256, 320, 320),
        blocks: Sequence[int] = (1, 3, 4, 6, 6, 6),
        strides: Sequence[Triple] = ((1, 1, 1), (2, 2, 1), *[(2, 2, 2)] * 4),
        kernels: Sequence[Triple] = ((3, 3, 1), *[(3, 3, 3)] * 5),
        subtypes: int = 3,
        stages: Sequence[int] = (0, 1),
    ):
        super().__init__()
        sizes = {"in_channels": in_channels, "classes": classes, "features": features}
        sizes |= {"blocks": blocks, "strides": strides[1:], "kernels": kernels}
        self.unet = UNet3d(**sizes, deep_supervision=True, resenc=True)
        if subtypes and not all(0 <= stage < len(features) for stage in stages):
            raise InputError(f"stages {tuple(stages)}; the encoder has 0 to {len(features) - 1}.")
        self.stages = tuple(stages)
        self.head = SubtypeHead([features[i] for i in stages], subtypes) if subtypes else None

    def forward(self, image: Tensor, classify: bool = False):
        """(B, C, X, Y, Z) -> logits (B, K, X, Y, Z); in training a list, of every decoder step.

        Args:
            image: its sides divide by ``unet.divisor``.
            classify: also return the logits (B, subtypes). The lesion is looked for where the
                segmentation sees it; the gradient does not pass through that choice.

        Raises:
            InputError: a side that does not divide, or no head to classify with.
        """
        maps = self.unet.encode(image)
        logits = self.unet.decode(maps)
        answer = logits if self.training else logits[0]
        if not classify:
            return answer
        if self.head is None:
            raise InputError("This network was built with subtypes=0: it cannot classify.")
        return answer, self.head(*self.seen(maps, logits))

    def seen(self, maps: Sequence[Tensor], logits: Sequence[Tensor]) -> tuple[list, Tensor]:
        """What the head sees: the chosen maps, and the probability of lesion (B, 1, X, Y, Z)."""
        lesion = logits[0].detach().float().softmax(1)[:, -1:]
        return [maps[i] for i in self.stages], lesion
