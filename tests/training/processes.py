"""Several processes, played by one, for what takes its means over all of them."""


def computed_in_parts(monkeypatch, module, compute, parts):
    """Return what each process makes of its part.

    It is computed twice: once for what each process has, once with the means over all.
    """
    local = []
    for part in parts:
        values = []
        monkeypatch.setattr(f"{module}.mean_over_processes", lambda x, v=values: v.append(x) or x)
        compute(part)
        local.append(values)
    means = [sum(values) / len(parts) for values in zip(*local, strict=True)]
    found = []
    for part in parts:
        rest = iter(means)
        monkeypatch.setattr(f"{module}.mean_over_processes", lambda _, rest=rest: next(rest))
        found.append(compute(part))
    return found
