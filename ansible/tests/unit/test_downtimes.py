# SPDX-License-Identifier: BSD-3-Clause
"""python3 -m unittest discover -s ansible/tests/unit"""

import importlib.util
import json
import pathlib
import unittest

path = pathlib.Path(__file__).parents[2] / "plugins/filter/downtimes.py"
spec = importlib.util.spec_from_file_location("downtimes", path)
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)
filters = plugin.FilterModule().filters()


def record(host, ns, result="updated", error=""):
    # Templates make strings of numbers.
    return {"host": host, "result": result, "error": error, "cpus": "2", "threads": "80", "downtime_ns": str(ns)}


class Downtimes(unittest.TestCase):
    def test_fleet(self):
        """400 hosts, as in figure 9 of the paper, the last of them not reached yet."""
        hosts = ["h%d" % i for i in range(400)]
        records = [record(h, 1_000_000 + 10_000 * i) for i, h in enumerate(hosts[:399])]
        report = filters["downtimes"](records, hosts)
        self.assertEqual(report["results"], {"updated": 399, "untouched": 1})
        self.assertEqual(report["downtime_ns"], {"count": 399, "min": 1_000_000, "median": 2_990_000, "max": 4_980_000})
        self.assertEqual(report["distribution"], [{"up_to_us": 1024, "hosts": 3}, {"up_to_us": 2048, "hosts": 102}, {"up_to_us": 4096, "hosts": 205},
                                                  {"up_to_us": 8192, "hosts": 89}])
        self.assertEqual(report["hosts"][0]["downtime_ns"], 1_000_000)
        self.assertEqual(report["hosts"][399], {"host": "h399", "result": "untouched"})
        self.assertEqual(json.loads(json.dumps(report)), report)
        text = filters["downtime_table"](report)
        self.assertIn("399 updated, 1 untouched", text)
        self.assertIn("median   2.990 ms", text)
        self.assertIn("up to   4.096 ms   205 " + 40 * "#", text)
        self.assertLess(text.count("\n"), 20)

    def test_median_of_two(self):
        report = filters["downtimes"]([record("a", 1000), record("b", 4001)], ["a", "b"])
        self.assertEqual(report["downtime_ns"]["median"], 2500)
        self.assertEqual(report["distribution"], [{"up_to_us": 1, "hosts": 1}, {"up_to_us": 8, "hosts": 1}])

    def test_failures(self):
        records = [record("a", 0, "back", "Try: busy\n  task 1"), record("b", 0, "back"), record("c", 0, "lost", "lost: no route")]
        report = filters["downtimes"](records, ["a", "b", "c"])
        self.assertEqual(report["downtime_ns"], {"count": 0})
        self.assertEqual(filters["downtime_table"](report).splitlines(),
                         ["2 back, 1 lost", "", "a (back): Try: busy", "c (lost): lost: no route"])


if __name__ == "__main__":
    unittest.main()
