"""CLIP and its kin, small and random, as they lie on disk: parity, and search by words."""

import io
import json
import string
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from p5mm.commands.main import main
from p5mm.encoders.build import has_text_tower, make_encoder, text_tower
from p5mm.errors import InputError

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 32}  # fmt: skip
EYE = {**SMALL, "image_size": 32, "patch_size": 8}
PAIRS = ["clip", "siglip", "siglip2", "naflex"]
SIGHTS = ["dinov2", "dinov2_registers", "dinov3", "dinov3_convnext", "convnext", "resnet",
          "siglip_vision"]  # fmt: skip
TEXTS = ["red fruit", "A CAR, on a road!", "a", "fruit on a red car on a road " * 20]


def unit(tensor):
    return torch.nn.functional.normalize(tensor.detach().float(), dim=-1).numpy()


def vectors(encoder, raws):
    return encoder.encode([encoder.load(raw) for raw in raws])


def decoded(raw):
    return Image.open(io.BytesIO(raw)).convert("RGB")


def write(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def make_clip(folder):
    """openai/clip-vit-base-patch32: sizes as plain numbers, BPE as vocab.json and merges.txt."""
    from transformers import CLIPConfig, CLIPModel

    letters = list(string.printable[:94])
    pieces = [*letters, *(letter + "</w>" for letter in letters), "re", "red</w>"]
    words = {word: i for i, word in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    end = words["<|endoftext|>"]
    text = {**SMALL, "vocab_size": len(words), "max_position_embeddings": 20,
            "eos_token_id": end, "bos_token_id": end - 1, "pad_token_id": end}  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=EYE, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    write(
        folder,
        vocab=words,
        tokenizer_config={"tokenizer_class": "CLIPTokenizer", "model_max_length": 20,
                          "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
        preprocessor_config={
            "crop_size": 32, "do_center_crop": True, "do_normalize": True, "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, "size": 35,
            "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28],
        },
    )  # fmt: skip


def make_siglip(folder):
    """google/siglip-base-patch16-224: SentencePiece, padding to 64 without a mask."""
    spm = pytest.importorskip("sentencepiece")
    from transformers import SiglipConfig, SiglipModel

    with (folder / "spiece.model").open("wb") as file:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter([*TEXTS, string.ascii_lowercase] * 5), model_writer=file,
            vocab_size=60, hard_vocab_limit=False, minloglevel=2, pad_id=-1, bos_id=-1,
            eos_id=1, unk_id=2, add_dummy_prefix=False,
        )  # fmt: skip
    text = {**SMALL, "vocab_size": 80, "max_position_embeddings": 64}
    SiglipModel(SiglipConfig(text_config=text, vision_config=EYE)).save_pretrained(folder)
    write(
        folder,
        tokenizer_config={"tokenizer_class": "SiglipTokenizer", "model_max_length": 64,
                          "do_lower_case": True, "model_input_names": ["input_ids"],
                          "pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"},
        preprocessor_config=siglip_pixels(),
    )  # fmt: skip


def siglip_pixels(**more):
    return {"do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 3,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255,
            "image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32},
            **more}  # fmt: skip


def write_gemma(folder, **more):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = ["<pad>", "<eos>", "<bos>", "<unk>", *string.ascii_lowercase, "▁", *string.punctuation]
    tokenizer = Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(" ", "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"eos_token": "<eos>", "bos_token": "<bos>", "pad_token": "<pad>",
             "unk_token": "<unk>", "model_max_length": 64, "padding_side": "right",
             "model_input_names": ["input_ids"], **more}  # fmt: skip
    write(folder, tokenizer_config=names)


def make_siglip2(folder):
    """google/siglip2-base-patch16-224: SigLIP's form with Gemma's tokenizer."""
    from transformers import SiglipConfig, SiglipModel

    text = {**SMALL, "vocab_size": 80, "max_position_embeddings": 64}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=EYE)).half()
    model.save_pretrained(folder)  # in half precision, as some are
    write_gemma(folder, tokenizer_class="PreTrainedTokenizerFast")
    write(folder, preprocessor_config=siglip_pixels(resample=2))


