"""Promptable and image-text models: loaded from folders, prompted in the right pixels."""

import json

import numpy as np
import pytest
import torch
from transformers import BertConfig, LlamaConfig, SamImageProcessor, SamProcessor

from seg_lib import foundation
from seg_lib.data.cases import Case
from seg_lib.data.manifests import read_manifest
from seg_lib.data.slices import SliceSet
from seg_lib.errors import InputError
from seg_lib.models import biomedclip, medsam
from seg_lib.saliency import box_of_mask, box_of_saliency, jittered, mask_of_box, saliency
from seg_lib.training import TrainConfig, fit


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return medsam.build_sam(size=64, patch=8, width=16, layers=2, decoder=16).eval()


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    return foundation.clip_twin(size=32).eval()


def chest(with_nodule=True):
    """A slice of 96 pixels with one nodule of 6 x 8 pixels in the left half."""
    rng = np.random.default_rng(0)
    image = rng.integers(20, 60, (96, 96)).astype(np.uint8)
    label = np.zeros((96, 96), np.uint8)
    if with_nodule:
        label[40:46, 20:28] = 1
    image[label > 0] = 200
    return image, label


def slices_of(count):
    image, label = chest()
    cases = [Case(f"c{n}", f"p{n}", None, None, "train") for n in range(count)]
    return SliceSet(np.stack([image[None]] * count), np.stack([label[None]] * count), cases)


def test_a_box_means_the_same_pixels_as_in_transformers(sam):
    """32 pixels become 64: our path against SamProcessor and SamModel."""
    rng = np.random.default_rng(1)
    image = np.kron(rng.integers(0, 255, (4, 4)), np.ones((8, 8))).astype(np.uint8)
    box = [4.0, 6.0, 20.0, 25.0]
    sides = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    processor = SamProcessor(SamImageProcessor(**sides, do_normalize=False))
    inputs = processor(np.stack([image] * 3, 2), input_boxes=[[box]], return_tensors="pt")
    assert inputs["input_boxes"].tolist() == [[[8.0, 12.0, 40.0, 50.0]]]
    pixels, slice_ = inputs["pixel_values"].float(), torch.from_numpy(image)[None, None] / 255
    prompts = {"right": inputs["input_boxes"].float(), "not scaled": torch.tensor([[box]])}
    ours, gaps = medsam.mask_logits(sam, slice_, torch.tensor([[box]])), {}
    for name, prompt in prompts.items():
        raw = sam(pixel_values=pixels, input_boxes=prompt, multimask_output=False).pred_masks
        theirs = torch.nn.functional.interpolate(raw[:, :, 0], (32, 32), mode="bilinear")
        gaps[name] = ((ours - theirs).abs().max() / theirs.std()).item()
    assert gaps["right"] < 0.1  # their pixels are rounded to whole grey values
    assert gaps["not scaled"] > 5 * gaps["right"]


def test_the_prompt_decides(sam):
    image = torch.rand(1, 1, 64, 64)
    two = torch.tensor([[[2, 2, 20, 20], [40, 40, 60, 60]]])
    both = medsam.mask_logits(sam, image, two)
    alone = medsam.mask_logits(sam, image, two[:, 1:])
    assert both.shape == (1, 2, 64, 64) and medsam.mask_logits(sam, image).shape == (1, 1, 64, 64)
    assert torch.allclose(both[:, 1:], alone, atol=1e-5)
    assert not torch.allclose(both[:, :1], alone, atol=1e-3)


def test_sides_of_an_oblong_slice_are_scaled_apart(sam):
    seen = []
    hook = sam.prompt_encoder.register_forward_hook(
        lambda *given: seen.append(given[2]["input_boxes"]), with_kwargs=True
    )
    medsam.mask_logits(sam, torch.rand(1, 1, 32, 128), torch.tensor([[[10, 10, 20, 20]]]))
    hook.remove()
    assert seen[0].tolist() == [[[5.0, 20.0, 10.0, 40.0]]]


def test_one_box_for_each_slice(sam):
    with pytest.raises(InputError, match=r"give \(N, 4\)"):
        medsam.predict_masks(sam, np.zeros((2, 1, 32, 32), np.uint8), np.zeros((1, 4)))


