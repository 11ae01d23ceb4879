"""The table of sizes is whole, keeps the limits of its profiles, and names what it knows."""

import pytest

from seg_lib.course.profiles import LONGEST_S, PROFILES, TABLE, settings
from seg_lib.errors import InputError
from seg_lib.models.presets import sizes_for


@pytest.mark.parametrize("notebook", TABLE)
def test_every_lesson_has_every_profile_within_its_limits(notebook):
    assert tuple(TABLE[notebook]) == PROFILES
    for profile in PROFILES:
        row = settings(notebook, profile)
        assert 0 < row.budget_s <= LONGEST_S[profile]
        assert row.budget_mb > 0
        assert row.sizes.keys() == settings(notebook, "smoke").sizes.keys()
        assert all(n >= 1 for name, n in row.sizes.items() if name.endswith("epochs"))


def test_a_bigger_profile_is_never_smaller():
    for notebook in TABLE:
        for name in ("n_cases", "size"):
            values = [getattr(settings(notebook, profile), name) for profile in PROFILES]
            assert values == sorted(values), f"{notebook} {name}"


def test_the_whole_course_stays_within_its_time():
    for profile, minutes in {"smoke": 15, "laptop": 64}.items():
        assert sum(settings(n, profile).budget_s for n in TABLE) <= minutes * 60


def test_the_paper_preset_is_what_the_source_says():
    paper = settings("06", "paper")
    assert (paper.n_cases * 3 // 4, paper.copies, paper.size) == (708, 4, 256)
    assert 708 * (1 + paper.copies) == 3540
    assert (paper.epochs, paper.network, paper.learning_rate) == (100, "resnet50_unet", 1e-4)
    assert (paper.encoder_weights, paper.loss, paper.optimizer) == ("imagenet", "bce", "adam")


def test_the_paper_preset_of_source_003():
    """291 volumes, patches of which a quarter are positive, 300 epochs: 20 h on two A40."""
    paper = settings("10", "paper")
    assert (paper.n_cases, paper.patch, paper.positives) == (291, (160, 160, 64), 0.25)
    assert (paper.batch_size, paper.patches) == (1, 1), "one patch a volume, one in a batch"
    assert paper.loss == "dice_ce" and paper.budget_s == 20 * 3600 * 2
    assert sizes_for(paper.network, 0, paper.preset) == {"dropout": 0.2}
    config = paper.train_config(seed=0)
    assert (config.epochs, config.optimizer, config.learning_rate) == (300, "adamw", 3e-4)
    assert (config.weight_decay, config.validate_every) == (1e-6, 1)


def test_the_paper_preset_of_source_000():
    """100 whole volumes of 384 x 384 x 128 in batches of 2, 1000 epochs: 18 h on two A40."""
    paper = settings("15", "paper")
    assert (paper.n_cases, paper.size, paper.patch) == (100, (384, 384, 128), (384, 384, 128))
    assert (paper.batch_size, paper.patches, paper.preset) == (2, 1, "paper")
    assert paper.language_model == "meta-llama/Llama-2-7b-chat-hf"
    assert 18 * 3600 * 2 <= paper.budget_s < 19 * 3600 * 2
    config = paper.train_config(seed=0)
    assert (config.epochs, config.optimizer, config.learning_rate) == (1000, "adamw", 1e-4)
    assert config.warmup_epochs == settings("16", "paper").train_config(0).warmup_epochs == 10
    assert config.weight_decay == 1e-5


def test_settings_are_attributes_and_frozen():
    row = settings("06", "smoke")
    assert row.batch_size == TABLE["06"]["smoke"]["batch_size"]
    with pytest.raises(AttributeError):
        row.batch_size = 1
    with pytest.raises(TypeError):
        row.sizes["batch_size"] = 1
    with pytest.raises(AttributeError, match="no size 'colour'; there are network"):
        _ = row.colour


@pytest.mark.parametrize(
    ("notebook", "profile", "message"),
    [
        ("99", "smoke", "no lesson '99'.*00, 01, 02"),
        ("06", "huge", "no profile 'huge'.*smoke, laptop"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(notebook, profile, message):
    with pytest.raises(InputError, match=message):
        settings(notebook, profile)


def test_the_budget_line_is_for_people():
    line = settings("06", "paper").budget_line()
    assert line == "Lesson 06, profile paper: about 18000 s and 12.0 GB on one GPU"
