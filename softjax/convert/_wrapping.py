"""What training scripts put around the tensors of a network: prefixes of names, and dicts of state dicts.

Only names are looked at here. A prefix or a key that was not given is taken where one alone leads to a known network.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from softjax.convert._parameters import CheckpointError, short

_WRAPPERS = re.compile(r"(?:(?:module|_orig_mod|ema|model|net)\.)*")
"""DataParallel, torch.compile, and what scripts call the network or its average; stacked in any order."""
_COUNTERS = {"n_averaged"}
"""What torch's AveragedModel puts beside the network."""
_SHOWN = 8


def network_of(names: Collection[str]) -> str | None:
    """Whose tensors these are, "EDM2", "DINOv2" "head" (a linear one alone) or None; prefixes are not looked for."""
    if any(name.startswith("unet.") for name in names):
        return "EDM2"
    if "pos_embed" in names or "cls_token" in names or any(name.endswith("embeddings.cls_token") for name in names):
        return "DINOv2"
    return "head" if set(names) == {"weight", "bias"} else None


def unwrap(names: Iterable[str], prefix: str | None = None) -> tuple[str, dict[str, str]]:
    """The prefix that is taken, and the names below it, each with what is left of it.

    Without `prefix`, one that all names share is taken, if a known network stands below it; where nothing is known,
    all names stay as they are. Raises `CheckpointError` if several would do, or if no name begins with `prefix`.
    """
    names = list(names)
    base = "" if prefix is None else _with_dot(prefix)
    below = {name: name.removeprefix(base) for name in names if name.startswith(base)}
    if prefix == "":
        below = {name: name for name in names if not _wrapper(name)}
    if not below:
        begun = {_wrapper(name) for name in names} - {""}
        hint = f"there are {_listed(begun)}" if begun else f"the first names are {_listed(names[:4])}"
        raise CheckpointError(f"no tensor is under the prefix {short(prefix)}; {hint}. {_GIVE_PREFIX}")
    groups = _groups(below.values())
    fitting = [group for group in groups if _below(group, groups) not in (None, "head")]
    fitting = fitting or [group for group in groups if _below(group, groups) == "head"]
    if not fitting or prefix == "":
        return base, below
    others = {name for group, members in groups.items() if group not in fitting for name in members} - _COUNTERS
    if len(fitting) > 1 or others:
        found = _listed(base + group for group in fitting)
        beside = f", and beside {'it' if len(fitting) == 1 else 'them'} {_listed(sorted(others)[:4])}" if others else ""
        raise CheckpointError(f"networks are under these prefixes: {found}{beside}. {_GIVE_PREFIX}")
    taken = fitting[0]
    return base + taken, {n: rest.removeprefix(taken) for n, rest in below.items() if _wrapper(rest) == taken}


def choose_state_dict(state_dicts: Mapping[str, Collection[str]], key: str | None, prefix: str | None) -> str:
    """Which of the state dicts of a file to take, by path: the one at or below `key`, or the one with a known network.

    `state_dicts` holds the names of the tensors of each. Raises `CheckpointError`, which lists them, if none or several
    would do.
    """
    if key is not None:
        if key in state_dicts:
            return key
        found = [path for path in state_dicts if path.startswith(f"{key}.")]
        if not found:
            raise CheckpointError(f"it holds no tensors under the key {short(key)}. {_keys(state_dicts)}")
    else:
        found = list(state_dicts)
    ranks = {path: _rank(state_dicts[path], prefix) for path in found}
    best = [path for path in found if ranks[path] == max(ranks.values())]
    if len(best) == 1:
        return best[0]
    raise CheckpointError(f"it holds several state dicts that would do. {_keys(best)}")


_GIVE_PREFIX = "Choose one with prefix=, or --prefix on the command line."


def _rank(names: Collection[str], prefix: str | None) -> int:
    """2 for the tensors of a network, under any prefix, 1 for those of a linear head, 0 for others."""
    base = "" if prefix is None else _with_dot(prefix)
    groups = _groups(name.removeprefix(base) for name in names if name.startswith(base))
    kinds = {_below(group, groups) for group in groups}
    return 2 if kinds & {"EDM2", "DINOv2"} else 1 if "head" in kinds else 0


def _groups(names: Iterable[str]) -> dict[str, list[str]]:
    """The names by what wraps them."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_wrapper(name), []).append(name)
    return groups


def _below(group: str, groups: Mapping[str, Collection[str]]) -> str | None:
    return network_of([name.removeprefix(group) for name in groups[group]])


def _wrapper(name: str) -> str:
    match = _WRAPPERS.match(name)
    return match.group() if match else ""


def _with_dot(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith(".") else f"{prefix}."


def _keys(paths: Iterable[str]) -> str:
    return f"Choose one with key=, or --key on the command line: {_listed(paths)}."


def _listed(values: Iterable[str]) -> str:
    values = sorted(values)
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(map(short, values[:_SHOWN])) + more
