"""Results as tables for people."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .scenarios import ECHOES, SCENARIOS

TITLES = {scenario.name: scenario.title for scenario in (*SCENARIOS, *ECHOES)}
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def spread(values: Sequence[float]) -> float:
    """Half the distance of the extremes, as a share of the median."""
    return (max(values) - min(values)) / 2 / statistics.median(values)


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def ratio(ours: float | None, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}" if ours and theirs else "-"


def rate_tables(title: str, scenarios: Mapping[str, Any], every: Sequence[str]) -> list[str]:
    """`scenarios`: name -> server -> runs, each with `rate` and `p99` in microseconds."""
    servers = [name for name in every if any(name in found for found in scenarios.values())]
    others = [name for name in servers if name != "ours"]
    header = [title, *servers, *(f"ours / {name}" for name in others)]
    speeds, tails = [], []
    for name, found in scenarios.items():
        rates = {server: [run["rate"] for run in found[server]] for server in found}
        middle = {server: statistics.median(values) for server, values in rates.items()}
        cells = [f"{number(middle[s])} ±{spread(rates[s]):.0%}" if s in middle else "-" for s in servers]
        speeds.append([TITLES[name], *cells, *(ratio(middle.get("ours"), middle.get(other)) for other in others)])
        # wrk measures no latency where it pipelines.
        p99 = {server: statistics.median(run["p99"] for run in found[server]) / 1000 for server in found}
        tails.append([TITLES[name], *(number(p99[s]) if p99.get(s) else "-" for s in servers)])
    failed = [
        f"{server}, {TITLES[name]}: {json.dumps(run['errors'])}"
        for name, found in scenarios.items()
        for server in found
        for run in found[server]
        if any(run.get("errors", {}).values())
    ]
    parts = [table(header, speeds), table(["99th percentile, milliseconds", *servers], tails)]
    if failed:
        parts.append("Errors that wrk counted:\n\n" + "\n".join(f"- {line}" for line in failed))
    return parts


def echo_tables(found: Mapping[str, Any], servers: Sequence[str]) -> list[str]:
    parts = []
    if found["echo"]:
        parts += rate_tables("Echoes per second", found["echo"], servers)
        spent = {
            TITLES[name]: {server: statistics.median(run["cpu"] for run in runs) for server, runs in runs_of.items()}
            for name, runs_of in found["echo"].items()
        }
        parts.append(value_table("Processor time per echo, microseconds", spent, servers))
    if found["idle"]:
        parts.append(value_table("Idle WebSockets", found["idle"], servers))
    return parts


def value_table(title: str, found: Mapping[str, Mapping[str, float]], servers: Sequence[str]) -> str:
    """`found`: what was measured -> server -> value."""
    present = [name for name in servers if any(name in values for values in found.values())]
    rows = [
        [label, *(number(values[s]) if s in values else "-" for s in present), ratio_of(values)]
        for label, values in found.items()
    ]
    return table([title, *present, "ours / upstream"], rows)


def ratio_of(values: Mapping[str, float]) -> str:
    return ratio(values.get("ours"), values.get("upstream"))


def markdown(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    parts = [
        f"Measured on {results['date']}, {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, "
        f"Python {machine['python']}: `{results['run_by']}`"
    ]
    if "http" in results:
        load = results["load"]
        parts.append(
            f"Load: {load['tool']}, one thread, {load['seconds']} s per run, {load['rounds']} interleaved rounds; the "
            f"server on core {load['server_core']}, the load on core {load['client_core']}. Shown: the median, and "
            "± half the distance of the extremes."
        )
        parts += rate_tables("Requests per second", results["http"], [*results["servers"]])
    if "websocket" in results:
        parts.append(
            "WebSockets: 16 connections, one message of each on its way, no compression; our own client in one process."
        )
        parts += echo_tables(results["websocket"], [*results["servers"]])
    for key, title in (("idle", "Idle"), ("startup", "Start"), ("command", "Command, seconds")):
        if key in results:
            parts.append(value_table(title, results[key], results["servers"]))
    parts.append("\n".join(f"- {name}: {version}" for name, version in results["servers"].items()))
    return "\n\n".join(parts) + "\n"


def write_into(document: Path, text: str) -> None:
    """Replace what stands between the two marks of a document."""
    old = document.read_text()
    new, count = re.subn(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{text}{END}", old, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{document}: expected one block between {BEGIN} and {END}, found {count}")
    document.write_text(new)
