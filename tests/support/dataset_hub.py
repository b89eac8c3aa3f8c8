"""Dataset repositories of the Hub, played by a small server on this machine: made, listed, written
by commits, read. Files of safetensors go through Git LFS, as on the Hub, others with the commit."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Dataset:
    """A repository: the files of each commit, the last one being main."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]

    def commit(self, files: dict[str, bytes], message: str = "") -> str:
        name = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[name] = files
        self.messages.append(message)
        return name


@dataclass
class DatasetHub:
    """What the server holds, what it is to answer in place of the truth, and what it was asked."""

    datasets: dict[str, Dataset] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)  # sha256 -> contents, for LFS
    faults: dict[str, list] = field(default_factory=dict)  # kind of request -> statuses, in turn
    before: dict[str, list] = field(default_factory=dict)  # kind of request -> what happens first
    asked: Counter = field(default_factory=Counter)
    address: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)


class Handler(BaseHTTPRequestHandler):
    hub: DatasetHub

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        self.answer(self.body())

    def do_PUT(self):
        self.answer(self.body())

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, status: int, body: bytes = b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: object, status: int = 200):
        self.send(status, json.dumps(value).encode(), Content_Type="application/json")

    def answer(self, body: bytes):
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        kind, repo = _kind(parts)
        if first := self.hub.before.get(kind):
            first.pop(0)()  # without the lock: it may ask this server
        with self.hub.lock:
            self.hub.asked[f"{self.command} {kind}"] += 1
            if fault := self.hub.faults.get(kind):
                self.send(fault.pop(0))
                return
            dataset = self.hub.datasets.get(repo)
            if dataset is None and kind not in ("create", "yaml", "upload"):
                self.send(404, X_Error_Code="RepoNotFound")
                return
            getattr(self, f"on_{kind}")(parts, body, dataset)

    def on_create(self, parts, body, dataset):
        asked = json.loads(body)
        assert asked["type"] == "dataset"
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.datasets:
            self.json({"url": f"{self.hub.address}/datasets/{name}"}, 409)
            return
        made = Dataset(asked.get("visibility") == "private")
        made.commit({".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        self.hub.datasets[name] = made
        self.json({"url": f"{self.hub.address}/datasets/{name}"})

    def on_yaml(self, parts, body, dataset):
        self.json({"errors": [], "warnings": []})

    def on_info(self, parts, body, dataset):
        revision = parts[5] if len(parts) > 5 else "main"
        commit = dataset.head if revision == "main" else revision
        if commit not in dataset.commits:
            self.send(404, X_Error_Code="RevisionNotFound")
            return
        siblings = []
        for name, content in dataset.commits[commit].items():
            row = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
            if name.endswith(".safetensors"):
                sha = hashlib.sha256(content).hexdigest()
                row["lfs"] = {"size": len(content), "pointerSize": 1, "sha256": sha}
            siblings.append(row)
        name = "/".join(parts[2:4])
        self.json({"id": name, "sha": commit, "private": dataset.private, "siblings": siblings})

    def on_preupload(self, parts, body, dataset):
        rows = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(body)["files"]
        ]
        self.json({"files": rows})

    def on_batch(self, parts, body, dataset):
        rows = []
        for one in json.loads(body)["objects"]:
            row = {"oid": one["oid"], "size": one["size"], "authenticated": True}
            if one["oid"] not in self.hub.uploads:
                row["actions"] = {"upload": {"href": f"{self.hub.address}/upload/{one['oid']}"}}
            rows.append(row)
        self.json({"transfer": "basic", "objects": rows})

    def on_upload(self, parts, body, dataset):
        assert hashlib.sha256(body).hexdigest() == parts[1]
        self.hub.uploads[parts[1]] = body
        self.send(200)

    def on_commit(self, parts, body, dataset):
        header, *rows = (json.loads(line) for line in body.splitlines())
        parent = header["value"].get("parentCommit")
        if parent is not None and parent != dataset.head:
            self.send(412)
            return
        files = dict(dataset.files)
        for row in rows:
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert row["key"] == "lfsFile"
                files[value["path"]] = self.hub.uploads[value["oid"]]
        oid = dataset.commit(files, header["value"]["summary"])
        url = f"{self.hub.address}/datasets/{'/'.join(parts[2:4])}/commit/{oid}"
        self.json({"commitUrl": url, "commitOid": oid})

    def on_file(self, parts, body, dataset):
        at = parts.index("resolve")
        commit, name = parts[at + 1], "/".join(parts[at + 2 :])
        content = dataset.commits[commit].get(name)
        if content is None:
            self.send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        sha = hashlib.sha256(content).hexdigest()
        self.send(200, content, ETag=f'"{sha}"', X_Repo_Commit=commit)


def _kind(parts: list[str]) -> tuple[str, str]:
    """What a request is for, and the repository."""
    if parts == ["api", "repos", "create"]:
        return "create", ""
    if parts == ["api", "validate-yaml"]:
        return "yaml", ""
    if parts[0] == "upload":
        return "upload", ""
    if parts[-3:] == ["lfs", "objects", "batch"]:
        return "batch", f"{parts[1]}/{parts[2].removesuffix('.git')}"
    if "resolve" in parts:
        return "file", "/".join(parts[1:3])
    repo = "/".join(parts[2:4])
    return (parts[4] if len(parts) > 4 and parts[4] != "revision" else "info"), repo


@contextmanager
def serve(hub: DatasetHub) -> Iterator[str]:
    """The address of a server that plays `hub`."""
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub.address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
