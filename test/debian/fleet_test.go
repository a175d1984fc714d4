// SPDX-License-Identifier: BSD-3-Clause

//go:build guest && fleet

package debian

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"plugsched/internal/guest/vm"
)

// A fleet is machines that Ansible reaches through ssh.
type fleet struct {
	t        *testing.T
	machines []*machine
	dir      string // the controller's
	env      []string
	runs     int
}

// names are the inventory's, in the order of the batches.
var names = []string{"one", "two", "three"}

// patient are words for the kernel: three guests at once may have to wait for a CPU of the
// host's for so long that the default limits are a stall.
var patient = []string{"rcupdate.rcu_cpu_stall_timeout=300", "watchdog_thresh=60"}

// health is what the tests look after the hosts with: files say what goes wrong.
const health = `
plugsched_health:
  - test ! -e /root/unhealthy
  - test ! -e /root/unhealthy-later || ! dpkg-query -W scheduler-$(uname -r) | grep -q '0[.]2$'
  - test ! -e /root/dies || { rm /root/dies; sync; echo b > /proc/sysrq-trigger; sleep 600; }
  - test ! -e /root/unplugged || { rm /root/unplugged; ip link set eth0 down; }
plugsched_health_timeout: 120
plugsched_serial: [1, 100%]
plugsched_trial: 1200
plugsched_watch: 5
plugsched_tries: 2
plugsched_bake: 1
plugsched_wait: 1800
`

// config: the hosts are slow, and without pipelining each task takes several connections.
const config = `
[defaults]
timeout = 120
host_key_checking = False
nocows = True
[ssh_connection]
pipelining = True
ssh_args = -o ControlMaster=auto -o ControlPersist=600s -o UserKnownHostsFile=/dev/null -o ServerAliveInterval=10 -o ServerAliveCountMax=3
`

func newFleet(t *testing.T, schedulers ...*scheduler) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir()}
	for _, s := range schedulers {
		f.command("sh", "-c", `mkdir -p dist && cp "$1"/*.deb dist`, "sh", s.dir)
	}
	f.command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(f.dir, "key"))
	f.command("ansible-galaxy", "collection", "build", "--output-path", f.dir, filepath.Join(shared.root, "ansible"))
	f.command("sh", "-c", "ansible-galaxy collection install -p collections ./plugsched-scheduler-*.tar.gz")
	f.env = append(os.Environ(), "ANSIBLE_CONFIG="+f.write("ansible.cfg", config), "ANSIBLE_COLLECTIONS_PATH="+filepath.Join(f.dir,
		"collections"),
		"ANSIBLE_HOME="+filepath.Join(f.dir, "home"))
	f.write("vars.yml", health)

	inventory := "[schedulers]\n"
	for _, name := range names {
		m := newMachine(t, program(shared.tool), vm.File{GuestPath: "/root/.ssh/authorized_keys",
			HostPath: filepath.Join(f.dir, "key.pub"), Mode: 0o600})
		m.logs += "_" + name
		m.cfg.CPUs, m.cfg.MemoryMiB, m.cfg.SSHPort = 1, 768, freePort(t)
		if name == "one" {
			m.cfg.CPUs = 2
		}
		m.cfg.BootTimeout, m.cfg.HangTimeout = 20*time.Minute, 10*time.Minute
		f.machines = append(f.machines, m)
		inventory += fmt.Sprintf("%s ansible_host=127.0.0.1 ansible_port=%d ansible_user=root ansible_ssh_private_key_file=%s/key ansible_python_interpreter=/usr/bin/python3\n",
			name, m.cfg.SSHPort, f.dir)
	}
	f.write("inventory", inventory)
	for _, m := range f.machines {
		m.boot(patient...)
	}
	for _, m := range f.machines {
		m.sh("systemctl is-system-running --wait")
		m.ok("systemctl enable --quiet --now ssh")
	}
	return f
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (f *fleet) write(name, text string) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
	return path
}

