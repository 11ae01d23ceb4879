"""Run every benchmark; with ``--data DIR`` also the one on real nodules."""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """One after the other, so that none disturbs the times of another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with image/ and nodule_mask/")
    parser.add_argument("--pancreas", help="folder with images/ and masks/")
    parser.add_argument("--nnunet", help="Python of an environment with nnunetv2 2.8.1")
    words = parser.parse_args()
    commands = [["metrics_speed.py"], ["augmentation_speed.py"], ["training_speed.py"]]
    commands += [["layout_speed.py"], ["dicom_speed.py"], ["text_cost.py"], ["text_guided.py"]]
    commands += [["text_cost.py", "--memory"], ["deidentification.py"]]
    commands += [["inference_speed.py"], ["overlap.py"], ["compare_2d.py", "lung2d", "--same-time"]]
    commands += [["unetr_recipe.py", "lung2d", "--epochs", "24"], ["compare_3d.py"]]
    commands += [["pancreas_multitask.py"], ["pancreas_speed.py"], ["quantised_2d.py"]]
    commands += [["pancreas_folds.py"]]
    commands += [["two_modalities.py"]]
    if words.data:
        commands.append(["real_nodules_2d.py", "--data", words.data])
        commands.append(["real_nodules_3d.py", "--data", words.data])
        commands.append(["nodule_ratings.py", "--data", words.data])
        commands.append(["compare_2d.py", "nodules", "--data", words.data])
        commands.append(["unetr_recipe.py", "nodules", "--data", words.data])
    if words.nnunet:
        commands.append(["versus_nnunet.py", "--nnunet", words.nnunet])
    if words.pancreas:
        commands.append(["compare_2d.py", "pancreas", "--data", words.pancreas])
    failed = [
        c for c in commands if subprocess.run([sys.executable, HERE / c[0], *c[1:]]).returncode
    ]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
