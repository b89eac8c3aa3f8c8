"""Free memory of the host, and of a control group."""

from __future__ import annotations

from jaxmap.checkpoint.host_memory import free_memory, of_cgroup


def test_free_memory(tmp_path):
    assert 1 << 20 < free_memory() < 1 << 50
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert of_cgroup(tmp_path) == [450]
    (tmp_path / "memory.max").write_text("max\n")
    assert of_cgroup(tmp_path) == []
    assert of_cgroup(tmp_path / "none") == []
