"""What property tests draw, in every process of a test run."""

import importlib.util
import sys

from hypothesis import given, settings
from hypothesis import strategies as st


def drawn() -> list[object]:
    examples: list[object] = []

    @settings(max_examples=300, derandomize=True, database=None)
    @given(st.integers() | st.text())
    def draw(example: object) -> None:
        examples.append(example)

    draw()
    return examples


def test_examples_do_not_depend_on_what_is_imported(tmp_path):
    before = drawn()
    file = tmp_path / "seen_late.py"
    numbers = [7_000_003 + 1_009 * number for number in range(300)]
    file.write_text(f"NUMBERS = {numbers}\nTEXTS = {[f'odd-{number}' for number in numbers]}\n")
    spec = importlib.util.spec_from_file_location("seen_late", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["seen_late"] = module
    try:
        spec.loader.exec_module(module)
        assert drawn() == before
    finally:
        del sys.modules["seen_late"]
