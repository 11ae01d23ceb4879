"""The leaderboard: an order that can be worked out by hand, and a page that runs nothing."""

import os
import re
from datetime import datetime
from html.parser import HTMLParser

import nibabel as nib
import numpy as np
import pytest

from seg_lib import cli, leaderboard
from seg_lib.errors import InputError
from seg_lib.leaderboard import standings, write_leaderboard
from seg_lib.submission import SCORES

CASES = "abcdefgh"
AFFINE = np.eye(4)


def rows(scores):
    return [
        {"case": case} | dict.fromkeys(SCORES, score) | {"dice": 1 - score}
        for case, score in zip(CASES, scores, strict=False)
    ]


def test_a_team_that_is_better_on_every_case_is_first_in_every_draw():
    found = standings({"B": rows([0.2, 0.4, 0.6]), "A": rows([0.1, 0.3, 0.5])})
    assert [(line["team"], line["rank"], line["first"]) for line in found] == [
        ("A", 1, 1.0),
        ("B", 2, 0.0),
    ]
    assert [(line["rank_low"], line["rank_high"]) for line in found] == [(1, 1), (2, 2)]
    assert found[0]["score"] == pytest.approx(0.3)
    assert found[0]["low"] < 0.3 < found[0]["high"]
    assert (found[1]["worst_case"], found[1]["worst_score"]) == ("c", 0.6)


def test_a_lead_of_one_case_is_no_safe_lead():
    """A is worse on one case of three and better on another: first unless that one is drawn more.

    Of the 27 draws of 3 from 3 cases, by how often (case 1, case 2) come: A wins with more of
    case 1, B with more of case 2, level when equal: 10, 10 and 7 draws.
    """
    found = standings({"A": rows([0.1, 0.5, 0.5]), "B": rows([0.5, 0.1, 0.5])}, n_resamples=20_000)
    assert [line["rank"] for line in found] == [1, 1], "level teams share a rank"
    for line in found:
        assert line["first"] == pytest.approx(17 / 27, abs=0.015)
        assert (line["rank_low"], line["rank_high"]) == (1, 2)


def test_the_draws_are_the_same_for_all_teams_and_do_not_depend_on_their_number():
    teams = {name: rows(np.random.default_rng(i).random(8)) for i, name in enumerate("XYZ")}
    twins = standings({"one": teams["X"], "two": teams["X"]})
    assert [line["first"] for line in twins] == [1, 1]
    alone = standings({"X": teams["X"]})[0]
    [among] = [line for line in standings(teams) if line["team"] == "X"]
    assert (alone["low"], alone["high"]) == (among["low"], among["high"])


def test_only_the_same_cases_can_be_compared():
    with pytest.raises(InputError, match="2 lists of cases"):
        standings({"A": rows([0.1, 0.2]), "B": rows([0.1])})


# --- from a folder to the page --------------------------------------------------------------------


def save(folder, sizes, affine=AFFINE):
    """Masks of ``size`` voxels in a row, by case."""
    folder.mkdir(parents=True)
    for case, size in sizes.items():
        mask = np.zeros((8, 6, 4), np.uint8)
        mask[:size, 2, 2] = 1
        image = nib.Nifti1Image(mask, affine)
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)
        nib.save(image, folder / f"{case}.nii.gz")
    return folder


@pytest.fixture
def reference(tmp_path):
    return save(tmp_path / "reference", {"a": 4, "b": 4})


