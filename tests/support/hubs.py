"""The Hub, played by a small server on this machine that can refuse, fail, lie and hang up."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Fake:
    """What the server holds, what it is to do wrong next, and what it was asked."""

    contents: dict[str, bytes]
    branches: dict[str, str]  # branch or tag to commit
    plans: dict[str, list] = field(default_factory=dict)  # "GET info" -> faults, used up in turn
    asked: Counter = field(default_factory=Counter)
    tokens: set = field(default_factory=set)
    lies: dict[str, str] = field(default_factory=dict)  # file -> the SHA-256 that is claimed
    snapshots: dict[str, dict[str, bytes]] = field(default_factory=dict)  # commit to its contents
    repository: str = "org/tiny"
    tags: set = field(default_factory=set)  # which of the branches are tags
    models: list = field(default_factory=list)  # what a listing of the organisation names
    listings: dict[str, list[str]] = field(default_factory=dict)  # branches of other repositories
    trouble: float = 0.0  # how often an answer goes wrong at random
    moments: random.Random = field(default_factory=random.Random)
    troubles: Counter = field(default_factory=Counter)

    def of(self, commit: str) -> dict[str, bytes]:
        return self.snapshots.get(commit, self.contents)

    def sha(self, name: str, commit: str) -> str:
        return self.lies.get(name) or hashlib.sha256(self.of(commit)[name]).hexdigest()

    def fault(self, key: str):
        """What is to go wrong with this answer: what is planned, else now and then anything."""
        plan = self.plans.get(key, [])
        if plan:
            return plan.pop(0)
        if self.moments.random() >= self.trouble:
            return None
        faults = ["reset", (503, {}), (429, {"Retry_After": "0"})]
        method, _, name = key.partition(" ")
        if method == "GET" and name not in ("info", "refs"):
            faults += ["half", "flipped"] if is_lfs(name) else ["half"]
        fault = self.moments.choice(faults)
        self.troubles[str(fault)] += 1
        return fault


def is_lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".gguf"))


class Handler(BaseHTTPRequestHandler):
    fake: Fake

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def send(self, status: int, body: bytes = b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def answer(self):
        fake = self.fake
        fake.tokens.add(self.headers.get("Authorization"))
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        name = "refs" if parts[-1] == "refs" else "info"
        if "resolve" in parts:
            name = "/".join(parts[parts.index("resolve") + 2 :])
        elif parts == ["api", "models"]:
            name = "models"
        key = f"{self.command} {name}"
        fake.asked[key] += 1
        fault = fake.fault(key)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif isinstance(fault, tuple):
            status, headers = fault
            self.send(status, **headers)
        elif name == "models":
            self.send_json([{"id": one, "modelId": one} for one in fake.models])
        elif name == "refs" and "/".join(parts[2:4]) in fake.listings:
            names = fake.listings["/".join(parts[2:4])]
            rows = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": COMMIT} for n in names]
            self.send_json({"branches": rows, "tags": [], "converts": []})
        elif parts[0] == "api" and "/".join(parts[2:4]) != fake.repository:
            self.send(404, X_Error_Code="RepoNotFound")
        elif name == "refs":
            rows = [
                {"name": b, "ref": f"refs/heads/{b}", "targetCommit": c}
                for b, c in fake.branches.items()
                if b not in fake.tags
            ]
            self.send_json({"branches": rows, "tags": self.tags(), "converts": []})
        elif name == "info":
            revision = "/".join(parts[5:]) or "main"
            if revision not in fake.branches:
                self.send(404, X_Error_Code="RevisionNotFound")
            else:
                self.send_json(self.info(fake.branches[revision]))
        elif name not in fake.of(parts[parts.index("resolve") + 1]):
            self.send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        else:
            self.send_file(name, parts[parts.index("resolve") + 1], fault)

    def tags(self) -> list[dict]:
        rows = [(name, self.fake.branches[name]) for name in self.fake.tags]
        return [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": c} for t, c in rows]

    def info(self, commit: str) -> dict:
        siblings = []
        for name, body in self.fake.of(commit).items():
            row: dict = {"rfilename": name, "size": len(body), "blobId": "0" * 40}
            if is_lfs(name):
                row["lfs"] = {"size": len(body), "pointerSize": 1}
                row["lfs"]["sha256"] = self.fake.sha(name, commit)
            siblings.append(row)
        name = self.fake.repository
        return {"id": name, "modelId": name, "sha": commit, "siblings": siblings}

    def send_json(self, value: dict):
        self.send(200, json.dumps(value).encode(), Content_Type="application/json")

    def send_file(self, name: str, commit: str, fault):
        body = self.fake.of(commit)[name]
        headers = {
            "ETag": f'"{self.fake.sha(name, commit)}"',
            "X_Repo_Commit": commit,
            "Accept_Ranges": "bytes",
        }
        if asked := self.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.send(206, body[start:], **headers)
        elif fault == "flipped":
            self.send(200, body[:-1] + bytes([body[-1] ^ 1]), **headers)
        elif fault == "half":
            headers["Content_Length"] = str(len(body))
            self.send(200, body[: len(body) // 2], **headers)
        else:
            self.send(200, body, **headers)


@contextmanager
def serve(fake: Fake) -> Iterator[str]:
    """The address of a server that plays `fake`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"fake": fake}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fake_of(folders: dict[str, Path], repository: str = "org/tiny") -> Fake:
    """A repository whose branches hold the files of these folders."""
    snapshots, branches = {}, {}
    for branch, folder in folders.items():
        contents = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        whole = hashlib.sha1(branch.encode())
        for name, body in contents.items():
            whole.update(name.encode() + body)
        snapshots[whole.hexdigest()] = contents
        branches[branch] = whole.hexdigest()
    return Fake({}, branches, snapshots=snapshots, repository=repository)