def make_naflex(folder):
    """google/siglip2-base-patch16-naflex: pictures of any aspect as patches with a mask."""
    from transformers import Siglip2Config, Siglip2Model

    text = {**SMALL, "vocab_size": 80, "max_position_embeddings": 64}
    eye = {**SMALL, "patch_size": 8, "num_patches": 16}
    Siglip2Model(Siglip2Config(text_config=text, vision_config=eye)).save_pretrained(folder)
    write_gemma(folder, tokenizer_class="Siglip2Tokenizer", padding_side="left",
                model_input_names=["input_ids", "attention_mask"])  # fmt: skip
    write(folder, preprocessor_config=siglip_pixels(
        image_processor_type="Siglip2ImageProcessor", resample=2, patch_size=8,
        max_num_patches=16, size=None))  # fmt: skip


def make_sight(kind, folder):
    """Picture models without a text tower."""
    import transformers as hf

    eye = {name: size for name, size in EYE.items() if name != "intermediate_size"}
    stages = {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]}
    torch.manual_seed(6)
    model, processor = {
        "dinov2": lambda: (hf.Dinov2Model(hf.Dinov2Config(**eye)), "BitImageProcessor"),
        "dinov2_registers": lambda: (
            hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**eye)), "BitImageProcessor"),
        "dinov3": lambda: (hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**EYE, num_register_tokens=4)),
                           "DINOv3ViTImageProcessor"),
        "dinov3_convnext": lambda: (hf.DINOv3ConvNextModel(hf.DINOv3ConvNextConfig(**stages)),
                                    "DINOv3ViTImageProcessor"),
        "convnext": lambda: (hf.ConvNextModel(hf.ConvNextConfig(**stages)),
                             "ConvNextImageProcessor"),
        "resnet": lambda: (hf.ResNetModel(hf.ResNetConfig(embedding_size=8, **stages)),
                           "ConvNextImageProcessor"),
        "siglip_vision": lambda: (hf.SiglipVisionModel(hf.SiglipVisionConfig(**EYE)),
                                  "SiglipImageProcessor"),
    }[kind]()  # fmt: skip
    model.save_pretrained(folder)
    sizes = {
        "BitImageProcessor": {"size": {"shortest_edge": 36}, "do_center_crop": True,
                              "crop_size": {"height": 32, "width": 32}},
        "ConvNextImageProcessor": {"size": {"shortest_edge": 32}, "crop_pct": 0.875},
    }  # fmt: skip
    pixels = siglip_pixels(image_processor_type=processor, **sizes.get(processor, {}))
    write(folder, preprocessor_config=pixels)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """The folder of a kind of checkpoint, made when it is first wanted."""
    made = {}
    makers = {"clip": make_clip, "siglip": make_siglip, "siglip2": make_siglip2,
              "naflex": make_naflex}  # fmt: skip

    def folder(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            torch.manual_seed(5)
            makers[kind](made[kind]) if kind in makers else make_sight(kind, made[kind])
        return made[kind]

    return folder


def library(folder):
    """Model, image processor and tokenizer by transformers' own calls."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    siglip = model.config.model_type.startswith("siglip")
    processor, tokenizer = (kind.from_pretrained(folder)
                            for kind in (AutoImageProcessor, AutoTokenizer))  # fmt: skip

    def image(raw):
        return model.get_image_features(**processor(decoded(raw), return_tensors="pt"))

    def text(words):
        padding = {"padding": "max_length", "max_length": 64} if siglip else {"max_length": 20}
        return model.get_text_features(
            **tokenizer(words, return_tensors="pt", truncation=True, **padding)
        )

    return (
        lambda raws: unit(torch.cat([image(raw).pooler_output for raw in raws])),
        lambda texts: unit(torch.cat([text(words).pooler_output for words in texts])),
    )


@pytest.mark.parametrize("kind", PAIRS)
def test_both_towers_are_the_librarys(kind, folder_of, pictures):
    image, text = library(folder_of(kind))
    spec = f"hf:{folder_of(kind)}"
    eye, words = make_encoder(spec, "image"), make_encoder(spec, "text")
    np.testing.assert_allclose(vectors(eye, pictures), image(pictures), atol=1e-5)
    np.testing.assert_allclose(vectors(words, TEXTS), text(TEXTS), atol=1e-5)
    assert has_text_tower(spec)
    assert text_tower(spec, eye.fingerprint).fingerprint == words.fingerprint
    with pytest.raises(InputError, match="with fingerprint 123; the text tower"):
        text_tower(spec, "123")


@pytest.mark.parametrize("kind", SIGHTS)
def test_pictures_alone_are_the_librarys(kind, folder_of, pictures):
    from transformers import AutoImageProcessor, AutoModel

    spec = f"hf:{folder_of(kind)}"
    model = AutoModel.from_pretrained(folder_of(kind)).eval()
    processor = AutoImageProcessor.from_pretrained(folder_of(kind))
    outputs = [model(**processor(decoded(raw), return_tensors="pt")) for raw in pictures]
    theirs = unit(torch.cat([output.pooler_output.flatten(1) for output in outputs]))
    np.testing.assert_allclose(vectors(make_encoder(spec), pictures), theirs, atol=1e-5)
    assert not has_text_tower(spec)
    with pytest.raises(InputError, match="takes pictures alone: it has no text tower"):
        make_encoder(spec, "text")


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(width=st.integers(1, 150), height=st.integers(1, 150), kind=st.sampled_from(
    ["clip", "siglip2", "dinov2"]))  # fmt: skip
def test_pixels_of_any_size_are_the_librarys(folder_of, width, height, kind):
    from transformers import AutoImageProcessor

    eye = make_encoder(f"hf:{folder_of(kind)}", "image")
    grid = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(grid).save(file, "PNG")
    if max(width, height) * 36 > 8 * 32 * min(width, height):
        return  # cut before it is scaled
    theirs = AutoImageProcessor.from_pretrained(folder_of(kind))(
        decoded(file.getvalue()), return_tensors="pt"
    )["pixel_values"]
    ours = eye.pixels.stack([eye.load(file.getvalue())], "cpu")
    torch.testing.assert_close(ours.contiguous(), theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["convnext", "naflex", "dinov3"])
@pytest.mark.parametrize("size", [(1, 40_000), (40_000, 1), (6_000, 5_000)])
def test_a_huge_or_long_picture_takes_little_memory(kind, size, folder_of, monkeypatch):
    eye = make_encoder(f"hf:{folder_of(kind)}", "image")
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    areas = []
    given, made = eye.pixels.processor, type(eye.pixels.processor).resize

    def spy(self, image, *args, **kwargs):
        result = made(self, image, *args, **kwargs)
        areas.extend([image.shape[-1] * image.shape[-2], result.shape[-1] * result.shape[-2]])
        return result

    monkeypatch.setattr(type(given), "resize", spy)
    assert np.isfinite(eye.encode([eye.load(file.getvalue())])).all()
    assert max(areas) <= 16_000_000


@pytest.fixture(scope="module")
def open_clip_siglip(tmp_path_factory):
    """timm/ViT-B-16-SigLIP: a timm tower for pictures, a Hugging Face tokenizer in the folder."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("open_clip_siglip")
    config = {
        "embed_dim": 64, "init_logit_bias": -10, "custom_text": True,
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit",
                       "timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {"context_length": 64, "vocab_size": 80, "width": 16, "heads": 2, "layers": 2,
                     "hf_tokenizer_name": str(folder), "no_causal_mask": True, "proj_bias": True,
                     "tokenizer_kwargs": {"clean": "canonicalize"}, "pool_type": "last",
                     "norm_kwargs": {"eps": 1e-6}},
    }  # fmt: skip
    torch.manual_seed(8)
    kinds = {name: config[name] for name in ("embed_dim", "vision_cfg", "text_cfg")}
    model = open_clip.CustomTextCLIP(**kinds, init_logit_bias=-10)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    pixels = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic",
              "resize_mode": "squash", "size": 160}  # fmt: skip
    write(folder, open_clip_config={"model_cfg": config, "preprocess_cfg": pixels})
    write_gemma(folder, tokenizer_class="PreTrainedTokenizerFast")
    return folder


