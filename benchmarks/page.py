"""Writes `docs/benchmarks.md` and its plots from `benchmarks/results/`: `python benchmarks/page.py`.

Each question has a file of benchmarks, `bench_NAME.py`, which records numbers, and `sections/NAME.py`, which says them
in words, tables and plots. A question that was not measured on a device is left out there.
"""

from importlib import import_module
from pathlib import Path

import results
from sections.parts import Pictures, seconds, table

DOCS = Path(__file__).parents[1] / "docs"
QUESTIONS = ("derivatives", "zone", "peers", "limits", "integrators", "scaling")
INTRODUCTION = """# Benchmarks

Are exact Jacobian-vector products worth it, how does it compare with PyTorch scripts, and how far is softjax from what
the machine can do? `make bench` measures all of it and writes this page. Programs are compiled ahead of time and warmed
up, both sides of every comparison run in turn in one process, and every number is the median over rounds; where a
spread is given, it is the quartiles. A ratio says how many times faster softjax is.
"""


def write(docs: Path = DOCS) -> Path:
    """The whole page; the first heading after the introduction is the first device's."""
    parts = [INTRODUCTION]
    for place in sorted(results.FOLDER.glob("*.json"), key=lambda place: ("core" not in place.stem, place.stem)):
        about, records = results.load(place)
        packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
        parts.append(
            f"## {about['device']}, {about['cores']} cores\n\n{about['precision']} unless said otherwise; "
            f"Python {about['python']}, {packages}."
        )
        pictures = Pictures(docs / "images" / "benchmarks", place.stem)
        for name in QUESTIONS:
            if found := records.get(f"bench_{name}.py"):
                parts.append(import_module(f"sections.{name}").section(found, pictures))
        parts.append(_others(records))
    page = docs / "benchmarks.md"
    page.write_text("\n\n".join(part.strip() for part in parts if part) + "\n")
    return page


def _others(records: dict[str, list[dict]]) -> str:
    """What the other files compare, a line each."""
    rows = [
        [record["what"], _sizes(record), seconds(record["seconds"]), seconds(record["peer_seconds"]), record["speedup"]]
        for name, found in records.items()
        if name.removeprefix("bench_").removesuffix(".py") not in QUESTIONS
        for record in found
        if "speedup" in record
    ]
    if not rows:
        return ""
    said = "Where the other side does less of the work, as matrix products alone do, a ratio of 1 is the limit."
    header = ["what, against the other", "sizes", "softjax", "the other", "ratio"]
    return f"### Everything else\n\n{said}\n\n{table(header, rows)}"


def _sizes(record: dict) -> str:
    known = {"what", "seconds", "peer_seconds", "speedup", "compile_s", "peer_compile_s"}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in record.items() if name not in known)


if __name__ == "__main__":
    print(f"Written: {write()}")
