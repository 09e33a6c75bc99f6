"""What can be typed after `softjax`: the experiments' folders, each with the options of its configuration, and tools.

Nothing heavy is imported here, so that `--help` is quick.
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from softjax._version import __version__
from softjax.cli._command import Command
from softjax.cli._convert import Convert, FetchWeights
from softjax.cli._experiment import Experiment, Output
from softjax.cli._report import Report
from softjax.cli._sweep import Status, Sweep, from_file
from softjax.cli._train import Train
from softjax.experiments import names

_TOOLS: dict[str, Any] = {
    "status": Status,
    "report": Report,
    "train": Train,
    "convert": Convert,
    "fetch-weights": FetchWeights,
}


def parse(arguments: list[str]) -> Command:
    """The command that was typed; exits with a message where it makes no sense."""
    if arguments == ["--version"]:
        print(f"softjax {__version__}")
        raise SystemExit
    arguments = from_file(arguments)
    quick = "--quick" in arguments  # decides the defaults, hence looked up before parsing
    configs = {name: import_module(f"softjax.experiments.{name}.config").Config for name in names()}
    defaults = {name: config.quick() if quick else config() for name, config in configs.items()}
    choices = [_experiment(name, configs[name], default) for name, default in defaults.items()]
    choices += [Annotated[_sweep(configs, defaults), tyro.conf.subcommand("sweep", prefix_name=False)]]
    choices += [Annotated[tool, tyro.conf.subcommand(name, prefix_name=False)] for name, tool in _TOOLS.items()]
    any_of: Any = Union[tuple(choices)]  # noqa: UP007
    return tyro.cli(
        any_of,
        prog="softjax",
        description="The physics of diffusion models: soft modes, lengths, critical times. Also: --version.",
        args=arguments,
        config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitSubcommandPrefixes),
    )


def _experiment(name: str, config: Any, default: Any) -> Any:
    about = str(config.__doc__).partition("\n")[0]
    command = Experiment(name, default, Output(Path("results", name)))
    return Annotated[Experiment[config], _named(name, command, about)]


def _sweep(configs: dict[str, Any], defaults: dict[str, Any]) -> Any:
    """The sweep of any experiment, whose own options are those of its configuration."""
    of_any: Any = Union[  # noqa: UP007
        tuple(Annotated[configs[name], _named(name, defaults[name], f"Sweep of {name}.")] for name in configs)
    ]
    return Sweep[of_any]


def _named(name: str, default: Any, description: str) -> Any:
    return tyro.conf.subcommand(name, default=default, description=description, prefix_name=False)
