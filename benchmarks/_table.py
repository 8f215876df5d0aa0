"""Results as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_ORDER = ("import", "load", "warm-up", "preprocess", "tokenize", "embed", "total", "cold")
_BUSY = 0.05


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells under each other: the first column to the left, all others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def comparison(result: Mapping[str, Any], dtype: str) -> str:
    """One table per precision: both sides, their ratios and the distance to the floor."""
    ours = result["ours"][dtype]
    rows = [["stage", "ref wall s", "cpu s", "peak MB", "our wall s", "cpu s", "peak MB", "wall x", "cpu x", "rss x"]]
    rows[0] += ["floor s", "x floor"]
    for name in _ORDER:
        row = [name, *_measured(result["reference"]["stages"][name]), *_measured(ours["stages"][name])]
        row += [f"{ours['ratios'][name][key]:.2f}" for key in ("wall_ratio", "cpu_ratio", "rss_ratio")]
        floor = ours["floor"].get(name)
        row += [f"{floor['floor_s']:.2f}", f"{floor['distance']:.2f}"] if floor else ["", ""]
        rows.append(row)
    equal = ours["equality"]
    return "\n".join(
        [
            f"ours in {dtype}, reference in float32; medians of {result['rounds']} round(s) of {result['seconds']} s; "
            "total: without import and warm-up, cold: with them",
            columns(rows),
            f"tokens: {equal['token_vectors_differing']} of {equal['token_vectors']} vectors differ; embeddings of "
            f"{equal['embeddings_compared_s']} s in float16: {100 * equal['float16_differing_share']:.2f} % differ, by "
            f"at most {equal['float16_max_difference']:.1e}",
            f"frames of {equal['frames_compared_s']} s on the same tokens in float32: largest difference "
            f"{equal['frames_max_difference']:.1e}, least cosine {equal['frames_least_cosine']:.6f}",
        ]
    )


def nights(result: Mapping[str, Any]) -> str:
    """Nights of this package alone."""
    rows = [["night", "wall s/h", "cpu s/h", "x floor", "load s", "peak MB", "signals MB", "output MB"]]
    rows[0] += ["own tokenize MB", "own embed MB"]
    for night in result["nights"]:
        hours, total = night["seconds"] / 3600, night["stages"]["total"]
        row = [f"{night['dtype']} {hours:.2f} h", f"{total['wall_s'] / hours:.1f}", f"{total['cpu_s'] / hours:.1f}"]
        row += [f"{night['floor']['total']['distance']:.2f}", f"{night['stages']['load']['wall_s']:.2f}"]
        row += [f"{total['peak_mb']:.0f}", f"{night['signals_mb']:.0f}", f"{night['output_mb']:.0f}"]
        row += [f"{night['own_mb'][name]:.0f}" for name in ("tokenize", "embed")]
        rows.append(row)
    return columns(rows)


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """What was run, on what, and what came out."""
    m = result["machine"]
    yield f"weights: {result['weights']}; signals: {result['signals']}; no number here says anything about quality"
    yield (
        f"machine: {m['cpu']}, {m['cores']} cores, {m['threads']} threads, {m['memory_gb']} GB, "
        f"{' '.join(m['instructions'])}, torch {m['torch']}, Python {m['python']}"
    )
    if m["used_by_others"] is not None:
        busy = "; TOO BUSY, do not quote these numbers" if m["used_by_others"] > _BUSY else ""
        yield f"other processes kept {100 * m['used_by_others']:.0f} % of the cores busy meanwhile{busy}"
    for dtype, rates in result["gemm_gflops"].items():
        yield f"GEMM {dtype}: " + ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in rates.items())
    for dtype in result.get("ours", ()):
        yield comparison(result, dtype)
    if "nights" in result:
        yield nights(result)
    if presence := result.get("presence"):
        yield (
            f"embed with {presence['some']} of {presence['all']} modalities, {presence['seconds']} s: "
            f"{presence['wall_ratio']:.2f} x cheaper in wall, {presence['cpu_ratio']:.2f} x in cpu"
        )
    if generated := result.get("generate"):
        yield (
            f"generate {generated['steps']} steps: reference {generated['reference']['wall_s']:.1f} s, ours "
            f"{generated['ours']['wall_s']:.2f} s: {generated['wall_ratio']:.1f} x in wall, "
            f"{generated['cpu_ratio']:.1f} x in cpu; {generated['tokens_differing']} of {generated['tokens']} "
            "tokens differ"
        )


def _measured(stage: Mapping[str, float]) -> list[str]:
    return [f"{stage['wall_s']:.2f}", f"{stage['cpu_s']:.2f}", f"{stage['peak_mb']:.0f}"]
