"""The hub out of order: what its cache has is read, and whatever stops is said with its setting."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub import utils as client

from m3eval.commands import mirror
from m3eval.errors import UserError
from m3eval.hub import Files, download, fetch
from tests.hub_server import Hub

PARTS = [f"data/test-{i:05}-of-00003.parquet" for i in range(3)]
FILES = Files("o/d", None, ["data/test-*.parquet"])
DEAD = "http://127.0.0.1:9"  # nobody answers there


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one dataset in three parts, and an empty cache."""
    for name in PARTS:
        path = tmp_path / "hub/datasets/o/d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    server = Hub(tmp_path / "hub")
    server.point(monkeypatch, tmp_path / "cache")
    yield server
    client.close_session()
    server.stop()


def get(revision=None):
    """What a new process gets: the client keeps connections, and the proxies that it began with."""
    client.close_session()
    folder = download(FILES._replace(revision=revision), "benchmark.root=/mirror")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))


def pinned(hub):
    return hub.commit("datasets", "o/d")


def dead_proxy(hub, monkeypatch, cache):
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, DEAD)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


def socks_proxy(hub, monkeypatch, cache):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")


def no_endpoint(hub, monkeypatch, cache):
    hub.stop()


def no_scheme(hub, monkeypatch, cache):
    hub.point(monkeypatch, cache, "hf-mirror.example")


def offline(hub, monkeypatch, cache):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def gated(hub, monkeypatch, cache):
    hub.refusal = (403, "GatedRepo")


def bad_token(hub, monkeypatch, cache):
    hub.refusal = (401, "Unauthorized")


TROUBLES = [
    (dead_proxy, "cannot be reached .*ALL_PROXY and HTTP_PROXY is set: is that right"),
    (socks_proxy, "cannot be reached .*socks.*ALL_PROXY is set"),
    (no_endpoint, r"cannot be reached .*HF_ENDPOINT=http://127.0.0.1:\d+ is asked"),
    (no_scheme, "HF_ENDPOINT=hf-mirror.example is no address: begin it with https://"),
    (offline, "cannot be reached .*HF_HUB_OFFLINE is set: unset it"),
    (gated, "does not give out .*GatedRepoError.*accept its terms .*HF_TOKEN"),
    (bad_token, "does not give out .*hf auth login"),
]


@pytest.mark.parametrize(("trouble", "message"), TROUBLES)
def test_what_is_lacking_is_said_with_the_setting(hub, monkeypatch, tmp_path, trouble, message):
    trouble(hub, monkeypatch, tmp_path / "cache")
    with pytest.raises(UserError, match=f"(?s){message}") as error:
        get()
    assert "run the same command again" not in str(error.value).lower()


@pytest.mark.parametrize(("trouble", "message"), TROUBLES)
def test_none_of_it_matters_where_all_is_in_the_cache(
    hub, monkeypatch, tmp_path, capsys, trouble, message
):
    assert get("main") == get(pinned(hub)) == PARTS
    commit = pinned(hub)
    hub.requests.clear()
    trouble(hub, monkeypatch, tmp_path / "cache")
    capsys.readouterr()
    assert get(commit) == PARTS
    assert not hub.requests and not capsys.readouterr().out  # a commit does not change
    assert get("main") == PARTS


def test_a_branch_that_cannot_be_asked_for_is_named(hub, monkeypatch, tmp_path, capsys):
    get("main")
    socks_proxy(hub, monkeypatch, tmp_path / "cache")
    capsys.readouterr()
    get("main")
    assert f"o/d: the hub's cache is read, at {pinned(hub)}, because" in capsys.readouterr().out


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("revision", ["main", "commit"])
def test_half_of_the_parts_are_not_all(hub, monkeypatch, tmp_path, listed, revision):
    """Whether or not the client noted what there must be."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the client's attempts
    get("main")
    commit = pinned(hub)
    repository = tmp_path / "cache/datasets--o--d"
    (repository / "snapshots" / commit / PARTS[1]).unlink()
    if not listed:
        shutil.rmtree(repository / "trees", ignore_errors=True)
    asked = commit if revision == "commit" else revision
    hub.stop()
    with pytest.raises(
        UserError, match=r"(?s)not in the hub's cache, .*cannot be reached .*hf download o/d"
    ):
        get(asked)


def test_an_interrupted_download_of_a_commit_goes_on(hub, tmp_path):
    get("main")
    commit = pinned(hub)
    (tmp_path / "cache/datasets--o--d/snapshots" / commit / PARTS[1]).unlink()
    assert get(commit) == PARTS


@pytest.mark.parametrize("command", ["download", "mirror"])
@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ({"lost": {Path(PARTS[1]).name}}, "lists a file .*does not have .*unset HF_ENDPOINT"),
        ({"tells_commit": False}, "does not say which commit .*unset HF_ENDPOINT"),
        ({"refusal": (403, "GatedRepo")}, "does not give out .*accept its terms"),
        ({"refusal": (401, "RepoNotFound")}, "does not give out .*hf auth login"),
        ({"refusal": (403, "")}, "does not give out .*hf auth login"),
    ],
)
def test_an_endpoint_that_is_not_whole(hub, tmp_path, command, trouble, message):
    client.close_session()
    listed = mirror.listing(FILES, tmp_path / "mirror/o/d")
    for name, value in trouble.items():
        setattr(hub, name, value)
    with pytest.raises(UserError, match=f"(?s){message}") as error:
        if command == "download":
            get()
        else:
            mirror.obtain(tmp_path / "mirror/o/d", FILES, listed)
    assert "same command again" not in str(error.value)


def test_a_mirror_says_what_the_hub_said(hub, monkeypatch, tmp_path):
    client.close_session()
    gated(hub, monkeypatch, tmp_path)
    with pytest.raises(UserError, match="does not give out .*GatedRepoError"):
        mirror.listing(FILES, tmp_path / "mirror/o/d")
    no_scheme(hub, monkeypatch, tmp_path)
    with pytest.raises(UserError, match="HF_ENDPOINT=hf-mirror.example is no address"):
        mirror.listing(FILES, tmp_path / "mirror/o/d")


@pytest.mark.parametrize("sums", [True, False])
def test_a_mirror_that_lost_a_file(hub, tmp_path, sums):
    client.close_session()
    target = tmp_path / "mirror/o/d"
    mirror.obtain(target, FILES, mirror.listing(FILES, target))
    assert fetch(FILES, str(tmp_path / "mirror")) == target
    (target / PARTS[1]).unlink()
    if not sums:  # filled by hand
        (target / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match=f"has lost {PARTS[1]}|2 of the 3 parts .*m3eval mirror"):
        fetch(FILES, str(tmp_path / "mirror"))