def test_medsam_is_loaded_from_a_folder_as_it_is_published(sam, tmp_path):
    sam.save_pretrained(tmp_path / "safe")
    same = medsam.load_medsam(tmp_path / "safe")
    images = np.random.default_rng(0).integers(0, 255, (3, 1, 32, 32)).astype(np.uint8)
    boxes = np.array([[3, 3, 20, 20]] * 3)
    ours, theirs = (medsam.predict_masks(m, images, boxes) for m in (sam, same))
    assert ours.shape == (3, 32, 32) and np.array_equal(ours, theirs)
    config = (tmp_path / "safe" / "config.json").read_text()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text(config)
    torch.save(sam.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    again = medsam.predict_masks(medsam.load_medsam(tmp_path / "pickled"), images, boxes)
    assert np.array_equal(ours, again)


def test_another_family_or_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no config.json there"):
        medsam.load_medsam(tmp_path)
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="family 'llama'; MedSAM is a 'sam'"):
        medsam.load_medsam(tmp_path)
    with pytest.raises(InputError, match=r"no open_clip_config.json there"):
        biomedclip.load_biomedclip(tmp_path)
    text = {"hf_model_name": "roberta-base", "context_length": 77}
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": text}}
    (tmp_path / biomedclip.CONFIG).write_text(json.dumps(config))
    with pytest.raises(InputError, match="no BERT"):
        biomedclip.load_biomedclip(tmp_path)


def test_a_damaged_folder_says_so(clip, sam, tmp_path):
    clip.save(tmp_path / "clip")
    (tmp_path / "clip" / biomedclip.SAFE).write_bytes(b"nothing")
    with pytest.raises(InputError, match="copy the folder again"):
        biomedclip.load_biomedclip(tmp_path / "clip")
    sam.save_pretrained(tmp_path / "sam")
    (tmp_path / "sam" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="copy the folder again"):
        medsam.load_medsam(tmp_path / "sam")


def test_biomedclip_is_loaded_from_a_folder_as_it_is_published(clip, tmp_path):
    """As safetensors and as the pickle of BiomedCLIP, which also holds the places 0, 1, 2 …"""
    clip.save(tmp_path)
    image, texts = torch.rand(2, 1, 32, 32), ["a nodule in the lung", "never heard words"]
    expected = clip(image, texts)
    assert torch.allclose(biomedclip.load_biomedclip(tmp_path)(image, texts), expected, atol=1e-5)
    weights = clip.state_dict() | {"text.transformer.embeddings.position_ids": torch.arange(64)}
    (tmp_path / biomedclip.SAFE).unlink()
    torch.save(weights, tmp_path / biomedclip.PICKLED)
    assert torch.allclose(biomedclip.load_biomedclip(tmp_path)(image, texts), expected, atol=1e-5)


def test_the_towers_are_those_of_open_clip():
    """The same weights, names and outputs as open_clip builds them for BiomedCLIP."""
    pytest.importorskip("open_clip", reason="open_clip_torch is not installed (a peer, optional)")
    from open_clip.hf_model import HFTextEncoder
    from open_clip.timm_model import TimmModel

    bert = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert |= {"vocab_size": 50, "intermediate_size": 32, "max_position_embeddings": 64}
    vision = {"timm_model_name": "vit_tiny_patch16_224", "image_size": 224}
    sizes = {"embed_dim": 16, "vision_cfg": vision}
    sizes["text_cfg"] = {"bert": bert, "context_length": 64}
    ours = biomedclip.BiomedClip({"model_cfg": sizes}, None).eval()
    image_tower = TimmModel("vit_tiny_patch16_224", 16, pool="", proj="linear").eval()
    text_tower = HFTextEncoder(
        "bert", 16, BertConfig(**bert), "cls_last_hidden_state_pooler", "mlp", pretrained=False
    ).eval()
    ours.visual.load_state_dict(image_tower.state_dict())
    theirs = {k: v for k, v in text_tower.state_dict().items() if ".pooler." not in k}
    ours.text.load_state_dict(theirs)
    image, ids = torch.rand(1, 3, 224, 224), torch.tensor([[2, 7, 9, 3, 0, 0]])
    seen = ours.visual["head"]["proj"](ours.visual["trunk"](image))
    assert torch.allclose(seen, image_tower(image), atol=1e-5)
    ours.tokenizer = lambda texts, **how: {"input_ids": ids, "attention_mask": (ids > 0).long()}
    assert torch.allclose(ours.encode_text(["any"]), text_tower(ids), atol=1e-5)
    assert saliency(ours, np.full((60, 80), 9, np.uint8), "any").shape == (60, 80)  # a ViT too


