"""Ways into a lesson without installing anything: Google Colab and Binder.

Their links need the address of the published repository. It is told once, as ``Repository`` in
``[project.urls]`` of ``pyproject.toml``; as long as it is not, there are no links.
"""

import re
import tomllib
from pathlib import Path

from seg_lib.errors import InputError

BRANCH = "main"
ADDRESS = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?")


def repository(root: Path) -> str:
    """``OWNER/NAME`` of the published repository; empty if ``pyproject.toml`` does not tell.

    ``InputError`` if the address is not one of GitHub, which both services need.
    """
    path = root / "pyproject.toml"
    if not path.is_file():
        return ""
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML ({error}); mend that line.") from error
    address = project.get("urls", {}).get("Repository", "")
    found = ADDRESS.fullmatch(address)
    if address and not found:
        raise InputError(
            f"{path}: Repository is {address!r}; Colab and Binder need https://github.com/OWNER/NAME."
        )
    return found[1] if found else ""


def file_address(name: str, path: str) -> str:
    """Where a file of the repository is shown on the web."""
    return f"https://github.com/{name}/blob/{BRANCH}/{path}"


def launch_links(name: str, notebook: Path) -> dict[str, str]:
    """{service: address that opens the notebook there}; empty without the name of a repository."""
    if not name:
        return {}
    return {
        "Colab": f"https://colab.research.google.com/github/{name}/blob/{BRANCH}/notebooks/"
        + notebook.name,
        "Binder": f"https://mybinder.org/v2/gh/{name}/{BRANCH}?labpath=notebooks/{notebook.name}",
    }


def colab_cell(name: str) -> str:
    """What to run first on Colab, whose machines have neither the library nor the course's files.

    Without the pins of ``constraints.txt``: they would replace the PyTorch that fits Colab's GPU.
    """
    folder = name.partition("/")[2]
    clone = f"!git clone --depth 1 https://github.com/{name}.git"
    return f"{clone}\n%cd {folder}\n%pip install --quiet ."
