"""Memory: that of the machine, or of the container where that has less."""

from p5mm import memory as module
from p5mm.memory import memory


def test_a_container_may_have_less(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", tmp_path / "none")
    whole = memory()
    assert whole > 1 << 28
    for told, expected in {"max\n": whole, "1000000\n": 1_000_000, f"{1 << 60}\n": whole}.items():
        limit = tmp_path / "memory.max"
        limit.write_text(told)
        monkeypatch.setattr(module, "LIMIT", limit)
        assert memory() == expected