def test_siglip_in_open_clips_form(open_clip_siglip, pictures):
    import open_clip

    name, spec = f"local-dir:{open_clip_siglip}", f"open_clip:{open_clip_siglip}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    model.eval()
    image = unit(model.encode_image(torch.stack([transform(decoded(p)) for p in pictures])))
    text = unit(model.encode_text(open_clip.get_tokenizer(name)(TEXTS)))
    eye, words = make_encoder(spec, "image"), make_encoder(spec, "text")
    np.testing.assert_allclose(vectors(eye, pictures), image, atol=1e-5)
    np.testing.assert_allclose(vectors(words, TEXTS), text, atol=1e-5)
    assert words.space == eye.fingerprint


@pytest.mark.parametrize("kind", ["open_clip", *PAIRS])
def test_a_folder_of_pictures_is_searched_by_words(
    kind, folder_of, clip_folder, pictures, tmp_path, monkeypatch, capsys
):
    """As by the towers of the checkpoint; no item has a text."""
    monkeypatch.setenv("P5MM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "shop").mkdir()
    for number, raw in enumerate(pictures):
        (tmp_path / "shop" / f"p{number}.png").write_bytes(raw)
    spec = f"open_clip:{clip_folder}" if kind == "open_clip" else f"hf:{folder_of(kind)}"
    out = str(tmp_path / "index")
    assert main(["index", str(tmp_path / "shop"), "--out", out, "--image-encoder", spec]) == 0
    assert f"words find pictures by the text tower of {spec}" in capsys.readouterr().err
    assert main(["search", out, "--text", "red fruit", "--json", "--trust", spec]) == 0
    hits = json.loads(capsys.readouterr().out)
    image, text = (vectors(make_encoder(spec, side), raws)
                   for side, raws in (("image", pictures), ("text", ["red fruit"])))  # fmt: skip
    scores = (image @ text[0]).tolist()
    assert [hit["item_id"] for hit in hits] == [f"p{row}" for row in np.argsort(scores)[::-1]]
    assert [hit["score"] for hit in hits] == pytest.approx(sorted(scores)[::-1], abs=1e-5)
    assert main(["search", out, "--text", "red fruit"]) == 2
    assert f"--trust {spec}" in capsys.readouterr().err


def test_both_sides_of_a_hugging_face_clip_make_a_joint_view(folder_of, pictures, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for number, raw in enumerate(pictures):
        (tmp_path / "images" / f"p{number}.png").write_bytes(raw)
    lines = ["item_id,title", *(f"p{row},{text[:20]}" for row, text in enumerate(TEXTS))]
    (tmp_path / "catalog.csv").write_text("\n".join(line.replace(", ", " ") for line in lines))
    spec = f"hf:{folder_of('clip')}"
    assert main(["index", str(tmp_path / "catalog.csv"), "--images", str(tmp_path / "images"),
                 "--out", str(tmp_path / "out"), "--image-encoder", spec,
                 "--text-encoder", spec]) == 0  # fmt: skip
    assert "searched by image, text, joint" in capsys.readouterr().err


def test_a_missing_sentencepiece_says_what_to_type(folder_of, monkeypatch):
    spec = f"hf:{folder_of('siglip')}"
    from transformers import AutoTokenizer

    def without(*args, **kwargs):
        raise ImportError("\nSiglipTokenizer requires the SentencePiece library but it was not")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", without)
    with pytest.raises(InputError, match=r'SentencePiece library.*pip install "p5mm\[siglip\]"'):
        make_encoder(spec, "text")


def test_a_name_in_the_hubs_cache_needs_no_hub(folder_of, pictures, tmp_path, monkeypatch):
    """HF_HUB_OFFLINE, and the files as the hub's client keeps them."""
    import subprocess

    commit = "0" * 40
    kept = tmp_path / "hub" / "models--somebody--clip"
    (kept / "snapshots").mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    (kept / "snapshots" / commit).symlink_to(folder_of("clip"))
    code = (
        "from p5mm.encoders.build import make_encoder\n"
        "for side in ('image', 'text'):\n"
        "    print(make_encoder('hf:somebody/clip', side).fingerprint)\n"
        "make_encoder('hf:nobody/clip')"
    )
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    spec = f"hf:{folder_of('clip')}"
    made = [make_encoder(spec, side).fingerprint for side in ("image", "text")]
    assert done.stdout.split() == made
    assert "'hf:nobody/clip': it is not on this machine, and no model hub is asked" in done.stderr
    assert "'embedded'" in done.stderr
    assert "hf:FOLDER" in done.stderr
