import numpy as np
import torch

from seg_lib.data.augment import slice_augmentation, warp_batch
from seg_lib.data.batches import SliceBatches
from seg_lib.data.cases import Case
from seg_lib.data.slices import SliceSet


def slices(n=10):
    images = np.repeat(np.arange(n, dtype=np.uint8)[:, None, None, None] * 20, 64, 2)
    images = np.repeat(images, 64, 3)
    labels = np.zeros_like(images)
    labels[:, :, 20:30, 20:30] = 1
    return SliceSet(images, labels, [Case(f"c{i}", f"p{i // 2}", "x.png") for i in range(n)])


def test_every_slice_once_in_range_and_type():
    seen = []
    for batch in SliceBatches(slices(), 4, shuffle=True, seed=3):
        assert batch["image"].dtype == torch.float32 and batch["image"].max() <= 1
        assert batch["label"].dtype == torch.int64 and batch["image"].shape[1:] == (1, 64, 64)
        assert len(batch["case"]) == len(batch["image"])
        for image, case in zip(batch["image"], batch["case"], strict=True):
            assert torch.allclose(image[0, 0, 0], torch.tensor(int(case[1:]) * 20 / 255))
        seen += batch["case"]
    assert sorted(seen) == [f"c{i}" for i in range(10)]
    assert len(SliceBatches(slices(), 4)) == 3


def run(epoch, seed=0, **how):
    batches = SliceBatches(slices(), 4, shuffle=True, seed=seed, **how)
    batches.set_epoch(epoch)
    return [(b["image"], b["label"], b["case"]) for b in batches]


def same(one, two):
    return all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and a[2] == b[2]
        for a, b in zip(one, two, strict=True)
    )


def test_an_epoch_is_a_function_of_seed_and_number():
    augment = slice_augmentation()
    assert same(run(2, augment=augment), run(2, augment=augment))
    assert not same(run(2, augment=augment), run(3, augment=augment))
    assert not same(run(2), run(2, seed=1))
    assert same(run(4, warp=warp_batch), run(4, warp=warp_batch))
    assert not same(run(4, warp=warp_batch), run(5, warp=warp_batch))


def test_without_shuffle_the_order_is_kept():
    cases = [c for b in SliceBatches(slices(), 3) for c in b["case"]]
    assert cases == [f"c{i}" for i in range(10)]


def test_subsets_by_split_and_number():
    part = slices().take([3, 1])
    assert [c.case for c in part.cases] == ["c3", "c1"] and part.patients == ["p1", "p0"]
    assert len(slices().subset("test")) == 0 and len(slices().subset("train")) == 10
