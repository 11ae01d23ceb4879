"""The commands for a course and its class: ``doctor``, ``course`` and ``bundle``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from seg_lib.errors import InputError

PROFILE = {"default": "laptop", "help": "smoke, laptop, gpu or paper"}


def doctor(workshop: bool) -> int:
    """Versions, device, memory, and what is missing with the command that brings it."""
    from seg_lib.doctor import report

    text, ok = report()
    print(text)
    if workshop:
        from seg_lib.preflight import preflight

        text, ready = preflight()
        print(f"\n{text}")
        ok = ok and ready
    return 0 if ok else 1


def course(profile: str, only: str | None, jobs: int, **asked: Any) -> int:
    """Run the lessons; or publish the last run, check what is committed, hand out copies."""
    from seg_lib.course import committed, handout, runner, site
    from seg_lib.course.notebooks import course_root, lessons_of

    chosen = [name for name, value in asked.items() if value]
    if not chosen:
        return runner.run_course(profile, only, jobs=jobs)
    if len(chosen) > 1:
        words = " and ".join(f"--{name}" for name in chosen)
        raise InputError(f"course: {words} are different jobs; ask for one at a time.")
    if only is not None or jobs != 1:
        raise InputError(f"course: --only and --jobs are for a run, not for --{chosen[0]}.")
    [job], root = chosen, course_root()
    if job == "check":
        lessons_of(root)  # none at all is no success
        findings = committed.check_committed(root / "notebooks")
        print("\n".join(findings) or "Committed lessons: fresh, small, without identifiers.")
        return 1 if findings else 0
    folder = asked[job]
    if job == "publish":
        done = committed.update_committed(root / "runs" / profile, root / "notebooks")
        print(f"{len(done)} lessons published.")
        return 0 if done else 1
    elif job == "student":
        print(f"{folder}: {len(handout.write_student_copy(folder))} lessons for students.")
    elif job == "otter":
        print(f"{folder}: tests of {len(handout.write_otter_tests(folder))} exercises.")
    else:
        print(f"Open {site.build_site(folder)} in a browser.")
    return 0


def bundle(out_dir: Path, verify: bool) -> int:
    """Wheels, lessons and checksums for a class without network, or --verify a copy of them."""
    from seg_lib.course.bundle import verify_bundle, write_bundle

    if not verify:
        print("Gathering wheels; with PyTorch this takes minutes.", flush=True)
        print(write_bundle(out_dir))
        return 0
    faults = verify_bundle(out_dir)
    print("\n".join(faults) or f"{out_dir}: whole.")
    return 1 if faults else 0


def add_course(add: Callable) -> None:
    """The three commands."""
    word = add(doctor)
    word("--workshop", action="store_true", help="also: would a class begin on time here?")
    word = add(course)
    word("--profile", **PROFILE)
    word("--only", metavar="04,07")
    word("--jobs", type=int, default=1, metavar="N", help="so many lessons at once")
    word("--check", action="store_true", help="check the committed lessons")
    word("--publish", action="store_true", help="store the last run's outputs")
    word("--student", type=Path, metavar="DIR", help="write a copy for a class, without outputs")
    word("--otter", type=Path, metavar="DIR", help="write tests for otter-grader")
    word("--site", type=Path, metavar="DIR", help="write lessons, guides and library as HTML pages")
    word = add(bundle, "out_dir")
    word("--verify", action="store_true", help="is a copy whole?")
