"""What Presidio finds is taken out as well; its place is held by a stub, for it needs a model."""

import sys
import types

import pytest

from seg_lib import cli
from seg_lib.data.deidentify import deidentify

TEXT = "There is a kettle in the garden."  # that our own rules leave as it is


@pytest.fixture
def presidio(monkeypatch):
    """A module with the names and the answers of presidio_analyzer; tells what it was asked."""
    asked = []

    class AnalyzerEngine:
        def analyze(self, text, language):
            asked.append((text, language))
            start = text.find("kettle")
            found = types.SimpleNamespace(start=start, end=start + 6, entity_type="PERSON")
            return [found] if start >= 0 else []

    module = types.ModuleType("presidio_analyzer")
    module.AnalyzerEngine = AnalyzerEngine
    monkeypatch.setitem(sys.modules, "presidio_analyzer", module)
    return asked


def test_what_presidio_finds_is_replaced_by_its_kind(presidio):
    assert deidentify(TEXT, presidio=True) == TEXT.replace("kettle", "[PERSON]")
    assert presidio == [(TEXT, "en")]


def test_presidio_is_not_asked_unless_told(presidio):
    assert deidentify(TEXT) == TEXT
    assert presidio == []


def test_what_the_rules_find_goes_with_it(presidio):
    """One text with a date, which our rules know, and a name, which only the stub takes for one."""
    text = "On 2019-03-14 there was a kettle in the garden."
    cleaned = deidentify(text, presidio=True)
    assert "kettle" not in cleaned and "2019" not in cleaned and "[PERSON]" in cleaned


def test_the_command_asks_presidio(presidio, tmp_path):
    (tmp_path / "in.txt").write_text(TEXT)
    words = ["deidentify", str(tmp_path / "in.txt"), str(tmp_path / "out.txt"), "--presidio"]
    assert cli.main(words) == 0
    assert "kettle" not in (tmp_path / "out.txt").read_text()
    assert len(presidio) == 1
