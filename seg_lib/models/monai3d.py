"""The 3D networks that source 003 used, from MONAI, and SegResNet as a baseline.

Only the numbers and a check of the patch are ours. Taught in notebook 10.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from seg_lib.errors import InputError
from seg_lib.models.unet3d import check_sides


class Checked3d(nn.Module):
    """A network that says which patches fit before MONAI fails on one that does not."""

    def __init__(self, network: nn.Module, divisor: int):
        super().__init__()
        self.network, self.divisor = network, (divisor,) * 3

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> logits (B, K, X, Y, Z)."""
        check_sides(type(self.network).__name__, image.shape[2:], self.divisor)
        return self.network(image)


def build_monai_unet(
    *,
    in_channels: int = 1,
    classes: int = 2,
    features: Sequence[int] = (16, 32, 64, 128, 256),
    dropout: float = 0.2,
) -> Checked3d:
    """Build MONAI's ``UNet`` with the numbers of source 003.

    (16, 32, 64, 128, 256) channels, two residual units a stage, batch normalisation, dropout 0.2;
    two classes through a softmax. Taught in notebook 10.
    """
    from monai.networks.nets import UNet

    n_halvings = len(features) - 1
    shape = {"channels": features, "strides": (2,) * n_halvings, "num_res_units": 2}
    network = UNet(3, in_channels, classes, **shape, norm="batch", dropout=dropout)
    return Checked3d(network, 2**n_halvings)


def build_swin_unetr(
    *, in_channels: int = 1, classes: int = 2, features: int = 48, dropout: float = 0.0
) -> Checked3d:
    """Build MONAI's ``SwinUNETR``, version 2; source 003 took 48 features and dropout 0.2.

    Source: Hatamizadeh et al. 2022, https://arxiv.org/abs/2201.01266. Taught in notebook 10.

    Raises:
        InputError: features that do not divide by 12.
    """
    if features % 12:
        raise InputError(f"SwinUNETR: {features} features; give a multiple of 12, as 24 or 48.")
    from monai.networks.nets import SwinUNETR

    numbers: dict[str, Any] = {"feature_size": features, "drop_rate": dropout, "use_v2": True}
    return Checked3d(SwinUNETR(in_channels, classes, **numbers), 32)


def build_segresnet(
    *, in_channels: int = 1, classes: int = 2, features: int = 16, dropout: float | None = None
) -> Checked3d:
    """Build MONAI's ``SegResNet``: a residual network with group normalisation, made for brain CT.

    Source: Myronenko 2018, https://arxiv.org/abs/1810.11654. Taught in notebook 10.
    """
    from monai.networks.nets import SegResNet

    numbers = {"in_channels": in_channels, "out_channels": classes, "dropout_prob": dropout}
    return Checked3d(SegResNet(3, features, **numbers), 8)
