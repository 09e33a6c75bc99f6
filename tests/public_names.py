"""Every public name, flat or of a layer, and what its docstring says of its arguments."""

import ast
import inspect
import re
import textwrap

import softjax as sj

NAMES = [name for name in vars(sj)["__all__"] if name[0] != "_"]
LAYERS = {name: getattr(sj, name) for name in NAMES if inspect.ismodule(getattr(sj, name))}


def _public():
    """Functions and classes of softjax by the name under which they are documented; constants have no docstring."""
    found = {f"sj.{name}": getattr(sj, name) for name in NAMES if name not in LAYERS}
    for layer, module in LAYERS.items():
        for name in getattr(module, "__all__", dir(module)):
            thing = getattr(module, name)
            if name[0] != "_" and not any(thing is known for known in found.values()):
                found[f"sj.{layer}.{name}"] = thing
    callables = {name: thing for name, thing in found.items() if inspect.isclass(thing) or inspect.isroutine(thing)}
    return {name: thing for name, thing in callables.items() if thing.__module__.startswith("softjax")}


PUBLIC = _public()


def methods(thing):
    """What a class defines itself, properties and static methods as functions."""
    if inspect.isclass(thing):
        for name, value in vars(thing).items():
            method = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)))
            own = inspect.isfunction(method) and method.__module__.startswith("softjax")
            if own and (name[0] != "_" or name == "__call__"):
                yield name, method


def unlisted(name, thing):
    """Arguments of a function, or of a class and its methods, that stand in no list: `name.method: argument`."""
    described = inspect.getmro(thing) if inspect.isclass(thing) else (thing,)
    told = {argument for one in described for argument in _listed(one) | _attributes(one)}
    yield from (f"{name}: {argument}" for argument in _arguments(thing) if argument not in told)
    for method_name, method in methods(thing):
        told = {argument for one in described for argument in _listed(getattr(one, method_name, None))}
        for argument in _arguments(method):
            if argument not in told:
                yield f"{name}.{method_name}: {argument}"


def _arguments(thing):
    made = vars(thing).get("__init__", thing) if inspect.isclass(thing) else thing
    try:
        parameters = inspect.signature(made).parameters
    except ValueError:  # exceptions
        return []
    elsewhere = getattr(thing.__init__, "__module__", None) == "matplotlib.figure"  # told there
    return [] if elsewhere else [name for name in parameters if name not in ("self", "cls")]


def _listed(thing):
    heads = re.findall(r"^ *\* ((?:`[^`]+`(?:, | and )?)+)", inspect.getdoc(thing) or "", re.MULTILINE)
    return {argument for head in heads for argument in re.findall(r"`([^`]+)`", head)}


def _attributes(thing):
    """Fields of a class with a docstring below."""
    if not inspect.isclass(thing) or not thing.__module__.startswith("softjax"):
        return set()
    (defined,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(defined, ast.ClassDef)
    pairs = zip(defined.body, defined.body[1:], strict=False)
    fields = {field.target: below for field, below in pairs if isinstance(field, ast.AnnAssign)}
    return {target.id for target, below in fields.items() if isinstance(target, ast.Name) and _is_text(below)}


def _is_text(line):
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
