"""Losses: four-voxel answers worked out by hand, equality with MONAI and torch, gradients."""

import math
import subprocess
import sys
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from seg_lib import losses
from seg_lib.errors import InputError
from seg_lib.losses import (
    bce,
    contrastive_alignment_loss,
    cross_entropy,
    dice_ce,
    dice_focal,
    focal_loss,
    multitask_loss,
    soft_dice_loss,
)

SEGMENTATION_LOSSES = {
    "cross_entropy": cross_entropy,
    "soft_dice": soft_dice_loss,
    "soft_dice_squared": partial(soft_dice_loss, squared=True),
    "focal": focal_loss,
    "focal_one_vs_rest": partial(focal_loss, one_vs_rest=True),
    "focal_half": partial(focal_loss, gamma=0.5),
    "dice_ce": dice_ce,
    "dice_focal": dice_focal,
}
every_loss = pytest.mark.parametrize("loss", SEGMENTATION_LOSSES.values(), ids=SEGMENTATION_LOSSES)
channels = pytest.mark.parametrize("n_channels", [1, 2, 4])


def logits_of(probabilities):
    """One case of four voxels in a row whose sigmoid gives these probabilities: (1, 1, 2, 2)."""
    return torch.logit(torch.tensor(probabilities, dtype=torch.float64)).reshape(1, 1, 2, 2)


def label_of(values):
    return torch.tensor(values).reshape(1, 1, 2, 2)


def random_pair(n_channels, spatial=(5, 4, 3), batch=3, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, n_channels, *spatial, generator=generator, dtype=dtype)
    label = torch.randint(0, max(n_channels, 2), (batch, 1, *spatial), generator=generator)
    return logits, label


P, Y = [0.9, 0.6, 0.2, 0.5], [1, 1, 0, 0]  # two voxels of tumour, two of background


def test_bce_by_hand():
    expected = -(math.log(0.9) + math.log(0.6) + math.log(0.8) + math.log(0.5)) / 4
    assert bce(logits_of(P), label_of(Y)).item() == pytest.approx(expected, rel=1e-12)


def test_bce_pos_weight_counts_tumour_voxels_more():
    expected = -(3 * math.log(0.9) + 3 * math.log(0.6) + math.log(0.8) + math.log(0.5)) / 4
    value = bce(logits_of(P), label_of(Y), pos_weight=3.0)
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_the_printed_bce_without_bracket_rewards_false_alarms():
    """Source 000: ``-sum y log p + (1 - y) log(1 - p)``, read as it stands."""

    def printed(p, y):
        return -(y * p.log()).sum() + ((1 - y) * (1 - p).log()).sum()

    y = torch.tensor([0.0])
    calm, alarmed = torch.tensor([0.1]), torch.tensor([0.9])
    assert printed(alarmed, y) < printed(calm, y)  # the wrong way round

    def ours(p):
        return bce(torch.logit(p).reshape(1, 1, 1, 1), y.long().reshape(1, 1, 1, 1))

    assert ours(alarmed) > ours(calm)


def test_soft_dice_by_hand():
    # overlap 0.9 + 0.6 = 1.5; sum p 2.2; sum p^2 0.81 + 0.36 + 0.04 + 0.25 = 1.46; sum g 2
    plain = soft_dice_loss(logits_of(P), label_of(Y), smooth=0.0)
    squared = soft_dice_loss(logits_of(P), label_of(Y), squared=True, smooth=0.0)
    assert plain.item() == pytest.approx(1 - 3 / 4.2, rel=1e-12)
    assert squared.item() == pytest.approx(1 - 3 / 3.46, rel=1e-12)


def test_focal_by_hand():
    right = [0.9, 0.6, 0.8, 0.5]
    expected = -sum((1 - p) ** 2 * math.log(p) for p in right) / 4
    assert focal_loss(logits_of(P), label_of(Y)).item() == pytest.approx(expected, rel=1e-12)


