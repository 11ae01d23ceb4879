"""seg_lib: the thin library under the open course on cancer segmentation on CT.

Import what you need from its modules (``seg_lib.data``, ``seg_lib.models``, ``seg_lib.losses``,
``seg_lib.metrics``, ``seg_lib.training`` …). Nothing heavy is imported here.
"""

__version__ = "0.1.0"
