"""UNETR: a vision transformer as encoder, convolutions as decoder. Taught in notebook 08.

    image (B, C, H, W)
      │  patches 16x16 -> tokens of 768 features, plus a learned position each
      │  12 transformer layers: every token sees every other one
      │     after layer 4, 7, 10 and 12: tokens laid out as a map @ H/16
      │     4: up x8   7: up x4   10: up x2   12: bottleneck
      └─ decoder @ H/8, H/4, H/2, H, with those maps and the image itself as skips ── logits

The encoder never loses resolution, it never has any: finer than 16 pixels, all detail comes from
the two convolutions on the image itself. That is why UNETR needs large images, long training or
pretraining, and why small lesions suffer first.

Source: Hatamizadeh et al. 2022, https://arxiv.org/abs/2103.10504. The network is
`monai.networks.nets.UNETR`; only checks of its numbers and of the image are ours. The paper takes
the maps after layer 3, 6 and 9; MONAI counts the layers from 0 there.
"""

from torch import Tensor, nn

from seg_lib.errors import InputError

PATCH = 16  # fixed in MONAI


class CheckedUnetr(nn.Module):
    """UNETR that says what is wrong with an image before MONAI fails on it.

    Its positions are learned one by one, so unlike a convolution it takes a single image size.
    """

    def __init__(self, network: nn.Module, image_size: tuple[int, ...]):
        super().__init__()
        self.network, self.image_size = network, image_size

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *image_size) -> logits (B, K, *image_size)."""
        got = tuple(image.shape[2:])
        if got != self.image_size:
            raise InputError(
                f"This UNETR was built for images of {self.image_size} pixels and got {got}; "
                "resize or pad the image, or build it with that image_size."
            )
        return self.network(image)


def image_sides(image_size: int | tuple[int, ...], spatial_dims: int) -> tuple[int, ...]:
    """One length a side; raises InputError unless all divide by the patch."""
    sides = (image_size,) * spatial_dims if isinstance(image_size, int) else tuple(image_size)
    bad = [n for n in sides if n % PATCH or n < PATCH]
    if bad or len(sides) != spatial_dims:
        near = max(PATCH, bad[0] // PATCH * PATCH) if bad else PATCH
        raise InputError(
            f"UNETR: image_size {image_size}; it needs {spatial_dims} sides that divide by "
            f"{PATCH}, such as {near} or {near + PATCH}."
        )
    return sides


def build_unetr(
    *,
    in_channels: int = 1,
    classes: int = 1,
    image_size: int | tuple[int, ...] = 256,
    hidden: int = 768,
    mlp: int | None = None,
    heads: int = 12,
    features: int = 16,
    spatial_dims: int = 2,
) -> CheckedUnetr:
    """Build UNETR; 87,333,809 parameters for 256 x 256 pixels, one channel and one class.

    Args:
        in_channels: channels of the image.
        classes: channels of the logits.
        image_size: pixels or voxels along each side, multiples of 16; one number for all sides.
        hidden: features of a token; 768 is ViT-B.
        mlp: features inside a transformer layer; None is four times ``hidden``.
        heads: attention heads; must divide ``hidden``.
        features: of the decoder at full resolution.
        spatial_dims: 2 for slices, 3 for volumes.

    Raises:
        InputError: a size that does not divide.

    Taught in notebook 08.
    """
    sides = image_sides(image_size, spatial_dims)
    if hidden % heads:
        fitting = [str(n) for n in range(1, 17) if hidden % n == 0]
        raise InputError(
            f"UNETR: {heads} heads do not divide {hidden} features; these do: {', '.join(fitting)}."
        )
    from monai.networks.nets import UNETR  # 6 s: only who builds the network pays

    numbers = {"feature_size": features, "hidden_size": hidden, "num_heads": heads}
    numbers |= {"mlp_dim": mlp or 4 * hidden, "spatial_dims": spatial_dims}
    network = UNETR(in_channels, classes, sides, **numbers)
    for name, weight in network.named_parameters():  # MONAI never uses these; DDP would wait
        weight.requires_grad_("norm_cross_attn" not in name)
    return CheckedUnetr(network, sides)
