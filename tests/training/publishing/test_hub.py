"""A bundle goes to the Hub as one commit, with a model card that says what its card says and nothing else."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from models.bundle import read_bundle
from training.errors import TrainingError
from training.publishing.model_card import render_model_card
from training.publishing.push import push

ZOO = Path(__file__).parents[3] / "models" / "zoo"


@pytest.fixture
def commits(monkeypatch, tmp_path):
    """What reaches the Hub: (repository, files by path). The repository's present files are a folder's."""
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.local import LocalFileSystem

    made = []

    class Api:
        def create_repo(self, repository, *, exist_ok, private):
            made.append((repository, exist_ok, private))

        def create_commit(self, repository, operations, *, commit_message, revision):
            files = {operation.path_in_repo: operation.path_or_fileobj for operation in operations}
            made.append((repository, revision, commit_message, files))

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    there = DirFileSystem(str(tmp_path / "hub"), LocalFileSystem())
    monkeypatch.setattr("fsspec.url_to_fs", lambda url: (there, url.removeprefix("hf://")))
    return made


@pytest.mark.parametrize(
    ("url", "revision", "prefix"),
    [
        ("hf://me/generators", None, ""),
        ("hf://models/me/generators", None, ""),
        ("hf://me/generators@dev", "dev", ""),
        ("hf://me/generators@dev/zoo/all", "dev", "zoo/all/"),
    ],
)
def test_bundle_is_one_commit(bundle, commits, url, revision, prefix):
    push(bundle, url)
    created, (repository, branch, message, files) = commits
    assert created == ("me/generators", True, True), "a repository that is created is private"
    assert (repository, branch, message) == ("me/generators", revision, "mlp 1")
    paths = [f"{prefix}mlp/1/{name}" for name in ("generator.onnx", "samples.png", "card.json")]
    assert list(files) == [*paths, f"{prefix}index.json", "README.md"]
    assert files[f"{prefix}mlp/1/generator.onnx"] == (bundle / "generator.onnx").read_bytes()
    card = hashlib.sha256((bundle / "card.json").read_bytes()).hexdigest()
    assert json.loads(files[f"{prefix}index.json"])["bundles"] == [{"name": "mlp", "version": 1, "card_sha256": card}]
    readme = files["README.md"].decode()
    assert f"![Sample images]({prefix}mlp/1/samples.png)" in readme
    assert f"FIGMENT_MODELS={url} make serve" in readme


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionError("the network is down"), "cannot write hf://me/generators: the network is down"),
        (PermissionError("403"), "no rights to write hf://me/generators: check the credentials in the environment"),
    ],
)
def test_refusal_is_one_sentence(bundle, commits, monkeypatch, error, expected):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuse)
    with pytest.raises(TrainingError) as caught:
        push(bundle, "hf://me/generators")
    assert str(caught.value) == f"not published: {expected}"


def test_index_keeps_the_bundles_that_are_there(bundle, commits, make_bundle):
    make_bundle("hub/me/generators", "other", 3)
    push(bundle, "hf://me/generators")
    index = json.loads(commits[-1][3]["index.json"])
    assert [f"{entry['name']}/{entry['version']}" for entry in index["bundles"]] == ["mlp/1", "other/3"]


def test_model_card_of_a_generator_that_ships():
    card = read_bundle(ZOO / "digits" / "3").card
    readme = render_model_card(card, "hf://me/generators", "digits/3/samples.png")
    _, head, body = readme.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["pipeline_tag"] == "unconditional-image-generation"
    assert metadata["license"] == "other"
    assert card.licence in body
    assert card.intended_use in body
    for score in card.scores:
        assert f"| {score.metric} | {score.value:.4g} |" in body
        assert score.judge in body
    assert "| trained on | mnist, 60000 images |" in body
    assert "`noise` float32 [N, 64], `label` int64 [N] and `truncation` float32 [N]" in body
    assert card.sha256 in body


def test_model_card_makes_nothing_up_and_breaks_no_table(bundle):
    card = read_bundle(bundle).card.model_copy(update={"labels": ("a|b", "two\nlines"), "scores": ()})
    readme = render_model_card(card, "hf://me/x", None)
    assert "How good it is" not in readme
    assert "Sample images" not in readme
    assert "| labels | a\\|b, two lines |" in readme
    unknown = render_model_card(card.model_copy(update={"training": None}), "hf://me/x", None)
    assert "| training | unknown |" in unknown
