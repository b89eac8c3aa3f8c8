"""Kubernetes manifests against published schemas, gcloud's lines against its documented flags."""

from __future__ import annotations

import copy
import functools
import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable

import jsonschema
import pytest
import yaml
from support import REPOSITORY

DATA = REPOSITORY / "tests" / "data"
GKE_PAGE = REPOSITORY / "docs" / "gke.md"
SCHEMA = json.loads((DATA / "kubernetes" / "jobset.schema.json").read_text("utf-8"))
SLICE = ["--image=i", "--accelerator=tpu-v5-lite-podslice"]
CASES = {
    "one host": ["--topology=2x2"],
    "slices of several hosts": ["--topology=4x4", "--slices=4", "--claim=c", "--mount=/m"],
    "three dimensions": ["--topology=2x2x4", "--name=a-b", "--restarts=7", "--chips_per_host=4"],
}


@functools.cache
def manifest(*flags: str) -> dict:
    """What the launcher would give to kubectl."""
    done = subprocess.run(
        [sys.executable, REPOSITORY / "launch" / "gke.py", "--dry_run", *SLICE, *flags,
         "--", "score", "--store=/s", "--texts=t", "--models=m"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, _, text = done.stdout.partition("\n")
    assert first == "kubectl apply -f -"
    return json.loads(text)


def check(found: dict) -> None:
    schema = {"$ref": f"#/$defs/{found['kind']}", "$defs": SCHEMA["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(found)


@pytest.mark.parametrize("case", CASES)
def test_the_jobset_is_what_its_definition_allows(case):
    found = manifest(*CASES[case])
    assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    check(found)
    [replicated] = found["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert job["parallelism"] == job["completions"] >= 1
    assert job["template"]["spec"]["restartPolicy"] in ("Never", "OnFailure")  # of a Job's pods
    # The longest name is that of a pod: of a label's 63 letters five are drawn at random.
    last = f"{found['metadata']['name']}-{replicated['name']}-{replicated['replicas']}"
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", last)
    assert len(f"{last}-{job['completions']}-abcde") <= 63


def container(found: dict) -> dict:
    job = found["spec"]["replicatedJobs"][0]["template"]["spec"]
    return job["template"]["spec"]["containers"][0]


def wrong_field(found: dict) -> None:
    container(found)["comand"] = container(found).pop("command")


def wrong_kind(found: dict) -> None:
    container(found)["command"] = "bash"


def wrong_number(found: dict) -> None:
    found["spec"]["failurePolicy"]["maxRestarts"] = "100"


def missing_name(found: dict) -> None:
    del container(found)["name"]


@pytest.mark.parametrize("spoil", [wrong_field, wrong_kind, wrong_number, missing_name])
def test_the_schema_refuses_what_is_wrong(spoil: Callable[[dict], None]):
    found = copy.deepcopy(manifest("--topology=2x2"))
    spoil(found)
    with pytest.raises(jsonschema.ValidationError):
        check(found)


@pytest.mark.parametrize("name", ["A_b", "a" * 41])
def test_a_name_that_kubernetes_refuses_is_refused_before(name):
    done = subprocess.run(
        [sys.executable, REPOSITORY / "launch" / "gke.py", "--dry_run", *SLICE, "--topology=2x2",
         f"--name={name}", "--", "score", "--store=/s", "--texts=t", "--models=m"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"launch: --name={name}: ")


def test_the_manifests_of_the_page_are_what_kubernetes_allows():
    found = re.findall(r"kubectl apply -f - <<END\n(.*?)^ *END", GKE_PAGE.read_text("utf-8"),
                       re.DOTALL | re.MULTILINE)  # fmt: skip
    manifests = [yaml.safe_load(text) for text in found]
    assert [one["kind"] for one in manifests] == ["PersistentVolumeClaim", "Pod"]
    for one in manifests:
        assert one["apiVersion"] == "v1"
        check(one)


# gcloud ------------------------------------------------------------------------------------------

KNOWN = json.loads((DATA / "gcloud_flags.json").read_text("utf-8"))["flags"]


def used() -> dict[str, set[str]]:
    """gcloud's commands in the pages and of the launcher, with the flags that they are given."""
    texts = [(REPOSITORY / "docs" / f"{page}.md").read_text("utf-8") for page in ("tpu", "gke")]
    dry = subprocess.run(
        [sys.executable, REPOSITORY / "launch" / "tpu_vm.py", "--dry_run", "--name=n", "--zone=z",
         "--project=p", "--", "score", "--store=/s", "--texts=t", "--models=m"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert dry.returncode == 0, dry.stderr
    found: dict[str, set[str]] = {}
    for text in (*texts, dry.stdout):
        text = re.sub(r" *\\\n *", " ", text)
        text = re.sub(r"--command='[^']*'", "--command=C", text)  # for the hosts, not for gcloud
        text = re.sub(r"'--command=[^']*'", "--command=C", text)
        for line in re.findall(r"gcloud ((?:[a-z-]+ )+[^#\n]*)", text):
            words = shlex.split(line)
            named = [command for command in KNOWN if line.startswith(f"{command} ")]
            assert named, f"gcloud {line}: not in the table"
            flags = {word[2:].partition("=")[0] for word in words if word.startswith("--")}
            found.setdefault(named[0], set()).update(flags)
    return found


def test_gcloud_is_given_documented_flags_only():
    assert used() == {command: set(flags) for command, flags in KNOWN.items()}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcloud"), reason="needs gcloud")
@pytest.mark.parametrize("command", KNOWN)
def test_gcloud_documents_the_flags(command):
    done = subprocess.run(
        ["gcloud", *command.split(), "--help"], capture_output=True, text=True, check=True
    )
    text = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    documented = set(re.findall(r"--(?:\[no-\])?([a-z][a-z-]*)", text))
    assert set(KNOWN[command]) <= documented


# kubectl -----------------------------------------------------------------------------------------

_GROUP = {"groupVersion": "jobset.x-k8s.io/v1alpha2", "version": "v1alpha2"}
_JOBSETS = {"name": "jobsets", "singularName": "jobset", "namespaced": True, "kind": "JobSet",
            "verbs": ["create", "get", "patch"]}  # fmt: skip
# What a server with JobSet's controller says of itself.
ANSWERS = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": "jobset.x-k8s.io", "versions": [_GROUP], "preferredVersion": _GROUP}],
    },
    "/apis/jobset.x-k8s.io/v1alpha2": {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "jobset.x-k8s.io/v1alpha2",
        "resources": [_JOBSETS],
    },
}


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer = ANSWERS.get(self.path.partition("?")[0])
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                   "reason": "NotFound"}  # fmt: skip
        text = json.dumps(answer or missing).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")
def test_kubectl_takes_the_manifest(tmp_path):
    (tmp_path / "config").write_text("")  # and not the user's
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = subprocess.run(
            ["kubectl", f"--server=http://127.0.0.1:{server.server_port}",
             f"--cache-dir={tmp_path / 'cache'}", f"--kubeconfig={tmp_path / 'config'}",
             "apply", "--dry-run=client", "--validate=ignore", "-f", "-"],
            input=json.dumps(manifest("--topology=4x4", "--slices=4", "--name=pythia")),
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "jobset.jobset.x-k8s.io/pythia created (dry run)\n"
