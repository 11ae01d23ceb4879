"""Pretrained weights of a hub, or the reason why they cannot be had, asked quickly."""

import logging
import os
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from safetensors import SafetensorError

SWIN_T = "timm/swin_tiny_patch4_window7_224.ms_in1k"  # MIT licence

logger = logging.getLogger(__name__)


def from_hub(load: Callable[[], Any], what: str, repo_id: str, **file: Any) -> Any:
    """``load()``, or None and a logged warning where ``what`` cannot be had.

    ``repo_id`` and ``file`` go to ``why_out_of_reach``.
    """
    reason = why_out_of_reach(repo_id, **file)
    if reason is None:
        try:
            return load()
        except (OSError, SafetensorError) as error:  # a dead proxy, half a cache, a cut file
            reason = str(error).strip().split("\n")[0]
    logger.warning(
        "%s are out of reach (%s): the network starts from random numbers. Connect once to the "
        "internet to download them, or pass weights=None.",
        what,
        reason,
    )
    return None


def why_out_of_reach(
    repo_id: str,
    file: str = "model.safetensors",
    revision: str | None = None,
    timeout_s: float = 3.0,
) -> str | None:
    """None if the file lies in the cache of the Hugging Face hub or the hub answers, else why not.

    Args:
        repo_id: ``owner/name`` on the hub.
        file: of the repository.
        revision: commit; None is the newest.
        timeout_s: how long the hub may take to answer.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repo_id, file, revision=revision), str):
        return None
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set and the cache has no copy"
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return None  # behind a proxy only the client itself can tell
    hub = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((hub.hostname, hub.port or 443), timeout=timeout_s).close()
    except OSError as error:
        return f"no connection to {hub.hostname}: {error.strerror or error}"
    return None
