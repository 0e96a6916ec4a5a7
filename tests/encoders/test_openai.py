"""OpenAI's API, played by a server on loopback that fails before it answers. Nothing here reaches a
network.
"""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from m3eval.config import builder, check, compose
from m3eval.encoders.encoder import Request, Wanted, check_able
from m3eval.encoders.openai import requests
from m3eval.errors import UserError
from tests.needs import imported

WIDTH = 6


def vector(ids):
    """What the server gives for token ids: of length 1, different for different ids."""
    found = np.random.default_rng([len(ids), *ids]).normal(size=WIDTH).astype(np.float32)
    return found / np.linalg.norm(found)


@pytest.fixture
def service(monkeypatch):
    """A server; `service.script` holds what it does to the next requests before it answers well."""
    imported("openai")
    tiktoken = imported("tiktoken")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.asked.append((self.path, self.headers["Authorization"], body))
                step = server.script.pop(0) if server.script else "answer"
            if isinstance(step, int):
                self.reply(step, {"error": {"message": f"no: {step}"}})
                return
            rows = [
                {"object": "embedding", "index": i, "embedding": coded(ids)}
                for i, ids in enumerate(body["input"])
            ]
            rows = {
                "answer": rows[::-1],
                "short": rows[:-1],
                "none": [],
                "narrow": [row | {"embedding": "AAAAAA=="} for row in rows],
            }[step]
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            self.reply(
                200, {"object": "list", "data": rows, "model": body["model"], "usage": usage}
            )

        def reply(self, status, content):
            raw = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.send_header("retry-after-ms", "5")
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_):
            pass

    def coded(ids):
        return base64.b64encode(vector(ids).tobytes()).decode()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.lock, server.asked, server.script = threading.Lock(), [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    bytes_only = tiktoken.Encoding(
        "bytes",
        pat_str=r".|\n",
        mergeable_ranks={bytes([i]): i for i in range(256)},
        special_tokens={},
    )
    # The real ones lie on a server.
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: bytes_only)
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def settings(service, *words):
    url = f"http://127.0.0.1:{service.server_port}/v1"
    return [
        "encoder=openai",
        f"encoder.base_url={url}",
        f"encoder.width={WIDTH}",
        "encoder.retries=3",
        *words,
    ]


def load(service, *words):
    setup = check(compose(*settings(service, "runtime.threads=1", *words)))
    return builder(setup.cfg.encoder)(runtime=setup.runtime)


def test_texts_are_cut_and_sent_as_tokens_in_requests_of_several(service):
    encoder = load(service, "encoder.batch=3", "encoder.concurrency=2", "encoder.query_prefix='q '")
    texts = [f"{'x' * i}é" for i in range(8)]
    found = encoder.encode(Request(texts, "query", 7), Wanted(["dense"]))
    cut = [list(f"q {text}".encode()[:7]) for text in texts]
    np.testing.assert_array_equal(found.dense, np.stack([vector(ids) for ids in cut]))
    assert (found.tokens, found.truncated) == (sum(map(len, cut)), 4)
    assert sorted(len(body["input"]) for _, _, body in service.asked) == [2, 3, 3]
    path, key, body = service.asked[0]
    assert (path, key, body["model"]) == (
        "/v1/embeddings",
        "Bearer secret-key",
        "text-embedding-3-large",
    )
    assert "dimensions" not in body and "secret" not in json.dumps(encoder.identity)


def test_an_empty_text_is_sent_as_a_space(service):
    load(service).encode(Request([""], "document", 7), Wanted(["dense"]))
    assert service.asked[0][2]["input"] == [[32]]


@pytest.mark.parametrize("script", [[429, 500, "short", "narrow"], [503, 429, 500], ["none"]])
def test_rate_limits_errors_and_wrong_lengths_are_asked_again(service, script):
    service.script = list(script)
    found = load(service).encode(Request(["ab", "c"], "document", 7), Wanted(["dense"]))
    np.testing.assert_array_equal(found.dense, np.stack([vector([97, 98]), vector([99])]))
    assert len(service.asked) == len(script) + 1


