# SPDX-License-Identifier: BSD-3-Clause
"""The report of a roll-out: how long each host stood still."""

from __future__ import annotations

from statistics import median

# Templates make strings of them.
NUMBERS = ("cpus", "threads", "downtime_ns")
RESULTS = ("updated", "already", "back", "lost", "failed", "untouched")


def downtimes(records, hosts):
    """Returns the report: a record for each host, and what they have in common.

    A host of a later batch has no record yet.
    """
    by_host = {r["host"]: {k: int(v) if k in NUMBERS else v for k, v in r.items()} for r in records}
    rows = [by_host.get(h, {"host": h, "result": "untouched"}) for h in hosts]
    times = sorted(r["downtime_ns"] for r in rows if r.get("downtime_ns"))
    return {
        "hosts": rows,
        "results": {k: n for k in RESULTS if (n := sum(r["result"] == k for r in rows))},
        "downtime_ns": {
            "count": len(times),
            "min": times[0],
            "median": int(median(times)),
            "max": times[-1],
        } if times else {"count": 0},
        "distribution": distribution(times),
    }


def distribution(times):
    """Counts downtimes by powers of two of microseconds."""
    counts = {}
    for t in times:
        limit = 1
        while limit * 1000 < t:
            limit *= 2
        counts[limit] = counts.get(limit, 0) + 1
    return [{"up_to_us": limit, "hosts": counts[limit]} for limit in sorted(counts)]


def downtime_table(report):
    """Returns a report as text for people."""
    lines = [", ".join("%d %s" % (n, k) for k, n in report["results"].items())]
    d = report["downtime_ns"]
    if d["count"]:
        lines += ["", "downtime of %d updates" % d["count"]]
        lines += ["  %-6s %10s" % (k, milliseconds(d[k])) for k in ("min", "median", "max")]
        most = max(b["hosts"] for b in report["distribution"])
        lines.append("")
        for b in report["distribution"]:
            bar = "#" * max(1, 40 * b["hosts"] // most)
            lines.append("  up to %10s %5d %s" % (milliseconds(1000 * b["up_to_us"]), b["hosts"], bar))
    bad = [r for r in report["hosts"] if r.get("error")]
    if bad:
        lines.append("")
    for r in bad:
        lines.append("%s (%s): %s" % (r["host"], r["result"], r["error"].partition("\n")[0]))
    return "\n".join(lines)


def milliseconds(ns):
    return "%.3f ms" % (ns / 1e6)


class FilterModule:
    """Ansible's name for what has filters."""

    def filters(self):
        return {"downtimes": downtimes, "downtime_table": downtime_table}
