"""The command ``seg-lib``: reads the words, calls the library, says what happened.

No logic lives here. Exit code 0 only when all went well, 1 when something handed in was at fault
(one sentence says what, where and what to do), 2 for words that the command does not know.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from seg_lib.errors import DataWarning, InputError, TrainingError


def doctor(words: argparse.Namespace) -> int:
    """Versions, device, memory, and what is missing with the command that brings it."""
    from seg_lib.doctor import report

    text, ok = report()
    print(text)
    return 0 if ok else 1


def phantom(words: argparse.Namespace) -> int:
    """Make a set of CT phantoms."""
    from seg_lib.data.phantom import make_phantom

    cases = make_phantom(words.kind, words.cases, words.size, words.seed, words.out_dir)
    patients = len({case.patient for case in cases})
    print(f"{words.out_dir}: {len(cases)} cases of {patients} phantom patients.")
    return 0


def pickle_to_png(words: argparse.Namespace) -> int:
    """Turn a pickled table of slices into PNG files once, without running anything in it."""
    from seg_lib.data.slices import pickle_to_png as convert

    cases = convert(words.pickle, words.out_dir, size=words.size, split=words.split)
    print(f"{words.out_dir}: {len(cases)} slices, split {words.split}.")
    return 0


def train(words: argparse.Namespace) -> int:
    """Train one network and score it beside a baseline that does not learn."""
    from seg_lib.tasks import train_task

    print(
        train_task(
            words.task,
            words.data,
            words.out,
            network=words.network,
            profile=words.profile,
            seed=words.seed,
            minutes=words.minutes,
            resume=words.resume,
        )
    )
    return 0


def predict(words: argparse.Namespace) -> int:
    """Segment images with a trained network; a faulty image is named and the others go on."""
    from seg_lib.tasks import predict_files

    return tell(predict_files(words.run_dir, words.images, words.out))


def evaluate(words: argparse.Namespace) -> int:
    """Compare a folder of masks with a folder of reference masks, file name by file name."""
    from seg_lib.tasks import evaluate_to_csv

    print(evaluate_to_csv(words.predictions_dir, words.reference_dir, words.out))
    return 0


def course(words: argparse.Namespace) -> int:
    """Run the lessons, publish the last run, or check what is committed."""
    from seg_lib.course import committed, runner

    if words.check:
        findings = committed.check_committed(Path("notebooks"))
        print("\n".join(findings) or "Committed lessons: fresh, small, without identifiers.")
        return 1 if findings else 0
    if words.publish:
        committed.update_committed(Path("runs") / words.profile, Path("notebooks"))
        return 0
    return runner.run_course(words.profile, only=words.only)


def tell(outcomes: Sequence[tuple[Path, str | None]]) -> int:
    """Print one line a failed file and the count of all; 1 if any failed."""
    failed = [(path, fault) for path, fault in outcomes if fault]
    for _, fault in failed:
        print(f"seg-lib: {fault}", file=sys.stderr)
    print(f"done {len(outcomes) - len(failed)}, failed {len(failed)}")
    return 1 if failed else 0


def add_data_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that make or convert data."""
    add(doctor)
    words = add(phantom)
    words.add_argument("kind", help="lung2d or lung3d")
    words.add_argument("out_dir", type=Path)
    words.add_argument("--cases", type=int, default=24, metavar="N")
    words.add_argument("--size", type=sizes, metavar="N or X,Y,Z")
    words.add_argument("--seed", type=int, default=0)
    words = add(pickle_to_png, "pickle-to-png")
    words.add_argument("pickle", type=Path)
    words.add_argument("out_dir", type=Path)
    words.add_argument("--size", type=int, default=256)
    words.add_argument("--split", default="train", choices=["train", "val", "test"])


def add_model_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that train, predict and score."""
    words = add(train)
    words.add_argument("task", help="slices2d")
    words.add_argument("--data", type=Path, required=True)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--network", help="default: the task's own")
    words.add_argument("--profile", default="laptop", help="smoke, laptop, gpu or paper")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--minutes", type=float, help="stop after so many minutes")
    words.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    words = add(predict)
    words.add_argument("run_dir", type=Path)
    words.add_argument("images", type=Path, nargs="+")
    words.add_argument("--out", type=Path, required=True)
    words = add(evaluate)
    words.add_argument("predictions_dir", type=Path)
    words.add_argument("reference_dir", type=Path)
    words.add_argument("--out", type=Path, required=True, metavar="results.csv")
    words = add(course)
    words.add_argument("--profile", default="laptop", help="smoke, laptop, gpu or paper")
    words.add_argument("--only", type=lambda text: text.split(","), metavar="04,07")
    words.add_argument("--check", action="store_true", help="check the committed lessons")
    words.add_argument("--publish", action="store_true", help="store the last run's outputs")


def sizes(text: str) -> int | tuple[int, ...]:
    """``512`` or ``128,128,48``."""
    numbers = tuple(int(part) for part in text.split(","))
    return numbers[0] if len(numbers) == 1 else numbers


def build_parser() -> argparse.ArgumentParser:
    """The parser, one sub-command a function of this file; its help is the function's docstring."""
    parser = argparse.ArgumentParser(prog="seg-lib", description="Course and benchmark commands.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(function: Callable[..., int], name: str = "") -> argparse.ArgumentParser:
        summary = (function.__doc__ or "").strip()
        words = commands.add_parser(name or function.__name__, help=summary, description=summary)
        words.set_defaults(function=function)
        return words

    add_data_commands(add)
    add_model_commands(add)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a fault of the input is one sentence on stderr, a bug is a traceback."""
    words = build_parser().parse_args(arguments)
    # Before torch is loaded: threads that wait do not spin, 5 times faster on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with warnings.catch_warnings():
        warnings.showwarning = say_warning
        warnings.simplefilter("always", DataWarning)
        try:
            return words.function(words)
        except (InputError, TrainingError) as fault:
            print(f"seg-lib: {fault}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("seg-lib: stopped by the keyboard.", file=sys.stderr)
            return 130


def say_warning(message: Warning | str, category: type[Warning], *place: object) -> None:
    """One line a warning of ours; those of other libraries stay quiet on the command line."""
    if issubclass(category, DataWarning):
        print(f"seg-lib: note: {message}", file=sys.stderr)
