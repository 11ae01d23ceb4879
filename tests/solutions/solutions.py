"""What the teacher keeps: a solution for every exercise.

The notebooks hold the stubs. Tests show that every solution is right and that no stub is.
"""

import random
import re
from collections import defaultdict

import numpy as np
from scipy import ndimage


def largest_lesion_slice(mask):
    return int(mask.sum(axis=(0, 1)).argmax())


def lps_to_ras(point):
    x, y, z = point
    return -x, -y, z


def to_hu(stored, slope, intercept):
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def missing_slices(z_mm):
    z_mm = sorted(z_mm)
    gap = min(b - a for a, b in zip(z_mm, z_mm[1:], strict=False))
    return [
        a + n * gap
        for a, b in zip(z_mm, z_mm[1:], strict=False)
        for n in range(1, round((b - a) / gap))
    ]


def on_both_sides(train, test, patient_of):
    return {patient_of[case] for case in train} & {patient_of[case] for case in test}


def patient_folds(patients, k):
    fold_of = {patient: n % k for n, patient in enumerate(sorted(set(patients)))}
    return [fold_of[patient] for patient in patients]


def window_to_uint8(hu, low, high):
    scaled = (np.clip(hu, low, high) - low) / (high - low)
    return (scaled * 255).astype(np.uint8)


def split_by_patient(case_to_patient, n_test):
    cases_of = defaultdict(list)
    for case, patient in case_to_patient.items():
        cases_of[patient].append(case)
    chosen = set(random.Random(0).sample(sorted(cases_of), n_test))
    train = [case for case, patient in case_to_patient.items() if patient not in chosen]
    test = [case for case, patient in case_to_patient.items() if patient in chosen]
    return train, test


def flip_both(image, mask):
    return image[:, ::-1], mask[:, ::-1]


def bce_gradient(p, y):
    return (p - y) / p.size


def soft_dice(p, y, smooth):
    return 1 - (2 * (p * y).sum() + smooth) / (p.sum() + y.sum() + smooth)


def train_step(model, optimizer, image, label, loss):
    optimizer.zero_grad()
    value = loss(model(image), label)
    value.backward()
    optimizer.step()
    return value.item()


def dice(mask, reference):
    mask, reference = mask.astype(bool), reference.astype(bool)
    total = mask.sum() + reference.sum()
    return 1.0 if total == 0 else 2 * (mask & reference).sum() / total


def recist_error(diameter_mm, reference_mm):
    if reference_mm == 0:
        return 0.0 if diameter_mm == 0 else 1.0
    return min(abs(diameter_mm - reference_mm) / reference_mm, 1.0)


def iou_from_dice(dice):
    return dice / (2 - dice)


def suspects(rows):
    half, ids = 0.0005, [name for name, _, _ in rows]
    found = {name for name in ids if ids.count(name) > 1}
    for name, dice, iou in rows:
        low, high = (d / (2 - d) for d in (dice - half, dice + half))
        if not low - half <= iou <= high + half:
            found.add(name)
    return found


def attention(query, key, value):
    scores = query @ key.T / np.sqrt(query.shape[1])
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) @ value


