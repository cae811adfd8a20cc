"""`cloze explain` and `cloze trace`: for a person, as JSON, as a page; mistakes in one line."""

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from clozelm import hub
from clozelm.cli.main import main
from clozelm.errors import ClozeError
from clozelm.types import Reading
from tests import tiny_models
from tests.cli.conftest import Cloze, Mistake

TEXT = "the cats sat on a [MASK], <u>learning</u> is powerful."
WHOLE = "the cats sat on a mat, <u>learning</u> is powerful."
_VOID = {"meta", "br", "img", "hr"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    hub.save(tiny_models.tiny_model("modernbert"), tiny_models.wordpiece(), folder, family="modernbert")
    return folder


class Nesting(HTMLParser):
    """Sees to it that every element is closed where it should be, and nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "img", "u")
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: Path) -> str:
    content = page.read_text(encoding="utf-8")
    nesting = Nesting()
    nesting.feed(content)
    assert nesting.open == []
    for part in content.split("<svg")[1:]:
        ET.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")
    return nesting.text


def test_explained_for_a_person(model: Path, cloze: Cloze) -> None:
    said = cloze("explain", model, TEXT)
    lines = said.splitlines()
    assert lines[0] == TEXT
    for title in (
        "Which words it rests on",
        "Whom to believe",
        "Layer by layer",
        "From one side",
        "Small edits",
        "Where the mask looks",
    ):
        assert sum(line.startswith(title) for line in lines) == 1, title
    assert max(map(len, lines)) <= 80
    assert "sees 4 each side" in said


def test_explained_as_json(model: Path, cloze: Cloze) -> None:
    found = json.loads(cloze("explain", model, TEXT, "--word", "mat", "--json"))
    assert set(found) == {"prompt", "answer", "layers", "words", "sides", "swaps", "attention"}
    assert found["answer"]["target"]["text"] == "mat"
    assert [each["method"] for each in found["words"]["attributions"]] == [
        "occlusion",
        "occlusion KL",
        "integrated gradients",
        "attention rollout",
    ]
    assert found["prompt"]["text"] == TEXT
    spans = [TEXT[start:end] for start, end in found["prompt"]["spans"]]
    assert spans == found["prompt"]["words"]
    assert TEXT[slice(*found["prompt"]["asked_span"])] == "[MASK]"


def test_explained_as_a_page(model: Path, cloze: Cloze, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert f"Page: {path}" in cloze("explain", model, TEXT, "--html", path)
    text = read(path)
    assert "<u>learning</u>" not in path.read_text(encoding="utf-8"), "text is nothing but text"
    assert "Deletion curves" in text
    assert "most faithful here" in text
    assert all(f"Layer {layer}, head 4" in text for layer in range(1, 5))


def test_several_masks_and_pieces(model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from clozelm.cli.main import main

    page = tmp_path / "page.html"
    arguments = ["explain", model, "the [MASK] sat  on a <mask>", "--mask", 2, "--word", "mats", "--html", page]
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert not caught.value.code
    assert said.err.startswith("notice: The expected word is 2 pieces to this model (mat ##s), so as many masks")
    assert "is 2 pieces" in read(page)


def test_nothing_but_a_mask(model: Path, cloze: Cloze, tmp_path: Path) -> None:
    said = cloze("explain", model, "[MASK]", "--html", tmp_path / "page.html")
    assert "There is no word around the mask" in said
    read(tmp_path / "page.html")


def test_a_long_text(model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from clozelm.cli.main import main

    with pytest.raises(SystemExit):
        main(["explain", str(model), "the cat sat on a mat. " * 30 + "[MASK]", "--html", str(tmp_path / "p.html")])
    said = capsys.readouterr()
    assert "notice: The text has 211 pieces and the model reads 62" in said.err
    assert said.out.startswith("… ")
    assert "words that matter less; --json has all" in said.out
    assert "Attention maps" not in read(tmp_path / "p.html"), "too many pieces to draw"


def test_traced_for_a_person(model: Path, cloze: Cloze) -> None:
    said = cloze("trace", model, WHOLE, "--hide", "mat")
    assert all(f" {step}  " in said for step in range(1, 5))
    assert "You chose to hide mat" in said
    assert "The step was taken on a copy: nothing was written." in " ".join(said.split())
    assert max(map(len, said.splitlines())) <= 80


def test_traced_as_json_and_page(model: Path, cloze: Cloze, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    path = tmp_path / "page.html"
    found = json.loads(cloze("trace", model, WHOLE, "--rate", 0.9, "--seed", 0, "--json", "--html", path))
    assert set(found) == {"text", "pieces", "hide", "rate", "seed", "predictions", "update", "notice"}
    assert {one["piece"]["fate"] for one in found["predictions"]} == {"mask", "random", "keep"}
    text = read(path)
    assert "<u>learning</u>" not in path.read_text(encoding="utf-8")
    for said in ("become masks:", "at random:", "predicted all the same", "both sides", "after"):
        assert said in text
    assert {each.name: each.read_bytes() for each in model.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explain", "a cat"), "'a cat' has no [MASK]"),
        (("explain", "[MASK] [MASK]"), "has 2 masks: choose the one to explain with mask=1 to mask=2"),
        (("explain", "a [MASK]", "--mask", 2), "mask=2 does not exist: the text has one mask."),
        (("explain", "a [MASK]", "--word", "zebra"), "word='zebra' cannot be written with this model's vocabulary"),
        (("explain", "a [MASK]", "--top", 0), "--top"),
        (("explain", "a [MASK]", "--html", "/nowhere/at/all.html"), "/nowhere/at/all.html could not be written"),
        (("explain", "a [MASK]", "--device", "abacus"), "device='abacus' is not a device"),
        (("trace", "a [MASK]"), "has a mask already"),
        (("trace", ""), "the text is empty"),
        (("trace", "a cat", "--hide", "dog"), "hide='dog' is no word of the text"),
        (("trace", "a cat", "--learning-rate", 0), "learning_rate=0.0"),
        (("trace", "a cat", "--html", "/nowhere/at/all.html"), "/nowhere/at/all.html could not be written"),
    ],
)
def test_mistakes(arguments: tuple[object, ...], said: str, mistake: Mistake, model: Path) -> None:
    command, *rest = arguments
    assert said in mistake(command, model, *rest)


@pytest.mark.parametrize("command", [("explain", "a [MASK]"), ("trace", "a cat")])
def test_models_that_fill_no_masks(command: tuple[str, str], mistake: Mistake, model: Path, tmp_path: Path) -> None:
    from clozelm.hub.seq2seq import save_seq2seq

    name, text = command
    tokenizer = tiny_models.wordpiece()
    causal = tiny_models.tiny_model("bert")
    causal.reading = Reading("left", ahead=True)
    hub.save(causal, tokenizer, tmp_path / "causal", family="bert")
    assert "predicts the next piece, so it fills no mask" in mistake(name, tmp_path / "causal", text)
    save_seq2seq(tiny_models.tiny_decoder("bert"), tokenizer, tmp_path / "both", family="bert")
    assert "clozelm_encoder_decoder" in mistake(name, tmp_path / "both", text)
    headless = tmp_path / "headless"
    hub.save(tiny_models.tiny_model("bert"), tokenizer, headless, family="bert")
    config = json.loads((headless / "config.json").read_text())
    config["architectures"] = ["ElectraForPreTraining"]
    (headless / "config.json").write_text(json.dumps(config))
    assert "is a discriminator, which fills no masks" in mistake(name, headless, text)
    assert "There is no model directory" in mistake(name, tmp_path / "nowhere", text)


def test_of_two_masks_the_explained_one_is_marked(model: Path, cloze: Cloze) -> None:
    lines = cloze("explain", model, "the [MASK] sat on a [MASK].", "--mask", 2).splitlines()
    assert lines[0] == "the [MASK] sat on a »[MASK]«."
    assert "Explained is mask 2 of 2, »[MASK]« above." in lines
    assert not any("»" in line for line in cloze("explain", model, "the [MASK] sat.").splitlines())


def test_what_is_not_read_is_said_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*_: object, **__: object) -> None:
        raise ClozeError("stopped here")

    config = tiny_models.tiny_model("modernbert")
    hub.save(config, tiny_models.wordpiece(), tmp_path / "tiny", family="modernbert")
    monkeypatch.setattr("clozelm.explain.explain.explain", stops)
    with pytest.raises(SystemExit):
        main(["explain", str(tmp_path / "tiny"), "the cat sat " * 500 + "[MASK]"])
    said = capsys.readouterr().err.splitlines()
    assert "The text has 1501 pieces" in said[0]
    assert "stopped here" in said[1]
