"""What would code of your own cost?"""

from sections.parts import Pictures, seconds, table


def section(records: list[dict], pictures: Pictures) -> str:
    def of(series: str) -> list[dict]:
        return [record for record in records if record.get("series") == series]

    whole, bare, held = of("whole experiment"), of("bare steps"), of("memory")
    parts = ["### How does it compare with PyTorch scripts?"]
    if whole:
        parts += [_answer(whole, bare) + _command(whole, of("command")), _runs(whole, bare)]
        parts += [_picture(whole, bare, pictures), _method(whole + bare, of("agreement"))]
    if held:
        parts.append(_memory(held))
    if pairs := [record for record in records if "what" in record and "speedup" in record]:
        parts.append(_in_jax(pairs))
    return "\n\n".join(parts)


def _answer(whole: list[dict], bare: list[dict]) -> str:
    said = ", ".join(f"{record['speedup']:.0f} times against {_name(record)}" for record in whole)
    steps = ", ".join(f"{record['speedup']:.1f} against {_name(record)}" for record in bare)
    without = f" Steps without probes: {steps}." if steps else ""
    return f"The default patch experiment with exact probes is faster by {said}.{without}"


def _command(whole: list[dict], commands: list[dict]) -> str:
    """Against the expert, of whom the same trajectories are timed with all cores too."""
    exact = [record for record in whole if record["peer"] == "expert, JVP"]
    if not commands or not exact:
        return ""
    ratio = exact[0]["peer_seconds"][0] / commands[0]["seconds"][0]
    return (
        " On one device, that is. `softjax patch` divides its trajectories among the cores: "
        f"{_spread(commands[0]['seconds'])}, {ratio:.0f} times faster than the expert's JVP."
    )


def _name(record: dict) -> str:
    who, _, how = record["peer"].partition(", ")
    return "the literal script" if who == "literal" else f"the expert's {how or 'script'}"


def _runs(whole: list[dict], bare: list[dict]) -> str:
    rows = [
        [
            record["series"],
            f"PyTorch, {record['peer']}",
            _spread(record["seconds"]),
            _spread(record["peer_seconds"]),
            f"{record['speedup']:.3g}",
            f"{record['peer_steps_timed']} of {record['steps']}",
        ]
        for record in whole + bare
    ]
    return table(["run", "against", "softjax", "PyTorch", "ratio", "steps timed"], rows)


def _spread(spread: list[float]) -> str:
    return f"{seconds(spread)} ({seconds(spread[1])} to {seconds(spread[2])})"


def _picture(whole: list[dict], bare: list[dict], pictures: Pictures) -> str:
    rows = [(f"{record['series']}: {record['peer']}", record) for record in whole + bare][::-1]
    with pictures.draw("peers", height=0.8 + 0.42 * len(rows)) as figure:
        axes = figure.subplots()
        for place, (_, record) in enumerate(rows):
            for name, height, color in (("seconds", 0.18, "#c1272d"), ("peer_seconds", -0.18, "0.6")):
                axes.barh(place + height, record[name][0], 0.34, color=color)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set(xscale="log", xlabel="seconds of a whole run (red: softjax, grey: PyTorch)")
        axes.grid(False, axis="y")
    return pictures.link("peers", "Seconds of a whole run: softjax in red, PyTorch in grey, on a logarithmic scale")


def _method(records: list[dict], agreement: list[dict]) -> str:
    one = records[0]
    agree = ""
    if agreement:
        worst = max(agreement[0]["literal_score"], agreement[0]["expert_score"])
        agree = f" Both scripts' scores are softjax's to {worst:.1e} of the largest on states of a whole trajectory."
    return (
        f"{one['batch']} trajectories of 64 x 64 sites, {one['steps']} steps, 10 patterns of 5 x 5; softjax runs all "
        "that `softjax patch` measures, its mode responses exact, lengths beside; PyTorch the steps and the responses "
        "of the paper's 14 directions. PyTorch's time is that of the steps timed, evenly spaced on the grid, times "
        "their share: an extrapolation, whose quartiles are those of the rounds. `benchmarks/torch_patch.py` is the "
        "code: literal is patches gathered, softmax, differences one direction after the other; the expert's is a "
        "convolution with half the dictionary, directions in one batch or `torch.func.jvp` under `vmap`. Eager, "
        f"as many threads as cores.{agree}"
    )


def _memory(held: list[dict]) -> str:
    rows = [[record["what"], f"{record['more_mb']:.0f}", f"{record['peak_mb']:.0f}"] for record in held]
    says = (
        f"Memory, {held[0]['batch']} trajectories: softjax's whole run with all results, one probed step of PyTorch; "
        "in a process of its own each, the peak of the operating system during a second call."
    )
    return says + "\n\n" + table(["what", "MB more during the run", "MB at most, libraries included"], rows)


def _in_jax(pairs: list[dict]) -> str:
    rows = []
    for record in pairs:
        ours, _, peer = record["what"].partition("; ")
        mine, theirs = (_spread(record[name]) for name in ("seconds", "peer_seconds"))
        rows.append([ours, peer, record["batch"], mine, theirs, record["speedup"]])
    return "Against JAX without softjax, and what probes add:\n\n" + table(
        ["softjax", "against", "states", "softjax's time", "the other's", "ratio"], rows
    )
