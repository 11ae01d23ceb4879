"""Read one hostile file in a process of its own and measure its memory."""

import subprocess
import sys
import textwrap


def read_apart(module: str, function: str, path, timeout: int = 300) -> tuple[str, int]:
    """What ``function(path)`` says (its refusal, or the length of its result) and its peak MB.

    The process runs with ``-O``: refusals must not be asserts. Its own peak is read from /proc,
    because ``getrusage`` counts the memory of the parent that started it.
    """
    code = f"""
        import sys
        from {module} import {function}
        from seg_lib.errors import InputError
        try:
            message = str(len({function}(sys.argv[1])))
        except InputError as error:
            message = str(error)
        print(message)
        print(next(line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line))
    """
    command = [sys.executable, "-O", "-c", textwrap.dedent(code), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True)
    message, kilobytes = done.stdout.splitlines()
    return message, int(kilobytes) // 1024
