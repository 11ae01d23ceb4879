"""The index of what is verified where names only what exists, and says what is missing."""

import ast
import functools
import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
EVIDENCE = yaml.safe_load((REPOSITORY / "tests" / "evidence.yml").read_text())
FAULTS, ITEMS = EVIDENCE["faults"], EVIDENCE["items"]
ENTRIES = FAULTS | ITEMS
N_FAULTS = 128  # of the fault list
PLACES = r"tests/test_\w+\.py::test_\w+|notebooks/\d\d_\w+\.ipynb"
PLACES += r"|benchmarks/results/\w+\.json|data_manifests/\w+\.yaml"


@functools.cache
def functions_of(path: str) -> set[str]:
    """The test functions of a file; parametrized ones without their brackets."""
    body = ast.parse((REPOSITORY / path).read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", ENTRIES, ids=str)
def test_every_place_exists(name):
    where = ENTRIES[name]["where"]
    assert where and len(set(where)) == len(where)
    for place in where:
        assert re.fullmatch(PLACES, place), place
        path, _, function = place.partition("::")
        assert (REPOSITORY / path).is_file(), path
        assert not function or function in functions_of(path), place


@pytest.mark.parametrize("name", ENTRIES, ids=str)
def test_an_entry_is_short_and_a_gap_is_told(name):
    entry = ENTRIES[name]
    assert {"what", "where"} <= set(entry) <= {"what", "where", "part"}
    assert 1 <= len(entry["what"].split()) <= 8
    assert entry.get("part", "something") != ""


def test_faults_are_numbers_of_the_list_and_shown_by_tests():
    assert set(FAULTS) <= set(range(1, N_FAULTS + 1))
    assert all("::" in place for entry in FAULTS.values() for place in entry["where"])


def test_a_hundred_faults_are_tested_without_a_gap():
    assert sum("part" not in entry for entry in FAULTS.values()) >= 100


def test_items_have_ids_of_the_source_documents():
    assert [item for item in ITEMS if not re.fullmatch(r"00[0-4]-\d\d", item)] == []


def test_no_entry_is_written_twice():
    """YAML would silently keep the last one."""
    text = (REPOSITORY / "tests" / "evidence.yml").read_text()
    keys = re.findall(r'^  "?([\d-]+)"?:$', text, re.MULTILINE)
    assert len(keys) == len(set(keys)) == len(ENTRIES)