def test_combined_losses_by_hand():
    dice, ce = 1 - (3 + 1e-5) / (4.2 + 1e-5), bce(logits_of(P), label_of(Y)).item()
    focal = focal_loss(logits_of(P), label_of(Y)).item()
    combined = dice_ce(logits_of(P), label_of(Y), lambda_dice=0.6, lambda_ce=0.4)
    assert combined.item() == pytest.approx(0.6 * dice + 0.4 * ce, rel=1e-12)
    combined = dice_focal(logits_of(P), label_of(Y), lambda_dice=0.5, lambda_focal=2.0)
    assert combined.item() == pytest.approx(0.5 * dice + 2.0 * focal, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_all_forms_of_dice_are_equal_on_binary_masks(seed):
    """Source 003, equations 1 to 3: squares, TP/FP/FN and sets."""
    generator = torch.Generator().manual_seed(seed)
    mask, label = torch.randint(0, 2, (2, 1, 1, 6, 6), generator=generator)
    hard = (mask.double() * 2 - 1) * 800  # sigmoid is exactly 0 or 1
    tp = (mask & label).sum().item()
    fp = (mask & (1 - label)).sum().item()
    fn = ((1 - mask) & label).sum().item()
    sets = 1 - 2 * tp / (mask.sum().item() + label.sum().item())
    forms = [
        soft_dice_loss(hard, label, smooth=0.0).item(),
        soft_dice_loss(hard, label, squared=True, smooth=0.0).item(),
        1 - 2 * tp / (2 * tp + fp + fn),
    ]
    assert forms == pytest.approx([sets] * 3, abs=1e-12)


def test_plain_and_squared_differ_on_soft_predictions():
    logits, label = random_pair(1)
    gap = soft_dice_loss(logits, label) - soft_dice_loss(logits, label, squared=True)
    assert abs(gap.item()) > 0.05


@pytest.fixture(scope="module")
def monai_losses():
    import monai.losses

    return monai.losses


def activation(n_channels):
    """MONAI's arguments for what we choose by the number of channels."""
    return {"sigmoid": True} if n_channels == 1 else {"softmax": True, "to_onehot_y": True}


@channels
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_dice_equals_monai(monai_losses, n_channels, squared, background):
    logits, label = random_pair(n_channels, dtype=torch.float64)
    kind = activation(n_channels) | {"include_background": background or n_channels == 1}
    theirs = monai_losses.DiceLoss(squared_pred=squared, **kind)(logits, label.double())
    ours = soft_dice_loss(logits, label, squared, background)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@channels
def test_dice_ce_equals_monai(monai_losses, n_channels):
    logits, label = random_pair(n_channels)
    kind = activation(n_channels) | {"include_background": n_channels == 1}
    theirs = monai_losses.DiceCELoss(lambda_dice=0.7, lambda_ce=0.3, **kind)(logits, label)
    ours = dice_ce(logits, label, lambda_dice=0.7, lambda_ce=0.3)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@channels
@pytest.mark.parametrize("gamma", [0.0, 2.0, 3.5])
@pytest.mark.parametrize("one_vs_rest", [False, True])
def test_focal_equals_monai(monai_losses, n_channels, gamma, one_vs_rest):
    logits, label = random_pair(n_channels)
    many = n_channels > 1
    theirs = monai_losses.FocalLoss(
        gamma=gamma, to_onehot_y=many, use_softmax=many and not one_vs_rest
    )(logits, label)
    ours = focal_loss(logits, label, gamma, one_vs_rest)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@channels
@pytest.mark.parametrize("background", [False, True])
def test_dice_focal_equals_monai(monai_losses, n_channels, background):
    logits, label = random_pair(n_channels)
    kind = activation(n_channels) | {"include_background": background or n_channels == 1}
    theirs = monai_losses.DiceFocalLoss(lambda_dice=0.5, lambda_focal=2.0, **kind)(logits, label)
    ours = dice_focal(logits, label, 0.5, 2.0, include_background=background)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_cross_entropies_equal_torch():
    logits, label = random_pair(4)
    torch.testing.assert_close(
        cross_entropy(logits, label), F.cross_entropy(logits, label.squeeze(1))
    )
    logits, label = random_pair(1)
    expected = F.binary_cross_entropy(logits.sigmoid(), label.float())
    torch.testing.assert_close(bce(logits, label), expected)
    assert cross_entropy(logits, label) == bce(logits, label)


@pytest.mark.parametrize("n_channels", [2, 4])
def test_focal_without_focus_is_the_cross_entropy_over_the_channels(n_channels):
    logits, label = random_pair(n_channels)
    torch.testing.assert_close(
        n_channels * focal_loss(logits, label, gamma=0.0), cross_entropy(logits, label)
    )


def test_two_channels_say_the_same_as_one():
    """softmax(0, x) is sigmoid(x), so the loss does not depend on which is chosen."""
    logits, label = random_pair(1)
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    torch.testing.assert_close(dice_ce(two, label), dice_ce(logits, label))


@every_loss
@channels
def test_good_prediction_has_lower_loss_than_bad(loss, n_channels):
    _, label = random_pair(n_channels)
    truth = label * 2 - 1 if n_channels == 1 else F.one_hot(label[:, 0]).movedim(-1, 1) * 2 - 1
    good, bad = 4.0 * truth, -4.0 * truth
    assert loss(good, label) < loss(torch.zeros_like(good), label) < loss(bad, label)


@every_loss
@channels
@pytest.mark.parametrize("extreme", [-50.0, 50.0])
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_loss_and_gradient_are_finite_at_the_extremes(loss, n_channels, extreme, empty, dtype):
    logits, label = random_pair(n_channels, spatial=(16, 16))
    label = torch.zeros_like(label) if empty else label
    logits = (logits + extreme * torch.linspace(-1, 1, 16)).to(dtype).requires_grad_()
    value = loss(logits, label)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value) and torch.isfinite(logits.grad).all()
    assert empty or logits.grad.abs().sum() > 0  # with an empty label it may round to nothing


