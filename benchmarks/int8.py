"""A network in ONNX Runtime, in float32 or with small whole numbers; shared by two benchmarks."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch


class OnnxNetwork(torch.nn.Module):
    """A file of `seg_lib.export.to_onnx` in the place of a network, on as many threads as torch."""

    def __init__(self, path: Path):
        import onnxruntime

        super().__init__()
        how = onnxruntime.SessionOptions()
        how.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(path, how, ["CPUExecutionProvider"])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, *size) float32 -> logits (B, K, *size)."""
        return torch.from_numpy(self.session.run(None, {"image": image.numpy()})[0])


def write_int8(source: Path, out: Path, images: Iterable[np.ndarray], map_bits: int = 8) -> None:
    """Quantise a file after training: 8 bits and a scale for the weights of each channel.

    Args:
        source: float32, of `to_onnx`.
        out: the quantised file.
        images: (B, 1, *size) float32 each, on which the scales of the maps are chosen.
        map_bits: 8 or 16, with one scale for a whole map.
    """
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {"image": image}

    kinds = {8: quantization.QuantType.QInt8, 16: quantization.QuantType.QUInt16}
    how = {"per_channel": True, "activation_type": kinds[map_bits]}
    quantization.quantize_static(source, out, Images(), **how)