func (f *fleet) command(argv ...string) {
	f.t.Helper()
	c := exec.CommandContext(f.t.Context(), argv[0], argv[1:]...)
	c.Dir = f.dir
	if out, err := c.CombinedOutput(); err != nil {
		f.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

// A record is what a roll-out's report says of a host.
type record struct {
	Host, Before, Version, Result, Error string
	Downtime                             int64 `json:"downtime_ns"`
}

type report struct {
	Hosts    []record
	Downtime struct{ Count, Min, Median, Max int64 } `json:"downtime_ns"`
}

func (r *report) results() (list []string) {
	for _, h := range r.Hosts {
		list = append(list, h.Result)
	}
	return list
}

// start begins a roll-out. The function that it returns waits for its end.
func (f *fleet) start(version string, vars ...string) func() (r *report, out string, ok bool) {
	f.t.Helper()
	f.runs++
	path := filepath.Join(f.dir, fmt.Sprintf("report-%d.json", f.runs))
	args := []string{"plugsched.scheduler.rollout", "-i", "inventory", "-e", "@vars.yml", "-e",
		"plugsched_packages=" + filepath.Join(f.dir, "dist"),
		"-e", "plugsched_version=" + version, "-e", "plugsched_report=" + path}
	for _, v := range vars {
		args = append(args, "-e", v)
	}
	c := exec.CommandContext(f.t.Context(), "ansible-playbook", args...)
	log, err := os.Create(fmt.Sprintf("%s_ansible-%d.log", f.machines[0].logs, f.runs))
	if err != nil {
		f.t.Fatal(err)
	}
	c.Dir, c.Env, c.Stdout, c.Stderr = f.dir, f.env, log, log
	if err := c.Start(); err != nil {
		f.t.Fatal(err)
	}
	begun := time.Now()
	return func() (*report, string, bool) {
		f.t.Helper()
		err := c.Wait()
		log.Close()
		out, _ := os.ReadFile(log.Name())
		f.t.Logf("the roll-out of %s took %v (%s)", version, time.Since(begun).Round(time.Second), log.Name())
		var r report
		if text, e := os.ReadFile(path); e != nil {
			f.t.Fatalf("%v, %v:\n%s", err, e, out)
		} else if e := json.Unmarshal(text, &r); e != nil {
			f.t.Fatal(e)
		}
		return &r, string(out), err == nil
	}
}

// rollOut is start, and what has to become of it.
func (f *fleet) rollOut(version string, ok bool, results ...string) *report {
	f.t.Helper()
	r, out, went := f.start(version)()
	if went != ok || !slices.Equal(r.results(), results) {
		f.t.Fatalf("the roll-out: success is %v, results %q, expected %v, %q:\n%s", went, r.results(), ok, results, out)
	}
	return r
}

// has checks which scheduler runs on a machine, and which version of the package is installed.
func (m *machine) has(module, version string) {
	m.t.Helper()
	m.runs(module)
	m.hasVersion(version)
}

func (m *machine) hasVersion(version string) {
	m.t.Helper()
	if got, _ := m.sh("dpkg-query -W -f '${Version}' scheduler-" + shared.release + " 2>/dev/null"); got != version {
		m.t.Errorf("version %q is installed, expected %q", got, version)
	}
}

// rolledBackTo checks the same on a machine whose trial ended by itself: the module that was
// left stays loaded until the next command, for its report.
func (m *machine) rolledBackTo(module, version string) {
	m.t.Helper()
	s := m.running()
	if s.Name != module || !strings.Contains(s.Report, "not confirmed in time") {
		m.t.Fatalf("%q runs, expected %q; report %q", s.Name, module, s.Report)
	}
	m.hasVersion(version)
}

// TestFleet rolls two versions out over three machines, and has canaries and later
// batches fail in different ways.
func TestFleet(t *testing.T) {
	a := shared.a
	b := build(t, "b", "", "examples/hello.patch", "test/debian/testdata/wait.patch")
	f := newFleet(t, a, b)
	one, two, three := f.machines[0], f.machines[1], f.machines[2]

	// The canary does not like it: nobody else sees it.
	one.ok("touch /root/unhealthy")
	r := f.rollOut("0.1", false, "back", "untouched", "untouched")
	one.says("the report", r.Hosts[0].Error, "Health")
	for _, m := range f.machines {
		m.has("", "")
	}
	if out := one.ok("dmesg"); !strings.Contains(out, "the roll-out was stopped") {
		t.Errorf("the canary was not tried:\n%s", out)
	}
	for _, m := range f.machines[1:] {
		if out, _ := m.sh("dmesg | grep plugsched_"); out != "" {
			t.Errorf("a later host was touched:\n%s", out)
		}
	}
	one.ok("rm /root/unhealthy")

	r = f.rollOut("0.1", true, "updated", "updated", "updated")
	for _, m := range f.machines {
		m.has(a.module, "0.1")
	}
	if d := r.Downtime; d.Count != 3 || d.Min <= 0 || d.Min > d.Median || d.Median > d.Max {
		t.Errorf("downtimes: %+v", r)
	}

	// A host of the second batch fails when the package is installed: that batch rolls back to
	// the version before, the canary keeps the new one.
	three.ok("touch /root/unhealthy-later")
	f.rollOut("0.2", false, "updated", "back", "back")
	one.has(b.module, "0.2")
	two.has(a.module, "0.1")
	three.has(a.module, "0.1")
	three.ok("rm /root/unhealthy-later")

	// During the trial one host loses its connection and another dies.
	two.ok("touch /root/unplugged")
	three.ok("touch /root/dies")
	wait := f.start("0.2", "plugsched_trial=300")
	three.dies()
	two.until("! test -e /root/unplugged && grep -q 'rolled back' /sys/module/" + b.module + "/plugsched/state")
	two.rolledBackTo(a.module, "0.1")
	three.up(patient...)
	three.has(a.module, "0.1")
	two.ok("ip link set eth0 up")
	r, out, ok := wait()
	if want := []string{"already", "back", "back"}; ok || !slices.Equal(r.results(), want) {
		t.Fatalf("the roll-out: success is %v, results %q, expected %q:\n%s", ok, r.results(), want, out)
	}
	one.has(b.module, "0.2")
	two.rolledBackTo(a.module, "0.1")
	three.has(a.module, "0.1")

	f.rollOut("0.2", true, "already", "updated", "updated")

	// A task waits in what is to be left.
	one.begin("exec python3 -c 'import os; os.sched_get_priority_max(4242)'")
	r = f.rollOut("0.1", false, "back", "untouched", "untouched")
	one.says("the report", r.Hosts[0].Error, "python3")
	for _, m := range f.machines {
		m.has(b.module, "0.2")
		m.off()
	}
}

// until waits for a command to succeed.
func (m *machine) until(command string) {
	m.t.Helper()
	for end := time.Now().Add(30 * time.Minute); ; time.Sleep(2 * time.Second) {
		if _, code := m.sh(command); code == 0 {
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("`%s` does not succeed", command)
		}
	}
}

// dies waits until the machine is rebooted by what a test has left on it.
func (m *machine) dies() {
	m.t.Helper()
	select {
	case <-m.Dead():
		m.ended(vm.ErrRebooted)
	case <-time.After(30 * time.Minute):
		m.t.Fatal("the machine still runs")
	}
}
