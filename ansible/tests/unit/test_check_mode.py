# SPDX-License-Identifier: BSD-3-Clause
"""python3 -m unittest discover -s ansible/tests/unit"""

import glob
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import yaml

collection = pathlib.Path(__file__).parents[2]


def tasks(found):
    """All tasks of a list, those of blocks included."""
    for task in found:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks(task.get(part, []))


class Questions(unittest.TestCase):
    def test_run_in_check_mode(self):
        """What changes nothing is asked in check mode too, and what changes something is not."""
        n = 0
        for path in glob.glob(str(collection / "roles/*/tasks/*.yml")):
            for task in tasks(yaml.safe_load(pathlib.Path(path).read_text())):
                if "ansible.builtin.command" in task or "ansible.builtin.shell" in task:
                    question = task.get("changed_when") is False
                    n += question
                    self.assertEqual(task.get("check_mode", True), not question, "%s: %s" % (path, task["name"]))
        self.assertGreater(n, 5)


@unittest.skipUnless(shutil.which("ansible-playbook"), "ansible-core is not installed: run `make test-fleet`")
class CheckMode(unittest.TestCase):
    """The playbook in check mode, on this machine as a host, whose package is made up."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.dir)
        (self.dir / "ansible_collections/plugsched").mkdir(parents=True)
        (self.dir / "ansible_collections/plugsched/scheduler").symlink_to(collection)
        self.home = self.dir / "home"
        self.file("package-1", "")
        self.file("package-2", "")

    def file(self, name, text, mode=0o644):
        path = self.dir / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def install(self, version, status):
        """Makes a package the installed and selected one; its program tells a status and what it is asked."""
        self.select("scheduler")
        self.file("home/package.json", json.dumps({"name": "scheduler-x", "version": version, "module": "plugsched_" + version}))
        self.file("home/plugsched", "#!/bin/sh\necho \"$*\" >> '%s/asked'\n[ $1 != status ] || echo '%s'\n" % (self.dir, json.dumps(status)), 0o755)

    def select(self, name):
        link = self.dir / "selection"
        link.unlink(missing_ok=True)
        if name:
            link.symlink_to("/usr/lib/plugsched/x/" + name)

    def run_playbook(self, version):
        """The exit code and what was said, in one line without what the terminal made of it."""
        given = {"plugsched_packages": str(self.dir), "plugsched_version": version, "plugsched_package": "scheduler-x",
                 "plugsched_file_name": "package-%s", "plugsched_home": str(self.home), "plugsched_selection": str(self.dir / "selection"), "plugsched_dir": str(self.dir / "cache"),
                 "plugsched_hosts": "all", "plugsched_report": str(self.dir / "report.json"), "ansible_become": False,
                 "ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
        env = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(self.dir), ANSIBLE_NOCOLOR="1", ANSIBLE_LOCAL_TEMP=str(self.dir / "tmp"),
                   ANSIBLE_NOCOWS="1", ANSIBLE_LOCALHOST_WARNING="False", LC_ALL="C.UTF-8")
        env.pop("ANSIBLE_CONFIG", None)
        done = subprocess.run(["ansible-playbook", "--check", "plugsched.scheduler.rollout", "-i", "host,", "-e", json.dumps(given)],
                              cwd=self.dir, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertFalse((self.dir / "cache").exists(), done.stdout)
        self.assertFalse((self.dir / "report.json").exists(), done.stdout)
        return done.returncode, done.stdout

    def asked(self):
        path = self.dir / "asked"
        return sorted(set(path.read_text().splitlines())) if path.exists() else []

    def test_new_host(self):
        code, said = self.run_playbook("2")
        self.assertEqual(code, 0, said)
        self.assertEqual(said.count("check mode ends here: "), 1, said)
        self.assertIn("the new package itself was not asked", said)

    def test_upgrade(self):
        self.install("1", {"active": True, "name": "plugsched_1"})
        code, said = self.run_playbook("2")
        self.assertEqual(code, 0, said)
        self.assertIn("check mode ends here: ", said)
        self.assertEqual(self.asked(), ["status --json"])

    def test_selection(self):
        """A host on which another scheduler is selected, or none although one is installed, is left alone."""
        self.select("fast")
        code, said = self.run_playbook("2")
        self.assertNotEqual(code, 0, said)
        self.assertIn("the scheduler fast is selected", said)
        self.install("1", {"active": True, "name": "plugsched_1"})
        self.select("")
        code, said = self.run_playbook("2")
        self.assertNotEqual(code, 0, said)
        self.assertIn("is installed, and not selected", said)

    def test_on_trial(self):
        self.install("1", {"active": True, "name": "plugsched_1", "trial_left_ns": 5})
        code, said = self.run_playbook("2")
        self.assertNotEqual(code, 0, said)
        self.assertIn("plugsched_1 is on trial", said)
        self.assertNotIn("check mode ends here", said)

    def test_is_installed(self):
        """The kernel itself is asked when the new package's program is there."""
        self.install("2", {"active": False})
        code, said = self.run_playbook("2")
        self.assertIn("is installed, but its scheduler does not run", said)
        self.install("2", {"active": True, "name": "plugsched_2"})
        code, said = self.run_playbook("2")
        self.assertEqual(code, 0, said)
        self.assertNotIn("was not asked", said)

    def test_missing_package(self):
        code, said = self.run_playbook("3")
        self.assertNotEqual(code, 0, said)
        self.assertIn("package-3 is missing", said)


if __name__ == "__main__":
    unittest.main()