@every_loss
def test_autocast_changes_nothing(loss):
    """A whole volume summed in float16 would be inf, and in bfloat16 wrong."""
    logits, label = random_pair(2, spatial=(64, 64, 32), batch=1)
    expected = loss(logits.bfloat16(), label)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits.bfloat16(), label)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(value, loss(logits, label), rtol=0.01, atol=0)


@every_loss
@channels
def test_gradients_are_those_of_the_formula(loss, n_channels):
    logits, label = random_pair(n_channels, spatial=(3, 2), batch=2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, label), logits.requires_grad_())


def test_empty_label_rewards_silence():
    label = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    silent, loud = torch.full((1, 1, 8, 8), -30.0), torch.full((1, 1, 8, 8), 30.0)
    assert soft_dice_loss(silent, label) < 1e-3
    assert soft_dice_loss(loud, label) > 0.999


def test_contrastive_loss_by_hand():
    """Two orthogonal pairs at temperature 1: each row is softmax(1, 0)."""
    image = torch.tensor([[2.0, 0.0], [0.0, 5.0]])  # lengths do not matter
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    value = contrastive_alignment_loss(image, text, temperature=1.0)
    assert value.item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)
    colder = contrastive_alignment_loss(torch.eye(2), torch.eye(2), temperature=0.5)
    assert colder.item() == pytest.approx(0.126928, abs=1e-6)  # log(1 + exp(-2)): softmax(2, 0)
    swapped = contrastive_alignment_loss(image, text.flip(0), temperature=1.0)
    assert swapped.item() == pytest.approx(1 + math.log(1 + math.exp(-1)), rel=1e-6)


def test_contrastive_loss_is_symmetric_and_log_b_for_no_information():
    generator = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, 8, 16, generator=generator)
    torch.testing.assert_close(
        contrastive_alignment_loss(image, text), contrastive_alignment_loss(text, image)
    )
    same = torch.ones(8, 16)
    assert contrastive_alignment_loss(same, same).item() == pytest.approx(math.log(8), rel=1e-6)


def test_contrastive_loss_gradient_and_autocast():
    generator = torch.Generator().manual_seed(1)
    image, text = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    arguments = (image.requires_grad_(), text.requires_grad_())
    assert torch.autograd.gradcheck(contrastive_alignment_loss, arguments)
    expected = contrastive_alignment_loss(image, text).detach().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = contrastive_alignment_loss(image.detach().float(), text.detach().float())
    torch.testing.assert_close(inside, expected, rtol=1e-5, atol=0)