def test_what_does_not_get_better_is_an_error_that_says_what_it_was(service):
    service.script = [429] * 9
    with pytest.raises(UserError, match="no embeddings after 3 retries.*no: 429.*run again"):
        load(service).encode(Request(["a"], "document", 7), Wanted(["dense"]))
    assert len(service.asked) == 4
    service.script = [401]
    with pytest.raises(UserError, match="no: 401"):
        load(service).encode(Request(["a"], "document", 7), Wanted(["dense"]))
    service.script = ["narrow"] * 9
    with pytest.raises(
        UserError,
        match="Asked for 1 vectors of 6 numbers, the service gave 1 of 1 numbers, .*encoder.width",
    ):
        load(service).encode(Request(["a"], "document", 7), Wanted(["dense"]))


def test_fewer_dimensions_are_asked_for(service):
    encoder = load(service, "encoder.dimensions=5")
    service.script = ["answer"] * 3
    with pytest.raises(UserError, match="vectors of 5 numbers"):  # this server does not cut
        encoder.encode(Request(["a"], "document", 7), Wanted(["dense"]))
    assert service.asked[0][2]["dimensions"] == 5 and encoder.width == 5


def test_no_request_has_more_tokens_than_the_api_takes():
    lengths = np.array([8191] * 80 + [1] * 5)
    found = list(requests(lengths, 2048))
    np.testing.assert_array_equal(np.concatenate(found), np.arange(85))
    assert [int(lengths[rows].sum()) for rows in found] == [36 * 8191, 36 * 8191, 8 * 8191 + 5]


def test_what_is_missing_is_said(service, monkeypatch):
    with pytest.raises(UserError, match=r"encoder.batch=5000: the API takes 1 to 2,048"):
        load(service, "encoder.batch=5000")
    with pytest.raises(
        UserError, match=r"benchmark asks for inputs of 8,192 tokens.*max_document_length=8191"
    ):
        check_able(load(service), ["dense"], 8192)

    def out_of_reach(name):
        raise ConnectionError("no route")

    monkeypatch.setattr("tiktoken.get_encoding", out_of_reach)
    with pytest.raises(
        UserError, match=r"cl100k_base: tiktoken cannot give it \(no route\).*TIKTOKEN_CACHE_DIR"
    ):
        load(service)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="export OPENAI_API_KEY"):
        load(service)


COST = ["retriever=[dense]", "runtime.shard_size=20"]


def test_the_cost_is_told_and_agreed_to_before_the_first_call(service, pipeline, capsys):
    dear = settings(service, "encoder.price_per_million=1e6", *COST)
    with pytest.raises(
        UserError,
        match=r"above encoder.cost_limit=1: agree to it with encoder.confirm_cost=true. Nothing",
    ):
        pipeline("embed", *dear)
    assert service.asked == []
    pipeline("embed", *dear, "encoder.confirm_cost=true", "plan_only=true")
    assert service.asked == []
    assert "tokens at $1e+06 a million (developers.openai.com" in capsys.readouterr().out
    folder = pipeline(*dear, "encoder.confirm_cost=true")
    assert service.asked and (folder / "scores/scores.json").exists()
    for path in folder.rglob("*.json"):
        assert "secret-key" not in path.read_text()


def test_an_interrupted_store_goes_on_with_the_shards_that_are_missing(service, pipeline):
    words = settings(service, "encoder.batch=20", "encoder.concurrency=1", *COST)
    service.script = ["answer", "answer", 400]
    with pytest.raises(UserError, match="no: 400"):
        pipeline("embed", *words)
    before = len(service.asked)
    folder = pipeline("embed", *words)
    assert len(service.asked) - before == 2  # the third shard of 60 documents, and the queries
    assert len(list((folder / "stores/corpus-sw/shards").iterdir())) == 3
