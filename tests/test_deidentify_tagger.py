"""The tagger: one definition of its features, weights that can be made again, what they do."""

import random
import re
import sys

import numpy as np
import pytest
import train_tagger
from made_up_notes import made_up_notes

from seg_lib.data import deidentify_tagger as tagger
from seg_lib.data.deidentify import find_identifiers
from seg_lib.data.deidentify_rules import find_by_rules

TEXT = "Dr. Okoro saw Ada Brumal, 93, on 3/4/2021.\n\nMedications: Zorbax 5 mg. Gaps   here."


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Weights of a few notes in place of those of the library."""
    notes = {"a": made_up_notes("development", 30, 1), "b": made_up_notes("second author", 30, 1)}
    x, classes, names = train_tagger.examples(notes)
    path = tmp_path / "weights.txt"
    train_tagger.write_weights(train_tagger.fit(x, classes), names, path)
    monkeypatch.setattr(tagger, "WEIGHTS", path)
    for cached in (tagger._weights, tagger._given, tagger._together):
        cached.cache_clear()
    yield path, x, classes, names
    for cached in (tagger._weights, tagger._given, tagger._together):
        cached.cache_clear()


def test_a_letter_for_each_token_and_a_digit_for_what_a_rule_found():
    tokens, kinds, drugs = tagger.read(TEXT, find_by_rules(TEXT))
    assert len(tokens) == len(kinds) == len(drugs) and "\n" not in kinds
    letters = dict(zip([token[0] for token in tokens], kinds, strict=True))
    assert letters["Okoro"] == "X" and letters["Ada"] == "f" and letters["2021"] == "1"
    assert letters["\n"] == "|" and letters["   "] == "|"
    listed = [token[0] for token, drug in zip(tokens, drugs, strict=True) if drug]
    assert listed[-3:] == ["Zorbax", "5", "mg"]
    assert not tagger.read("", ())[0] and not list(tagger.find_by_tagger("  ", ()))


def test_the_quick_sum_is_the_sum_over_the_features_of_training(trained):
    _, _, _, names = trained
    number, weights = tagger._weights()
    for note in (TEXT, made_up_notes("development", 1, 7)[0].text):
        tokens, features = train_tagger.features(note)
        found = find_by_rules(note)
        chances = tagger.probabilities([t[0] for t in tokens], *tagger.read(note, found)[1:])
        for chance, of in zip(chances, features, strict=True):
            score = sum(weights[number[name]] for name in of if name in number)
            odds = np.exp(score - score.max())
            np.testing.assert_allclose(chance, odds / odds.sum(), atol=1e-5)
    assert set(number) <= set(names) and not weights[-1].any()


def test_training_twice_gives_the_same_weights_and_finds_names(trained, tmp_path):
    path, x, classes, names = trained
    train_tagger.write_weights(train_tagger.fit(x, classes), names, tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == path.read_bytes()
    weights = train_tagger.fit(x, classes)
    best = (x @ weights).argmax(axis=1)
    assert np.mean(best == classes) > 0.97 > 0.9 > np.mean(classes == 0)


def test_the_weights_of_the_library():
    text = tagger.WEIGHTS.read_text(encoding="utf-8")
    assert len(text.encode()) < 450_000 and " ".join(tagger.CLASSES) in text.splitlines()[0]
    number, weights = tagger._weights()
    assert len(number) == len(weights) - 1 and weights.shape[1] == len(tagger.CLASSES)
    assert weights[:-1].any(axis=1).all()


def test_a_changed_copy_keeps_spans_and_loses_known_names(monkeypatch):
    monkeypatch.setattr(train_tagger, "CUT", 0)
    notes = made_up_notes("development", 40, 2)
    rng = random.Random(0)
    pairs = [(note, train_tagger.changed(note, rng)) for note in notes]
    assert all(len(a.text) == len(b.text) and a.spans == b.spans for a, b in pairs)
    assert any(b.text.isupper() for _, b in pairs) and any(b.text.islower() for _, b in pairs)
    outside, strange = 0, 0
    for a, b in pairs:
        differ = [x.lower() != y.lower() for x, y in zip(a.text, b.text, strict=True)]
        strange += sum(any(differ[s:e]) for s, e, _ in a.spans)
        for s, e, _ in a.spans:
            differ[s:e] = [False] * (e - s)
        outside += sum(differ)
    assert outside == 0 and strange > 5


def test_a_piece_of_a_note_cuts_no_identifier():
    rng, lengths = random.Random(1), []
    for note in made_up_notes("second author", 40, 2):
        whole = {note.text[s:e] for s, e, _ in note.spans}
        part = train_tagger.piece(note, rng)
        assert part.text in note.text and {part.text[s:e] for s, e, _ in part.spans} <= whole
        lengths.append(len(part.text) / len(note.text))
    assert max(lengths) < 1 and 0.1 < sum(lengths) / len(lengths) < 0.6


def test_a_word_is_a_feature_only_if_two_groups_use_it():
    a, b = (made_up_notes(name, 60, 1) for name in ("development", "second author"))
    shared = train_tagger.shared_words({"a": a, "b": b})
    assert "patient" in shared and not {"okafor", "brandt", "adaeze"} & shared
    *_, names = train_tagger.examples({"a": a[:20], "b": b[:20]})
    own = {m[1] for name in names if (m := train_tagger.OF_A_WORD.match(name))}
    assert own <= shared and own


def test_leaving_an_author_out_never_overwrites_the_weights_of_the_library(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_tagger.py", "--without", "third author"])
    with pytest.raises(SystemExit):
        train_tagger.main()
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "\n", "—", "x", "93", "🙂", "a" * 5000, "1" * 50, "Ünal"])
def test_odd_texts(text):
    assert all(0 <= a < b <= len(text) for a, b, _ in find_identifiers(text))


def test_an_age_up_to_89_stays():
    """The tagger may say that a number is an age; only one of 90 or more is an identifier."""
    assert not [k for *_, k in find_identifiers("A man, 74, lives alone.") if k == "AGE"]
    assert tagger.OLDEST.fullmatch("94f") and not tagger.OLDEST.fullmatch("74f")
    assert re.fullmatch(tagger.OLDEST, "ninety-two") and not tagger.OLDEST.fullmatch("900")
