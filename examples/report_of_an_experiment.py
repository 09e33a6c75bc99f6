"""An experiment from Python, and its page
=======================================

The commands are functions: `softjax patch` is `softjax.experiments.patch.run`. With a folder the result is stored and
resumed; `findings` says in words what came out, `figure` draws it, and the report is one HTML file that needs no other
file and no network.
"""

from pathlib import Path

import softjax as sj
from softjax.experiments import patch

config = patch.Config.quick()
data = patch.run(config, "report_of_an_experiment")
rows = patch.summary(data)
print(patch.findings(data, rows))

text = sj.report.page(data)
Path("report_of_an_experiment.html").write_text(text, encoding="utf-8")
print(f"report_of_an_experiment.html: {len(text.encode()) / 1e6:.1f} MB")

figure = patch.figure(data)
figure.savefig("report_of_an_experiment.png", dpi=100)
