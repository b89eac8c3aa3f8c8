"""What several test files share: tiny models, stores, texts, references, and where things lie."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
REPOSITORY = TESTS.parent
