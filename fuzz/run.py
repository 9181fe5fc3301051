"""Fuzz one parser: `python -m fuzz.run TARGET [flags of libFuzzer]`, for example `-max_total_time=600`.

New inputs are kept in fuzz/corpus/TARGET, and inputs that a parser does not survive in fuzz/findings. Such a file
becomes a seed when the parser is fixed, so that the tests of the seeds run it.
"""

import sys
from pathlib import Path

import atheris

FOLDER = Path(__file__).parent
FLAGS = ("-timeout=20", "-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1")
"""seconds and megabytes beyond which an input is a finding; flags on the command line come later and win"""


def main() -> None:
    """Run the target that the first argument names."""
    name, *flags = sys.argv[1:]
    with atheris.instrument_imports(include=["blitznet", "defusedxml", "yaml", "PIL"]):
        from fuzz.targets import TARGETS, run_target
    if name not in TARGETS:
        sys.exit(f"{name}: expected one of {', '.join(TARGETS)}")
    corpus, seeds, findings = (FOLDER / part for part in (f"corpus/{name}", f"seeds/{name}", "findings"))
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    prefix = f"-artifact_prefix={findings}/{name}-"
    arguments = [sys.argv[0], *FLAGS, prefix, *flags, str(corpus), *([str(seeds)] if seeds.is_dir() else [])]
    atheris.Setup(arguments, lambda content: run_target(name, content))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
