"""Tiny random checkpoints in the formats of their libraries."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from p5mm.encoders.store import FeatureStore

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "fruit", "a", "car", "on", "road"]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def as_bytes(picture, form="PNG", **options):
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def noise(seed, size=(60, 40)):
    grid = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def pictures():
    sizes = [(60, 40), (40, 70), (33, 33), (90, 45), (64, 64)]
    return [as_bytes(noise(seed, size)) for seed, size in enumerate(sizes)]


@pytest.fixture(scope="session")
def texts():
    return ["red fruit", "a car on a road", "a", "fruit on a red car on a road", "unknowable"]


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store")


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8,
                       "head_width": 16},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2,
                     "layers": 2},
    }  # fmt: skip
    torch.manual_seed(1)
    model = open_clip.CLIP(**config)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"size": 32, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    )
    return folder


@pytest.fixture(scope="session")
def timm_folder(tmp_path_factory):
    import timm
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("timm")
    torch.manual_seed(2)
    model = timm.create_model("test_efficientnet", pretrained=False)
    save_for_hf(model, folder, safe_serialization=True)
    return folder


def write_tokenizer(folder, words=WORDS):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(3)
    config = BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2,
                        num_attention_heads=2, intermediate_size=32,
                        max_position_embeddings=20)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory):
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(4)
    config = ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                       intermediate_size=32, image_size=32, patch_size=8)  # fmt: skip
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def hf_clip_folder(tmp_path_factory):
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path_factory.mktemp("hfclip")
    torch.manual_seed(5)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 32}  # fmt: skip
    text = {**small, "vocab_size": len(WORDS), "max_position_embeddings": 20,
            "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    vision = {**small, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def specs(clip_folder, timm_folder, bert_folder, vit_folder, hf_clip_folder):
    """(spec, modality) of every built-in family, on local checkpoints."""
    return {
        "open_clip.image": (f"open_clip:{clip_folder}", "image"),
        "open_clip.text": (f"open_clip:{clip_folder}", "text"),
        "timm": (f"timm:{timm_folder}", "image"),
        "bert": (f"hf:{bert_folder}", "text"),
        "vit": (f"hf:{vit_folder}", "image"),
        "hf_clip.image": (f"hf:{hf_clip_folder}", "image"),
        "hf_clip.text": (f"hf:{hf_clip_folder}", "text"),
        "embedded.image": ("embedded", "image"),
        "embedded.text": ("embedded", "text"),
    }