def to_tokens(image, patch):
    h, w = (n // patch for n in image.shape)
    return image.reshape(h, patch, w, patch).swapaxes(1, 2).reshape(h * w, patch * patch)


def holm(p_values):
    order = np.argsort(p_values)
    corrected, highest = np.empty(len(p_values)), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected.tolist()


def encode(mask):
    flat = np.concatenate([[0], np.asarray(mask).ravel().astype(int), [0]])
    edges = np.flatnonzero(np.diff(flat))
    runs = zip(edges[::2] + 1, edges[1::2] - edges[::2], strict=True)
    return " ".join(f"{start} {length}" for start, length in runs)


def final_score(rows):
    errors = [recist_error(row[size], row[f"{size}_true"]) for row in rows for size in "dv"]
    return (1 - np.mean([row["dice"] for row in rows]) + 2 * np.mean(errors)) / 3


def expected_share(positives, by_chance):
    return positives + (1 - positives) * by_chance


def largest_batch(patch_mb, gpu_gb=24, reserved_gb=1):
    return int(1000 * (gpu_gb - reserved_gb) // patch_mb)


def windows_along(n, window, overlap):
    step = max(1, int(window * (1 - overlap)))
    return 1 + max(0, -(-(n - window) // step))


def large_components(mask, share=0.5):
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return ((sizes >= share * sizes.max()) & (sizes > 0))[pieces].astype(np.uint8)


def memory_gb(shape=(512, 512, 400), classes=2):
    return np.prod(shape) * 4 * (1 + classes + 1) / 1e9


def best_epoch(pseudo_dice):
    averages = pseudo_dice[:1]
    for value in pseudo_dice[1:]:
        averages.append(0.9 * averages[-1] + 0.1 * value)
    return averages.index(max(averages))


def average_gradient(gradients, sizes):
    return sum(size * g for size, g in zip(sizes, gradients, strict=True)) / sum(sizes)


def batches_of(process, n_processes, n_batches):
    return list(range(process, n_batches // n_processes * n_processes, n_processes))


def age_text(age):
    return str(int(age)) if age < 90 else "90 or older"


def mirrored(note):
    other = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    return re.sub(r"\b(left|right|Left|Right)\b", lambda word: other[word[0]], note)


def nested(patients, shares, seed):
    order = random.Random(seed).sample(patients, len(patients))
    return {share: set(order[: round(share * len(order))]) for share in shares}


def listing(row):
    told = {k: v for k, v in row.items() if v is not None and v == v and v != ""}
    return ", ".join(f"{name}: {value}" for name, value in told.items())


def pairs(images, labels):
    images, labels = set(images), set(labels)
    return images & labels, images - labels, labels - images


def to_integers(labels):
    whole = np.rint(labels)
    if np.abs(whole - labels).max() > 1e-4:
        raise ValueError("labels that are not whole numbers")
    return whole.astype(np.uint8)


def nnunet_name(case, channel):
    return f"{case}_{channel:04d}.nii.gz"


def box_around(found, share):
    rows, columns = np.nonzero(found >= share * found.max())
    return columns.min(), rows.min(), columns.max(), rows.max()


SOLUTIONS = {
    "00a": (-1350, 150),
    "00b": largest_lesion_slice,
    "01a": lps_to_ras,
    "01b": to_hu,
    "01c": missing_slices,
    "02a": 1 - 0.2**4,
    "02b": on_both_sides,
    "02c": patient_folds,
    "03a": window_to_uint8,
    "03b": split_by_patient,
    "04a": {"rotate_mask_bilinear", "rotate_image_only", "brighten_300_hu"},
    "04b": flip_both,
    "05a": bce_gradient,
    "05b": soft_dice,
    "05c": 399,
    "06a": 44_300,
    "06b": train_step,
    "07a": attention,
    "07b": 15,
    "08a": (216, 46_656),
    "08b": to_tokens,
    "09a": 12,
    "09b": holm,
    "10a": expected_share,
    "10b": largest_batch,
    "10c": lambda: [(2, 2, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2)],
    "11a": windows_along,
    "11b": large_components,
    "11c": memory_gb,
    "12a": dice,
    "12b": recist_error,
    "12c": iou_from_dice,
    "13a": 10 * 0.802 - 7.199,
    "13b": suspects,
    "13c": {"a", "c", "e"},
    "14a": age_text,
    "14b": listing,
    "14c": 50,
    "15a": 32 * 32 * 128 * 2 * 2,
    "15b": mirrored,
    "15c": {"shuffled notes", "empty notes", "more seeds", "image-only, same steps"},
    "16a": 50,
    "16b": nested,
    "16c": {"a", "d"},
    "17a": 0.196,
    "17b": best_epoch,
    "17c": {"b", "d"},
    "18a": encode,
    "18b": final_score,
    "18c": 4,
    "19a": 10,
    "19b": average_gradient,
    "19c": batches_of,
    "20a": pairs,
    "20b": to_integers,
    "20c": nnunet_name,
    "21a": 0.88,
    "21b": box_around,
    "21c": {"box as mask", "moved box", "no prompt", "box of the cascade"},
}
