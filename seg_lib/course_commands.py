"""The commands for a course and its class: ``doctor``, ``course`` and ``bundle``."""

from collections.abc import Callable
from pathlib import Path

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


def course(
    profile: str,
    only: str | None,
    check: bool,
    publish: bool,
    student: Path | None,
    otter: Path | None,
) -> int:
    """Run the lessons, publish the last run, check what is committed, or hand out copies."""
    from seg_lib.course import committed, handout, runner

    if check:
        findings = committed.check_committed(Path("notebooks"))
        print("\n".join(findings) or "Committed lessons: fresh, small, without identifiers.")
        return 1 if findings else 0
    if publish:
        committed.update_committed(Path("runs") / profile, Path("notebooks"))
    elif student:
        print(f"{student}: {len(handout.write_student_copy(student))} lessons for students.")
    elif otter:
        print(f"{otter}: tests of {len(handout.write_otter_tests(otter))} exercises.")
    else:
        return runner.run_course(profile, only)
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
    word("--check", action="store_true", help="check the committed lessons")
    word("--publish", action="store_true", help="store the last run's outputs")
    word("--student", type=Path, metavar="DIR", help="write a copy for a class, without outputs")
    word("--otter", type=Path, metavar="DIR", help="write tests for otter-grader")
    word = add(bundle, "out_dir")
    word("--verify", action="store_true", help="is a copy whole?")
