"""One page of a result."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from softjax.cli._command import MORE_MEMORY, Command
from softjax.cli._output import list_failed, whole


@dataclass(frozen=True)
class Report(Command):
    """One HTML page of a result: figures, summary, trajectory, configuration, provenance. It needs no network."""

    out: tyro.conf.Positional[Path]
    """The folder that an experiment or a sweep was given with --out, or the data.zarr in it."""
    open: bool = False
    """Show the page in the browser."""

    @property
    def target(self) -> Path:
        """The page, beside the data."""
        out = self.out.expanduser()
        if not (out / "zarr.json").exists():
            return out / "report.html"
        return out.with_name("report.html" if out.name == "data.zarr" else f"{out.stem}.html")

    def carry_out(self) -> int:
        """Writes the page; lists what failed."""
        import webbrowser

        from softjax.report import page
        from softjax.sweeps import status

        text = page(self.out)
        whole(self.target, lambda partial: partial.write_text(text, encoding="utf-8"))
        print(f"Page {self.target} ({len(text.encode()) / 1e6:.2f} MB)")
        if self.open and not webbrowser.open(self.target.resolve().as_uri()):
            print("There is no browser here to show it: open the file yourself.")
        return list_failed(status(self.out).failed)

    def what_remains(self) -> str:
        """The page is written when it is whole."""
        return f"{self.target} is as it was; the same command makes it anew."

    def what_saves_memory(self) -> str:
        """Nothing in the options."""
        return MORE_MEMORY
