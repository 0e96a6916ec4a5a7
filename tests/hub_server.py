"""A small hub on loopback: what huggingface_hub calls to list and fetch datasets and models.

Repositories are folders, {root}/datasets/{owner}/{name} and {root}/models/{owner}/{name}. A
repository's commit is a hash over its files. The hub can break off a transfer midway, once, and
keeps a log of what was asked.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants

API = re.compile(
    r"/api/(?P<kind>datasets|models)/(?P<id>[^/]+/[^/]+)"
    r"/(?P<what>revision|tree)/(?P<revision>[^/]+)"
)
FILE = re.compile(
    r"/(?P<kind>datasets/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
)


@dataclass
class Hub:
    """What a test sees of the server."""

    root: Path
    cut: set[str] = field(default_factory=set)  # paths whose next transfer ends in the middle
    lost: set[str] = field(default_factory=set)  # names of files that are listed and not there
    refusal: tuple[int, str] | None = None  # status and the hub's code for whatever is asked
    tells_commit: bool = True  # as the hub does; a mirror in front of it may not
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range
    server: ThreadingHTTPServer | None = None

    def start(self) -> str:
        """Serves in the background; returns the endpoint."""
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def stop(self) -> None:
        """From now on connections are refused."""
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def point(self, monkeypatch, cache: Path, endpoint: str | None = None) -> None:
        """Points this process's client at the hub, or an endpoint, with a cache of its own."""
        endpoint = endpoint or self.start()
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def repository(self, kind: str, name: str) -> Path:
        return self.root / kind / name

    def commit(self, kind: str, name: str) -> str:
        folder = self.repository(kind, name)
        digest = hashlib.sha1()
        for path in _files(folder):
            digest.update(f"{path.relative_to(folder)} {_sha256(path)}\n".encode())
        return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        match = API.fullmatch(path) or FILE.fullmatch(path)
        if self.hub.refusal:
            return self.refuse(*self.hub.refusal)
        if match is None:
            return self.refuse(404, "EntryNotFound")
        kind = (match["kind"] or "models").rstrip("/")
        folder = self.hub.repository(kind, match["id"])
        if not folder.is_dir():
            # As the hub does: a stranger is not told what exists.
            return self.refuse(401, "RepoNotFound")
        commit = self.hub.commit(kind, match["id"])
        if match["revision"] not in ("main", commit):
            return self.refuse(404, "RevisionNotFound")
        if "path" in match.groupdict():
            return self.file(folder / match["path"], commit, body)
        entries = [_entry(path, folder) for path in _files(folder)]
        if match["what"] == "tree":
            return self.json(entries)
        siblings = [
            {"rfilename": e["path"], "size": e["size"], "blobId": e["oid"]} | _lfs(e)
            for e in entries
        ]
        return self.json({"id": match["id"], "sha": commit, "siblings": siblings})

    def file(self, path, commit, body):
        if not path.is_file() or path.name in self.hub.lost:
            return self.refuse(404, "EntryNotFound")
        data = path.read_bytes()
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(data) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{_sha256(path)}"')
        if self.hub.tells_commit:
            self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if body:
            end = len(data)
            if path.name in self.hub.cut:
                self.hub.cut.discard(path.name)
                end, self.close_connection = len(data) // 2, True
            self.wfile.write(data[first:end])

    def json(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _entry(path, folder):
    """As the hub lists a file; compressed ones and weights are in LFS there, small text is not."""
    size, digest = path.stat().st_size, _sha256(path)
    entry = {
        "type": "file",
        "path": str(path.relative_to(folder)),
        "size": size,
        "oid": digest[:40],
    }
    large = path.suffix in (".gz", ".parquet", ".zip", ".safetensors", ".pt")
    return entry | ({"lfs": {"oid": digest, "size": size, "pointerSize": 130}} if large else {})


def _lfs(entry):
    return (
        {"lfs": {"sha256": entry["lfs"]["oid"], "size": entry["size"], "pointerSize": 130}}
        if "lfs" in entry
        else {}
    )