def test_multitask_loss_by_hand():
    # class logits (log 2, 0): p = 2/3, 1/3. Truth 0 and 1: -log(2/3), -log(1/3)
    class_logits = torch.tensor([[math.log(2.0), 0.0], [math.log(2.0), 0.0]])
    truth, segmentation = torch.tensor([0, 1]), torch.tensor(0.5)
    mean = (math.log(1.5) + math.log(3)) / 2
    value = multitask_loss(segmentation, class_logits, truth, weight=0.4)
    assert value.item() == pytest.approx(0.5 + 0.4 * mean, rel=1e-6)
    value = multitask_loss(segmentation, class_logits, truth, 0.4, class_weights=[1.0, 3.0])
    weighted = (math.log(1.5) + 3 * math.log(3)) / 4
    assert value.item() == pytest.approx(0.5 + 0.4 * weighted, rel=1e-6)
    # smoothing 0.2 over two classes: 0.9 of the truth, 0.1 of the other; the same mean here
    first = 0.9 * math.log(1.5) + 0.1 * math.log(3)
    second = 0.9 * math.log(3) + 0.1 * math.log(1.5)
    value = multitask_loss(segmentation, class_logits[:1], truth[:1], 1.0, label_smoothing=0.2)
    assert value.item() == pytest.approx(0.5 + first, rel=1e-6)
    value = multitask_loss(segmentation, class_logits[1:], truth[1:], 1.0, label_smoothing=0.2)
    assert value.item() == pytest.approx(0.5 + second, rel=1e-6)


@pytest.mark.parametrize(
    ("logits", "label", "says"),
    [
        (torch.zeros(2, 2, 4, 4), torch.zeros(2, 4, 4).long(), r"\(2, 4, 4\)"),
        (torch.zeros(2, 2, 4, 4), torch.zeros(2, 1, 4, 5).long(), r"\(2, 1, 4, 5\)"),
        (torch.zeros(2, 2, 4, 4), torch.zeros(2, 1, 4, 4), "float32"),
        (torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 255), "0 to 1.*label == 255"),
        (torch.zeros(2, 2, 4, 4), torch.full((2, 1, 4, 4), 2), "2 output channel"),
        (torch.zeros(2, 3, 4, 4), torch.full((2, 1, 4, 4), -1), "from -1"),
    ],
)
def test_wrong_labels_are_refused_with_advice(logits, label, says):
    with pytest.raises(InputError, match=says):
        dice_ce(logits, label)


def test_wrong_shapes_elsewhere_are_refused():
    with pytest.raises(InputError, match="one output channel, got 3"):
        bce(torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2).long())
    with pytest.raises(InputError, match=r"\(2, 3\) and \(3, 2\)"):
        contrastive_alignment_loss(torch.zeros(2, 3), torch.zeros(3, 2))
    with pytest.raises(InputError, match=r"\(2, 3\).*\(3,\)"):
        multitask_loss(torch.tensor(0.0), torch.zeros(2, 3), torch.zeros(3).long())


@pytest.mark.parametrize("label", [3, -1, -100])
def test_a_class_that_is_none_is_refused(label):
    """Torch leaves a case of class -100 out of the mean without a word."""
    classes = torch.tensor([0, label])
    said = f"values from {min(0, label)} to {max(0, label)}.* know only 0 to 2"
    with pytest.raises(InputError, match=said):
        multitask_loss(torch.tensor(0.0), torch.zeros(2, 3), classes)


def test_module_does_not_import_monai():
    program = "import sys, seg_lib.losses; sys.exit('monai' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_bool_and_small_integer_labels_are_welcome():
    logits, label = random_pair(1)
    expected = losses.dice_ce(logits, label)
    assert dice_ce(logits, label.bool()) == dice_ce(logits, label.to(torch.uint8)) == expected


def test_dice_over_the_batch_is_that_of_one_large_case():
    """Side by side in one image, or one after the other in a batch: the same."""
    logits = torch.randn(4, 2, 3, 5, dtype=torch.float64)
    label = (torch.rand(4, 1, 3, 5) > 0.6).long()
    joined = torch.cat(list(logits), dim=1)[None], torch.cat(list(label), dim=1)[None]
    whole = soft_dice_loss(logits, label, over_batch=True)
    assert torch.allclose(whole, soft_dice_loss(*joined))
    assert not torch.allclose(whole, soft_dice_loss(logits, label))


def test_a_false_alarm_beside_an_empty_label_has_a_gradient_over_the_batch_only():
    label = torch.zeros(2, 1, 8, 8, dtype=torch.long)
    label[0, 0, :4] = 1
    pushed = {}
    for over_batch in (False, True):
        logits = torch.zeros(2, 1, 8, 8, requires_grad=True)
        soft_dice_loss(logits, label, over_batch=over_batch).backward()
        pushed[over_batch] = logits.grad[1].abs().sum()
    assert pushed[True] > 1000 * pushed[False]
