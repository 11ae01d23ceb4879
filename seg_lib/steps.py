"""What one batch means for one task: (model, batch) -> {"loss": …}. The loop knows nothing else.

A task differs from another in what its batch holds, what its network returns and which loss it has;
that is all written here, so that `training.fit` stays the same for every task. Another loss goes in
with `functools.partial(segmentation_step, loss=dice_focal)`. Taught in notebook 06.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from seg_lib.losses import dice_ce

Loss = Callable[[Tensor, Tensor], Tensor]


def segmentation_step(
    model: nn.Module, batch: Mapping[str, Any], loss: Loss = dice_ce
) -> dict[str, Tensor]:
    """Image in, logits out, compared with the label.

    Args:
        model: (B, C, *spatial) -> logits (B, K, *spatial).
        batch: "image" (B, C, *spatial) float in [0, 1] and "label" (B, 1, *spatial) integers.
        loss: (logits, label) -> scalar, see `seg_lib.losses`.

    Returns:
        {"loss": scalar tensor that carries the gradient}.

    Taught in notebook 06.
    """
    logits = model(batch["image"])
    return {"loss": loss(logits, batch["label"])}