class Tags(HTMLParser):
    """All tags and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_page_by_hand(reference, tmp_path, capsys):
    teams = tmp_path / "teams"
    save(teams / "half", {"a": 2, "b": 4})
    save(teams / "perfect", {"a": 4, "b": 4})
    save(teams / "cheat", {"a": 4})
    (teams / "notes.txt").write_text("hello")
    out = teams / "board.html"
    words = ["leaderboard", str(teams), str(out)]
    for more in ([], ["--reference", str(reference)]):  # it lies where it is looked for
        assert cli.main([*words, *more]) == 0  # and the page itself is no submission
    assert "2 teams, 2 refused" in capsys.readouterr().out
    page = out.read_text()
    seen = Tags(page)
    # half, case a: Dice 2 * 2 / 6, volume error 1/2, diameter 1 of 3: error 2/3; case b: perfect
    a = (1 / 3 + 1 / 2 + 2 / 3) / 3
    assert "1perfect0.0000 (0.0000 to 0.0000)1.00000.00000.0000a: 0.00100%1 to 1" in seen.text
    assert f"half{a / 2:.4f} (0.0000 to {a:.4f})0.83330.33330.2500a: {a:.2f}" in seen.text
    assert re.search(r"cheat: .*case b: is missing", seen.text)
    assert re.search(r"notes.txt: .*no ZIP", seen.text)
    assert "cheat" not in page[: page.index("Refused")], "who is refused is not scored"
    pictures = [attrs for tag, attrs in seen.tags if tag == "svg"]
    words = "Cases by Dice in steps of 0.1 from 0 to 1: "
    assert [p["aria-label"] for p in pictures] == [
        f"{words}0, 0, 0, 0, 0, 0, 0, 0, 0, 2",
        f"{words}0, 0, 0, 0, 0, 0, 1, 0, 0, 1",
    ]


def test_names_are_text_and_the_page_asks_nobody(reference, tmp_path):
    teams = tmp_path / "teams"
    names = [
        "<script>alert(1)<",
        "=cmd()|'calc'!A1",
        "<img src=x onerror=x>",
        "@SUM(1)",
        "a\u202eb",
    ]
    for name in names:
        save(teams / name, {"a": 4, "b": 4})
    (teams / "<b>refused.zip").write_bytes(b"<!doctype html><script>alert(2)</script>")
    write_leaderboard(teams, tmp_path / "board.html", reference)
    page = (tmp_path / "board.html").read_text()
    seen = Tags(page)
    known = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li"}
    assert {tag for tag, _ in seen.tags} == known | {"table", "tr", "th", "td", "svg", "rect"}
    assert not any(name in ("src", "href", "onerror") for _, a in seen.tags for name in a)
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "default-src 'none'" in page
    assert "<script>alert(1)<" in seen.text, "shown, but as text"
    assert "'=cmd()|" in seen.text, "an apostrophe keeps spreadsheets from computing it"
    assert "'@SUM(1)" in seen.text
    assert "a?b" in seen.text


def test_a_team_named_like_a_path_is_text_and_leads_nowhere(reference, tmp_path, monkeypatch):
    """A file cannot be called ``a/b``; what such a name would do is tried behind the reading."""
    teams, out = tmp_path / "teams", tmp_path / "pages" / "board.html"
    on_disk = ["a\\..\\b", "C:\\Windows\\x", "%2e%2e%2fx", "~root", "&#47;etc&#47;passwd", "-rf"]
    for name in on_disk:
        save(teams / name, {"a": 4, "b": 4})
    before = sorted(tmp_path.rglob("*"))
    scored = leaderboard.collect(teams, reference, {})[0]
    assert sorted(scored) == sorted(on_disk)
    paths = ["../x", "../../teams/-rf", "a/b", "/etc/passwd", str(reference / "a.nii.gz")]
    every = scored | dict.fromkeys(paths, scored["-rf"])
    monkeypatch.setattr(leaderboard, "collect", lambda *_: (every, {"../../late.zip": "late."}))
    told = write_leaderboard(teams, out, reference)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, out.parent, out])
    seen = Tags(out.read_text())
    assert not {"a", "img", "link", "object", "iframe"} & {tag for tag, _ in seen.tags}
    for name in [*on_disk, *paths]:
        shown = f"'{name}" if name == "-rf" else name
        assert f"1{shown[:60]}0.0000 (" in seen.text and f"1. {shown[:60]} 0.0000" in told
    assert "../../late.zip: late." in seen.text


def test_rules_of_the_folder(reference, tmp_path):
    teams = tmp_path / "teams"
    for name, size in {"x@1": 4, "x@2": 2, "x@3": 4, "late": 4, "twice": 4}.items():
        save(teams / name, {"a": size, "b": 4})
    (teams / "twice.csv").write_text("id,rle,data_shape\n")
    (teams / "rules.yml").write_text("max_submissions: 2\ndeadline: 2026-11-20 18:00\n")
    evening = datetime(2026, 11, 20, 18, 0).timestamp()
    save(teams / "changed", {"a": 4, "b": 4})
    late = (teams / "late", teams / "changed" / "a.nii.gz")
    for path in teams.rglob("*"):
        os.utime(path, (evening, evening + 60 * (path in late)))
    told = write_leaderboard(teams, tmp_path / "board.html", reference, teams / "rules.yml")
    assert told.startswith("1. x 0.25"), "the last one within the limit counts, not the best"
    text = Tags((tmp_path / "board.html").read_text()).text
    assert "x@3: more than 2 submissions" in text
    for name in ("late", "changed"):
        assert f"{name}: came at 2026-11-20 18:01, after the deadline" in text
    assert "twice.csv: several submissions of one team" in text


def test_without_a_reference_nothing_is_scored(tmp_path, capsys):
    save(tmp_path / "teams" / "one", {"a": 4})
    assert cli.main(["leaderboard", str(tmp_path / "teams"), str(tmp_path / "b.html")]) == 1
    assert f"{tmp_path / 'reference'}: " in capsys.readouterr().err
    assert not (tmp_path / "b.html").exists()


@pytest.mark.parametrize("fault", ["labels found: 0, 2", "cut short"])
def test_a_broken_reference_is_the_fault_of_no_team(reference, tmp_path, fault):
    save(tmp_path / "teams" / "one", {"a": 4, "b": 4})
    broken = reference / "b.nii.gz"
    if fault == "cut short":
        broken.write_bytes(broken.read_bytes()[:-12])
    else:
        image = nib.load(broken)
        twos = np.asarray(image.dataobj) * np.uint8(2)
        nib.save(nib.Nifti1Image(twos, image.affine, image.header), broken)
    with pytest.raises(InputError, match=rf"reference.b\.nii\.gz: .*{fault}"):
        write_leaderboard(tmp_path / "teams", tmp_path / "b.html", reference)
    assert not (tmp_path / "b.html").exists()


def test_nothing_to_rank(reference, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        write_leaderboard(tmp_path / "nowhere", tmp_path / "b.html", reference)
    (tmp_path / "teams").mkdir()
    with pytest.raises(InputError, match="holds no submissions"):
        write_leaderboard(tmp_path / "teams", tmp_path / "b.html", reference)
    save(tmp_path / "teams" / "bad", {"a": 4})
    assert "0 teams, 1 refused" in write_leaderboard(
        tmp_path / "teams", tmp_path / "b.html", reference
    )
