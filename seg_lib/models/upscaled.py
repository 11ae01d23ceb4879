"""Small images, enlarged on the way into a network. Taught in notebook 09."""

import torch.nn.functional as F
from torch import Tensor, nn


class Upscaled(nn.Module):
    """A network that sees its image enlarged and answers on the image's own grid.

    The stem of a ResNet halves the image twice before the first block. In a window of 64 native
    pixels a nodule of 8 is then 2 pixels wide; enlarged by 2 it keeps 4.
    """

    def __init__(self, network: nn.Module, factor: int):
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        how = {"mode": "bilinear", "align_corners": False}
        larger = F.interpolate(image, scale_factor=self.factor, **how)
        return F.interpolate(self.network(larger), image.shape[2:], **how)
