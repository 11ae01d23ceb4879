"""The command ``seg-lib``: reads the words, calls the library, says what happened.

No logic lives here. Exit code 0 only when all went well, 1 for a fault in what was handed in (one
sentence says what, where, what to do), 2 for unknown words, 75 for a training that can be resumed.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from seg_lib.course_commands import PROFILE, add_course
from seg_lib.data_commands import add_conversions, add_data_commands
from seg_lib.errors import DataWarning, InputError, Interrupted, TrainingError

INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: try again
SPACING = "of volumes: resample to voxels of X Y Z mm; large ones make a run for --coarse"
TRAIN_WORDS = {
    "task": {"help": "slices2d, volumes3d, text3d or pancreas"},
    "--network": {"help": "default: the task's own"},
    "--profile": PROFILE,
    "--seed": {"type": int, "default": 0},
    "--spacing": {
        "dest": "spacing_mm",
        "type": float,
        "nargs": 3,
        "metavar": "MM",
        "help": SPACING,
    },
    "--minutes": {"type": float, "help": "stop after so many minutes"},
    "--resume": {"action": "store_true", "help": "go on from the last checkpoint"},
}
JOB_WORDS = {
    "task": {"help": "slices2d, volumes3d, text3d, pancreas, or a lesson's number"},
    "--scheduler": {"required": True, "help": "slurm or sge"},
    "--network": {"help": "default: the task's own"},
    "--profile": PROFILE,
    "--seed": {"default": "0"},
    "--gpus": {"type": int, "default": 0, "help": "one process each"},
    "--cpus": {"type": int, "default": 4, "help": "cores of the whole job"},
    "--hours": {"type": float, "default": 10.0},
    "--partition": {"default": "", "help": "or queue; default: the cluster's own"},
    "--array": {"action": "store_true", "help": "task, network, profile, seed may be lists: 0,1,2"},
    "--submit": {"action": "store_true", "help": "hand it to sbatch or qsub"},
}
SUBMISSION_WORDS = {
    "action": {"choices": ["check", "score"]},
    "submission": {"type": Path, "help": "ZIP, folder or CSV"},
    "reference_dir": {"type": Path},
    "--rules": {"type": Path, "help": "rules.yml"},
    "--out": {"type": Path, "help": "score: write a line a case"},
}


def phantom(out_dir: Path, **choices: object) -> int:
    """Make a set of CT phantoms."""
    from seg_lib.data.phantom import make_phantom

    cases = make_phantom(out_dir=out_dir, **choices)
    patients = len({case.patient for case in cases})
    print(f"{out_dir}: {len(cases)} cases of {patients} phantom patients.")
    return 0


def train(**choices: object) -> int:
    """Train one network and score it beside a baseline that does not learn."""
    from seg_lib.tasks import train_task

    told = train_task(**choices)
    if told:  # of several processes one speaks
        print(told)
    return 0


def job(scheduler: str, submit: bool, **choices: object) -> int:
    """Write a job script for a cluster, and hand it in with --submit; a stopped job resumes."""
    from seg_lib import cluster

    script = cluster.write_job(scheduler=scheduler, **choices)
    print(f"{script}\nTo submit it: {cluster.how_to_submit(script, scheduler)}")
    if submit:
        print(cluster.submit(script, scheduler))
    return 0


def predict(run_dir: Path, images: list[Path], out: Path, **beside: object) -> int:
    """Segment images with a trained network; a faulty image is named and the others go on."""
    from seg_lib.trained import predict_files

    outcomes = predict_files(run_dir, images, out, **beside)
    faults = [fault for _, fault in outcomes if fault]
    for fault in faults:
        print(f"seg-lib: {fault}", file=sys.stderr)
    print(f"done {len(outcomes) - len(faults)}, failed {len(faults)}")
    return 1 if faults else 0


def export(run: Path, out: Path, form: str) -> int:
    """Bring a trained network to other programs, or to the Hugging Face hub (OUT is owner/name)."""
    from seg_lib.export import to_monai_bundle, to_onnx
    from seg_lib.trained import push_to_hub

    if form == "hub":
        print(push_to_hub(run, str(out)))
    else:
        written = {"onnx": to_onnx, "monai": to_monai_bundle}[form](run, out)
        print(f"{written}: written; its logits are those of the run.")
    return 0


def evaluate(predictions_dir: Path, reference_dir: Path, out: Path) -> int:
    """Compare masks with reference masks by their names, or with a data folder's test cases."""
    from seg_lib.tasks import evaluate_to_csv

    print(evaluate_to_csv(predictions_dir, reference_dir, out))
    return 0


