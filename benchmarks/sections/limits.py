"""How far is softjax from what the machine can do?"""

from sections.parts import Pictures, seconds, table

UNITS = {
    "multiply-adds": "multiply-adds on arrays in the cache",
    "exponentials": "exponentials on arrays in the cache",
    "matrix product": "multiply-adds of a large matrix product",
    "bytes": "bytes read and written, of a copy",
    "normal numbers": "normal numbers, a key for each state",
}


def section(records: list[dict], pictures: Pictures) -> str:
    def of(series: str) -> list[dict]:
        return [record for record in records if record["series"] == series]

    limits, shares, dictionaries, random = map(of, ("limit", "share", "dictionary", "random"))
    parts = ["### How far from the machine's limit is it?"]
    if shares:
        parts += [_answer(shares), _shares(shares), _picture(shares, pictures)]
    if limits:
        header = ["measured limit of this device", "per second"]
        parts.append(table(header, [[UNITS[record["what"]], f"{record['rate']:.3g}"] for record in limits]))
    if dictionaries:
        parts.append(_dictionaries(dictionaries))
    if random:
        parts.append(_random(random))
    return "\n\n".join(parts)


def _answer(shares: list[dict]) -> str:
    said = ", ".join(f"{record['what']} {record['share']:.0%}" for record in shares)
    more = any(record["share"] > 1 for record in shares)
    above = (
        " Above 100% kinds of operations overlap, or run faster there than in a program of their own." if more else ""
    )
    return (
        f"Share of the bound that is reached: {said}. The bound is the time of the operations that can't be avoided at "
        f"this device's measured rates, one kind after the other, as if nothing were ever stored or loaded.{above}"
    )


def _shares(shares: list[dict]) -> str:
    rows = [
        [
            record["what"],
            f"{record['batch']}" + (f" × {record['side']}²" if "side" in record else ""),
            seconds(record["seconds"]),
            seconds(record["bound_s"]),
            ", ".join(f"{kind} {time / record['bound_s']:.0%}" for kind, time in record["parts"].items()),
            f"{record['share']:.0%}",
        ]
        for record in shares
    ]
    return table(["program", "states", "time", "bound", "the bound is made of", "share"], rows)


def _picture(shares: list[dict], pictures: Pictures) -> str:
    with pictures.draw("limits", width=7.0, height=0.5 + 0.35 * len(shares)) as figure:
        axes = figure.add_subplot()
        kinds = [kind for kind in UNITS if any(kind in record["parts"] for record in shares)]
        for place, record in enumerate(shares):
            total = record["seconds"][0]
            left = 0.0
            for kind in kinds:
                part = record["parts"].get(kind, 0.0) / total
                label = kind if place == _first(shares, kind) else None
                axes.barh(place, part, left=left, color=f"C{kinds.index(kind)}", label=label)
                left += part
            axes.barh(place, max(1 - left, 0), left=left, color="0.9", label="beyond the bound" if place == 0 else None)
        axes.set_yticks(range(len(shares)), [record["what"] for record in shares])
        axes.invert_yaxis()
        axes.axvline(1, color="black", linewidth=0.8)
        longest = max(record["bound_s"] / record["seconds"][0] for record in shares)
        axes.set(xlabel="share of the measured time, 1 at the line", xlim=(0, max(1.0, 1.02 * longest)))
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper center", ncols=3, fontsize=8)
    return pictures.link("limits", "What the measured time of each program is made of")


def _first(shares: list[dict], kind: str) -> int:
    return next(place for place, record in enumerate(shares) if kind in record["parts"])


def _dictionaries(dictionaries: list[dict]) -> str:
    rows = [
        [
            f"{record['patterns']:,} patterns of 7 × 7, {record['side']}²",
            seconds(record["seconds"]),
            f"{record['share_of_products']:.0%}",
            f"{record['share']:.0%}",
            f"{record['temporary_bytes'] / 1e6:.0f} MB" if record["temporary_bytes"] else "not known",
            seconds(record["compile_s"]),
        ]
        for record in dictionaries
    ]
    header = ["streamed posterior", "time", "of its products alone", "of a square product", "memory", "compile"]
    return table(header, rows)


def _random(random: list[dict]) -> str:
    ours = random[0]["nanoseconds"]
    best = min((record for record in random if "bits" not in record["what"]), key=lambda record: record["nanoseconds"])
    rows = [[record["what"], record["nanoseconds"], ours / record["nanoseconds"]] for record in random]
    said = (
        f"Random numbers: {ours:.2g} ns a normal number as softjax draws them; the cheapest way is "
        f"{best['what']}, {best['nanoseconds']:.2g} ns. Streams that do not depend on the batch need a key for each "
        "state: `rbg` and `unsafe_rbg` give other numbers for another batch."
    )
    return said + "\n\n" + table(["normal numbers", "ns each", "ratio"], rows)
