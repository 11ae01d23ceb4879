"""A course on a USB stick: from a made-up index of two wheels, nothing from a network."""

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from made_up_notebooks import notebook, write

from seg_lib.cli import main
from seg_lib.course.bundle import verify_bundle, write_bundle
from seg_lib.errors import InputError

REPOSITORY = Path(__file__).parents[1]
PROJECT = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "seg-lib"
version = "0.0.1"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["tinylab>=1.0"]
[tool.setuptools]
packages = ["seg_lib"]
"""


def make_wheel(folder: Path, version: str) -> None:
    """``tinylab`` with one module that tells its version."""
    info = f"tinylab-{version}.dist-info"
    files = {
        "tinylab.py": f"version = '{version}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinylab\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {n: hashlib.sha256(text.encode()).digest() for n, text in files.items()}
    encoded = {n: base64.urlsafe_b64encode(d).rstrip(b"=").decode() for n, d in digests.items()}
    record = "".join(f"{n},sha256={encoded[n]},{len(files[n])}\n" for n in files)
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"tinylab-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)


def make_course(root: Path, pin: str = "tinylab==1.0") -> Path:
    write(root / "notebooks" / "00_start.ipynb", notebook('check("00a", ...)'))
    write(root / "tests" / "solutions" / "solutions.py", {})
    (root / "seg_lib").mkdir()
    (root / "seg_lib" / "__init__.py").write_text("import tinylab\nfound = tinylab.version\n")
    for name, text in {"LICENSE": "free", "README.md": "# tiny", "pyproject.toml": PROJECT}.items():
        (root / name).write_text(text)
    (root / "constraints.txt").write_text(pin + "\n")
    return root


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """What pip is told to look into, instead of an index."""
    folder = tmp_path_factory.mktemp("index")
    for version in ("1.0", "1.1"):
        make_wheel(folder, version)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder))
        yield folder


@pytest.fixture(scope="module")
def made(index, tmp_path_factory) -> Path:
    """A bundle by the command."""
    work = tmp_path_factory.mktemp("bundle")
    root = make_course(work / "course")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["bundle", str(work / "stick")]) == 0
    return work / "stick"


@pytest.fixture
def stick(made, tmp_path) -> Path:
    """A copy of it that a test may damage."""
    return shutil.copytree(made, tmp_path / "stick")


def test_it_holds_the_pinned_wheels_and_the_students_copy(made):
    wheels = {path.name for path in (made / "wheels").iterdir()}
    assert wheels == {"seg_lib-0.0.1-py3-none-any.whl", "tinylab-1.0-py3-none-any.whl"}
    assert (made / "course" / "notebooks" / "00_start.ipynb").is_file()
    assert sorted(path.name for path in made.iterdir()) == [
        "INSTALL.md",
        "SHA256SUMS",
        "course",
        "wheels",
    ]
    assert not list(made.rglob("solutions*"))


def test_its_own_instructions_install_it_without_a_network(made, tmp_path, monkeypatch):
    """The command of INSTALL.md, word by word, into a folder instead of an environment."""
    text = (made / "INSTALL.md").read_text()
    words = re.search(r"bin/pip (install .+)", text)[1].split()
    monkeypatch.delenv("PIP_FIND_LINKS")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    command = [*pip, *words, "--target", tmp_path / "installed"]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = "import seg_lib; print(seg_lib.found)"
    environment = {"PYTHONPATH": str(tmp_path / "installed")}
    said = subprocess.check_output([sys.executable, "-c", code], env=environment, cwd=tmp_path)
    assert said.decode().strip() == "1.0"


def test_the_instructions_name_platform_python_and_size(made):
    text = (made / "INSTALL.md").read_text()
    assert f"with Python {sys.version_info.major}.{sys.version_info.minor} " in text
    assert re.search(r"2 wheels, \d+\.\d GB", text)
    assert "--notebook-dir=course/notebooks" in text


def test_the_checksums_are_those_of_sha256sum(stick):
    if not shutil.which("sha256sum"):
        pytest.skip("no sha256sum on this system")
    command = re.search(r"`(sha256sum .+?)`", (stick / "INSTALL.md").read_text())[1].split()
    assert subprocess.run(command, cwd=stick, capture_output=True).returncode == 0
    (stick / "INSTALL.md").write_text("other")
    assert subprocess.run(command, cwd=stick, capture_output=True).returncode == 1


def test_a_whole_copy_verifies(stick, capsys):
    assert main(["bundle", str(stick), "--verify"]) == 0
    assert capsys.readouterr().out == f"{stick}: whole.\n"
    (stick / "course" / "runs").mkdir()
    (stick / "course" / "runs" / "mine.txt").write_text("a student's own")
    assert verify_bundle(stick) == []


def test_what_is_damaged_missing_or_strange_is_named(stick, capsys):
    wheel = stick / "wheels" / "tinylab-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:-1])
    (stick / "course" / "notebooks" / "00_start.ipynb").unlink()
    make_wheel(stick / "wheels", "6.6")
    assert main(["bundle", str(stick), "--verify"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "course/notebooks/00_start.ipynb: missing; copy it anew.",
        "wheels/tinylab-1.0-py3-none-any.whl: damaged; copy it anew.",
        "wheels/tinylab-6.6-py3-none-any.whl: not in SHA256SUMS; remove it.",
    ]


@pytest.mark.parametrize("text", [None, "no list", "a\x00b", "\xff"])
def test_what_is_no_bundle_is_a_sentence(tmp_path, text):
    if text is not None:
        (tmp_path / "SHA256SUMS").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="SHA256SUMS: no list of checksums; copy it anew"):
        verify_bundle(tmp_path)


def test_a_wheel_that_is_nowhere_leaves_nothing(index, tmp_path, monkeypatch, capsys):
    root = make_course(tmp_path / "course", pin="tinylab==3.0")
    monkeypatch.chdir(root)
    assert main(["bundle", str(tmp_path / "stick")]) == 1
    said = capsys.readouterr().err
    assert "pip could not make the wheels" in said and "tinylab==3.0" in said
    assert [path.name for path in tmp_path.iterdir()] == ["course"]


def test_wheels_of_ones_own_go_first(index, tmp_path, monkeypatch):
    """How a bundle for machines without a GPU gets small: a CPU build satisfies the same pin."""
    make_wheel(tmp_path / "mine", "1.0+cpu")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{index} {tmp_path / 'mine'}")
    said = write_bundle(tmp_path / "stick", make_course(tmp_path / "course"))
    names = {path.name for path in (tmp_path / "stick" / "wheels").iterdir()}
    assert names == {"seg_lib-0.0.1-py3-none-any.whl", "tinylab-1.0+cpu-py3-none-any.whl"}
    assert said.startswith(f"{tmp_path / 'stick'}: 2 wheels, 0.0 GB, for Python 3.")


def test_nothing_is_written_over(stick, tmp_path):
    with pytest.raises(InputError, match="there is something in it already"):
        write_bundle(stick, REPOSITORY)