def submission(
    action: str, submission: Path, reference_dir: Path, rules: Path | None, out: Path | None
) -> int:
    """Check what a team hands in (all problems at once), or score it as source 003 did."""
    from seg_lib import submission as kit
    from seg_lib.submission_rules import read_rules

    if action == "score":
        print(kit.score_to_csv(submission, reference_dir, read_rules(rules), out))
        return 0
    findings = kit.check_submission(submission, reference_dir, read_rules(rules))
    print("\n".join(findings) or f"{submission}: nothing to complain about.")
    return 1 if findings else 0


def leaderboard(
    submissions_dir: Path, out_html: Path, reference: Path | None, rules: Path | None
) -> int:
    """Score a folder with one submission a team, and write the table as a page."""
    from seg_lib.leaderboard import write_leaderboard

    reference = reference or submissions_dir.resolve().parent / "reference"
    print(write_leaderboard(submissions_dir, out_html, reference, rules))
    return 0


def sizes(text: str) -> int | tuple[int, ...]:
    """``512`` or ``128,128,48``."""
    first, *others = (int(part) for part in text.split(","))
    return (first, *others) if others else first


def build_parser() -> argparse.ArgumentParser:
    """The parser, one sub-command a function of this file; its help is the function's docstring."""
    parser = argparse.ArgumentParser(prog="seg-lib", description="Course and benchmark commands.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(function: Callable[..., int], *files: str) -> Callable:
        """A sub-command with the files that it needs; returns what adds its other words."""
        name = function.__name__.replace("_", "-")
        words = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        words.set_defaults(function=function)
        for file in files:
            needed = {"required": True} if file.startswith("--") else {}
            words.add_argument(file, type=Path, **needed)
        return words.add_argument

    word = add(phantom)
    word("kind", help="lung2d, lung3d, thorax_notes or pancreas")
    word("out_dir", type=Path)
    word("--cases", type=int, default=24, metavar="N", dest="n_cases")
    word("--size", type=sizes, metavar="N or X,Y,Z")
    word("--seed", type=int, default=0)
    word("--hospital", default="home", help="of thorax_notes: home, external1 or external2")
    add_conversions(add)
    word = add(train, "--data", "--out")
    for name, how in TRAIN_WORDS.items():
        word(name, **how)
    word = add(job, "--data", "--out")
    for name, how in JOB_WORDS.items():
        word(name, **how)
    word = add(predict, "run_dir", "--out")
    word("images", type=Path, nargs="+")
    word("--notes", type=Path, help="table with a note for each image, for text3d")
    word("--coarse", type=Path, help="3D run that looks first; only around its finds is predicted")
    word("--margin", type=float, default=15.0, metavar="MM", dest="margin_mm", help="around them")
    add(export, "run", "out")("--form", required=True, choices=["onnx", "monai", "hub"])
    add(evaluate, "predictions_dir", "reference_dir", "--out")
    add_hackathon(add)
    add_data_commands(add, commands)
    add_course(add)
    return parser


def add_hackathon(add: Callable) -> None:
    """The two commands of a hackathon."""
    word = add(submission)
    for name, how in SUBMISSION_WORDS.items():
        word(name, **how)
    word = add(leaderboard, "submissions_dir", "out_html")
    word("--reference", type=Path, help="default: the folder reference beside the submissions")
    word("--rules", type=Path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a fault of the input is one sentence on stderr, a bug is a traceback."""
    words = vars(build_parser().parse_args(arguments))
    function = words.pop("function")
    # Before torch is loaded: threads that wait soon sleep, which a busy machine needs.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    with warnings.catch_warnings(action="always", category=DataWarning):
        warnings.showwarning = say_warning
        try:
            return function(**words)
        except (InputError, TrainingError) as fault:
            print(f"seg-lib: {fault}", file=sys.stderr)
            return 1
        except Interrupted as stop:
            print(f"seg-lib: {stop}", file=sys.stderr)
            return INTERRUPTED
        except KeyboardInterrupt:
            print("seg-lib: stopped by the keyboard.", file=sys.stderr)
            return 130


def say_warning(message: Warning | str, category: type[Warning], *place: object) -> None:
    """One line a warning of ours; those of other libraries stay quiet on the command line."""
    if issubclass(category, DataWarning):
        print(f"seg-lib: note: {message}", file=sys.stderr)