def test_the_hub_is_asked_for_the_pinned_revision_or_a_folder_is_wanted(monkeypatch, tmp_path):
    asked = []
    fake = lambda manifest, folder: asked.append((manifest["id"], folder))  # noqa: E731
    monkeypatch.setattr(foundation, "fetch", fake)
    assert foundation.weights_folder(tmp_path, "medsam_vit_base") == tmp_path / "medsam_vit_base"
    assert asked == [("medsam_vit_base", tmp_path / "medsam_vit_base")]
    for name, repository in {"medsam_vit_base": "wanglab/", "biomedclip": "microsoft/"}.items():
        access = read_manifest(name)["access"]
        assert access["repo"].startswith(repository) and len(access["revision"]) == 40
    (tmp_path / "biomedclip").mkdir()
    (tmp_path / "biomedclip" / biomedclip.CONFIG).write_text("{}")
    assert foundation.weights_folder(tmp_path, "biomedclip") == tmp_path / "biomedclip"
    assert len(asked) == 1


def test_without_a_hub_one_sentence_names_the_folder(tmp_path):
    with pytest.raises(InputError, match=r"copy it to .*medsam_vit_base\.$"):
        foundation.weights_folder(tmp_path, "medsam_vit_base")


def test_the_box_of_a_map_by_hand():
    found = np.zeros((6, 8), np.float32)
    found[1:3, 2:5] = 0.6
    found[2, 3] = 1.0
    found[5, 7] = 0.9  # stands out too, but hangs together with nothing
    assert box_of_saliency(found).tolist() == [2, 1, 4, 2]
    assert box_of_saliency(found, 0.95).tolist() == [3, 2, 3, 2]
    assert box_of_saliency(np.zeros((6, 8))).tolist() == [0, 0, 7, 5]
    with pytest.raises(InputError, match="share"):
        box_of_saliency(found, 0)


def test_a_box_and_its_mask():
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 2:5] = 1
    assert np.array_equal(mask_of_box(box_of_mask(mask), mask.shape), mask)
    with pytest.raises(InputError, match="empty"):
        box_of_mask(np.zeros((3, 3)))


def test_a_moved_box_stays_near_and_inside():
    rng = np.random.default_rng(0)
    box = np.array([0.0, 2.0, 9.0, 6.0])
    moved = np.array([jittered(box, (8, 12), rng) for _ in range(300)])
    assert (moved >= 0).all() and (moved <= [11, 7, 11, 7]).all()
    assert (np.abs(moved - box) <= [3, 2, 3, 2]).all()  # a fifth of 10 and of 5, and one
    assert (moved[:, :2] <= moved[:, 2:]).all() and moved.std(0).min() > 0.3


def test_saliency_depends_on_the_text_and_leaves_no_trace(clip):
    image, _ = chest()
    image = image[24:56, 8:40]
    nodule, none = foundation.SENTENCES[0]
    found = saliency(clip, image, nodule)
    assert found.shape == (32, 32) and found.min() >= 0 and found.max() == pytest.approx(1)
    assert not np.allclose(found, saliency(clip, image, none), atol=0.05)
    assert all(weight.grad is None for weight in clip.parameters())
    assert not clip.layer._forward_hooks


def test_an_image_goes_to_the_device_of_the_network(clip, monkeypatch, sent):
    resized, resize = [], biomedclip.F.interpolate

    def watched(image, *size, **how):
        resized.append(image)
        return resize(image, *size, **how)

    monkeypatch.setattr(biomedclip.F, "interpolate", watched)
    with torch.no_grad():
        clip.encode_image(torch.rand(1, 1, 64, 64))
    assert resized[0].sent_to == torch.device("cpu")


