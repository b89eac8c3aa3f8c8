"""An sshd on a free port of this machine, with keys of its own, and an ssh that reaches it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from support.slurm import until

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")

_SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
MaxStartups 100
"""
_CLIENT = """\
Host *
  HostName 127.0.0.1
  Port {port}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking accept-new
  LogLevel ERROR
"""


def is_installed() -> bool:
    return bool(SSHD and shutil.which("ssh") and shutil.which("ssh-keygen"))


class Sshd:
    """One server, which every host name of `ssh` in `folder`/bin leads to."""

    def __init__(self, folder: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "bin").mkdir(parents=True)
        for name in ("host_key", "user_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
            )
        for name, text in (("sshd_config", _SERVER), ("ssh_config", _CLIENT)):
            (folder / name).write_text(text.format(port=self.port, folder=folder))
        ssh = folder / "bin" / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
        ssh.chmod(0o755)
        self.path = f"{folder / 'bin'}:{os.environ['PATH']}"
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where it confines itself
        self._log = folder / "sshd.log"
        self._process = subprocess.Popen(
            [str(SSHD), "-D", "-E", str(self._log), "-f", str(folder / "sshd_config")]
        )
        until(self.answers, 60)

    def answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def sessions(self) -> list[int]:
        """Its processes that serve a connection."""
        import psutil

        children = psutil.Process(self._process.pid).children(recursive=True)
        return [child.pid for child in children if child.name().startswith("sshd")]

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
