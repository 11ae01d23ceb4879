"""The names that people's scripts rely on: none may go away."""

import importlib
import inspect

import pytest

from seg_lib.cli import build_parser
from seg_lib.tasks import TASKS

NAMES = {
    "data.phantom": "make_phantom",
    "data.cases": "Case read_cases write_cases split_cases",
    "data.dicom": "dicom_to_nifti rtstruct_to_mask",
    "data.slices": "pickle_to_png",
    "data.notes": "row_to_note note_to_prompt",
    "data.deidentify": "deidentify",
    "data.nnunet_layout": "write_dataset read_dataset",
    "models": "MODELS build_model",
    "losses": "soft_dice_loss dice_ce dice_focal bce contrastive_alignment_loss multitask_loss",
    "metrics": "dice iou rmse hausdorff_mm hausdorff95_mm surface_dice relative_volume_error "
    "recist_diameter_mm recist_error macro_f1 case_metrics",
    "training": "TrainConfig fit save_checkpoint load_checkpoint",
    "inference": "predict_slice predict_volume largest_component",
    "evaluation": "evaluate_cases summarise bootstrap_interval",
    "viewer": "SliceViewer",
}
COMMANDS = [
    "doctor",
    "phantom lung2d out --cases 8 --seed 1",
    "data list",
    "data info msd-task06",
    "data fetch msd-task06 --accept-licence",
    "data verify msd-task06 folder",
    "data prepare msd-task06 folder out",
    "dicom-to-nifti folder out.nii.gz --rtstruct file --roi GTV --mask-out mask.nii.gz",
    "pickle-to-png file.pkl out",
    "notes table.csv out.csv",
    "deidentify in.txt out.txt",
    "check-data folder",
    "train slices2d --data d --out r --network unetr --profile smoke --seed 1 --minutes 2 --resume",
    "predict run scan.nii.gz other.nii.gz --out folder --notes table.csv",
    "evaluate predictions reference --out results.csv",
    "submission check file.zip reference",
    "submission score file.zip reference",
    "leaderboard folder out.html",
    "job slices2d --scheduler slurm --data d --out r --submit",
    "course --profile smoke --only 04,07",
    "course --check",
]


@pytest.mark.parametrize("module", NAMES)
def test_every_public_name_is_there_and_documented(module):
    found = importlib.import_module(f"seg_lib.{module}")
    for name in NAMES[module].split():
        assert name == "MODELS" or inspect.getdoc(getattr(found, name)), name


def test_the_viewer_takes_its_four_arguments_by_position():
    from seg_lib.viewer import SliceViewer

    names = list(inspect.signature(SliceViewer).parameters)
    assert names[:4] == ["image", "mask", "prediction", "spacing"]


def test_the_tasks_of_the_command_line():
    assert set(TASKS) == {"slices2d", "volumes3d", "text3d", "pancreas"}


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_takes_its_words(words):
    assert callable(build_parser().parse_args(words.split()).function)
