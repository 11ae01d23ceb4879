"""A network in ONNX Runtime, in float32 or with 8-bit numbers; shared by two benchmarks."""

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


def write_int8(source: Path, out: Path, images: Iterable[np.ndarray]) -> None:
    """Quantise a file after training: weights of each channel and maps get 8 bits and a scale.

    Args:
        source: float32, of `to_onnx`.
        out: the quantised file.
        images: (B, 1, *size) float32 each, on which the scales of the maps are chosen.
    """
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {"image": image}

    folded = out.with_suffix(".folded.onnx")  # norms of the batch become part of the convolutions
    quantization.quant_pre_process(source, folded, skip_symbolic_shape=True)
    quantization.quantize_static(folded, out, Images(), per_channel=True)
    folded.unlink()