def test_left_stays_left_in_the_map():
    """Control: a network with one bright spot to find; the mirror image has the mirror map."""

    class Spot(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.AvgPool2d(4)

        def likeness(self, images, texts):
            return self.layer(images).square().mean()[None, None]

    image, _ = chest()
    found, turned = (saliency(Spot(), x, "any") for x in (image, image[:, ::-1].copy()))
    assert np.allclose(found[:, ::-1], turned, atol=1e-4)
    x0, y0, x1, y1 = box_of_saliency(found)
    assert x0 < 24 < x1 < 48 and y0 < 43 < y1


def test_saliency_is_gradient_times_activation():
    """A network in which one known place speaks for the text."""

    class Toy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Identity()

        def likeness(self, images, texts):
            features = self.layer(images[:, :, ::4, ::4] * torch.ones(1, 2, 1, 1))
            return (features[:, 0].mean() - 0.5 * features[:, 1].mean())[None, None]

    image = np.zeros((8, 8), np.uint8)
    image[4, 0] = 255  # the only one of the four places that is not 0
    found = saliency(Toy(), image, "any")
    assert np.unravel_index(found.argmax(), found.shape)[0] >= 4
    assert found[4:, :4].mean() > 5 * found[:4, 4:].mean()


def test_pieces_hold_one_whole_nodule_or_none():
    image, label = chest()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        piece, mask = foundation.draw_piece(image, label, 32, rng)
        assert piece.shape == (32, 32) and mask.sum() == 48 and (piece[mask > 0] == 200).all()
        empty, nothing = foundation.draw_piece(image, label, 32, rng, nodule=False)
        assert not nothing.any() and empty.max() < 60
    assert foundation.draw_piece(image, np.ones_like(label), 32, rng) is None
    cut = foundation.pieces(slices_of(3), 32)
    assert len(cut) == 3 and cut.labels.sum((1, 2, 3)).tolist() == [48] * 3
    with pytest.raises(InputError, match="no slice has a piece"):
        foundation.pieces(slices_of(2), 8)


def test_anything_is_never_a_nodule():
    image, label = chest()
    image[10:20, 60:80] = 250
    rng = np.random.default_rng(0)
    masks = [mask for _ in range(10) for mask in foundation.anything(image, label, rng)]
    assert all(mask.any() and not mask[label > 0].any() for mask in masks)
    assert any(mask[12, 70] and mask.sum() == 200 for mask in masks)


@pytest.mark.parametrize("add", ["with_anything", "with_nodules"])
def test_the_batches_repeat_and_a_prompted_network_learns(sam, tmp_path, add):
    batches = foundation.PieceBatches(slices_of(8), 32, 4, getattr(foundation, add))
    first, second = (next(iter(batches)) for _ in range(2))
    assert torch.equal(first["image"], second["image"]) and torch.equal(
        first["mask"], second["mask"]
    )
    batches.set_epoch(1)
    assert not torch.equal(next(iter(batches))["image"], first["image"])
    torch.manual_seed(0)
    model = medsam.build_sam(width=16, layers=1, decoder=16)
    model.vision_encoder.requires_grad_(False)
    before = [weight.clone() for weight in model.vision_encoder.parameters()]
    config = TrainConfig(epochs=6, learning_rate=1e-2, warmup_epochs=0)
    history = fit(model, foundation.prompted_step, batches, config, tmp_path)
    assert history[-1]["loss"] < history[0]["loss"]
    now = model.vision_encoder.parameters()
    assert all(torch.equal(a, b.cpu()) for a, b in zip(before, now, strict=True))


def test_a_sentence_that_several_pictures_share_belongs_to_all():
    """Two sentences, three pictures, points worked out by hand."""

    class Points(torch.nn.Module):
        def forward(self, images, texts):
            assert texts == ["a", "b"]
            return torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])

    found = foundation.sentence_step(Points(), {"image": None, "text": ["a", "a", "b"]})["loss"]
    to_text = np.log(1 + np.exp(-2))
    a = np.log(2 * np.exp(2) + 1) - 2  # both pictures of "a" have half of it
    b = np.log(2 + np.exp(2)) - 2
    assert float(found) == pytest.approx((to_text + (a + b) / 2) / 2, abs=1e-5)
