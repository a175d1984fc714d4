// SPDX-License-Identifier: BSD-3-Clause

package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"plugsched"
	"plugsched/internal/artefact/installed"
	"plugsched/internal/kernel/arch"
)

const release = "6.1.0-1-amd64"

func scheduler(t *testing.T) *Scheduler {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("contents of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return &Scheduler{
		Arch:    arch.X86.Package,
		Config:  Config{Name: "fast", Version: "0.3+local", Maintainer: "Jane Doe <jane@example.org>", Summary: "fast one"},
		Release: release, BuildID: "00ab", ModuleName: "plugsched_01234567", Commit: "c", Tool: "t", Replaced: []string{"schedule_tick", "yield"},
		Changes: []string{strings.Repeat("sched: a long subject ", 9), "sched: first"},
		Time:    time.Unix(1700000000, 0).UTC(),
		Module:  file("ko"), Description: file("yaml"), Boundary: file("json"), Installer: file("tool"),
		Debug: file("debug"), ModuleID: "0123456789abcdef0123456789abcdef01234567",
		Documents: map[string][]byte{"man/plugsched.8": []byte("page"), "completions/bash": []byte("complete")},
	}
}

func build(t *testing.T, s *Scheduler) (deb, rpm string) {
	t.Helper()
	paths := buildAll(t, s)
	return paths[0], paths[1]
}

func buildAll(t *testing.T, s *Scheduler) []string {
	t.Helper()
	dir := t.TempDir()
	paths, err := Build(dir, s)
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 4 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
	return paths
}

// run runs one of the distributions' own tools on a package.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v (scripts/setup installs it)", strings.Join(argv, " "), err)
	}
	return string(out)
}

func TestNames(t *testing.T) {
	deb, rpm := build(t, scheduler(t))
	if got := filepath.Base(deb); got != "fast-6.1.0-1-amd64_0.3+local_amd64.deb" {
		t.Error(got)
	}
	if got := filepath.Base(rpm); got != "fast-6.1.0-1-amd64-0.3+local-1.x86_64.rpm" {
		t.Error(got)
	}
}

// TestReproducible: neither the time, nor where the files are, nor what the umask made of
// them, nor the order of a map shows.
func TestReproducible(t *testing.T) {
	first := buildAll(t, scheduler(t))
	time.Sleep(1100 * time.Millisecond) // archives count seconds
	s := scheduler(t)
	for _, f := range []string{s.Module, s.Description, s.Boundary, s.Installer, s.Debug} {
		if err := os.Chmod(f, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for i, path := range buildAll(t, s) {
		p := [2]string{first[i], path}
		one, err := os.ReadFile(p[0])
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(p[1])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one, two) {
			t.Errorf("%s differs from build to build", filepath.Base(p[0]))
		}
	}
}

var wantFiles = []string{
	"drwxr-xr-x root root /usr/lib/plugsched",
	"drwxr-xr-x root root /usr/lib/plugsched/6.1.0-1-amd64",
	"drwxr-xr-x root root /usr/lib/plugsched/6.1.0-1-amd64/fast",
	"drwxr-xr-x root root /usr/lib/plugsched/6.1.0-1-amd64/fast/LICENSES",
	"-rw-r--r-- root root /usr/lib/plugsched/6.1.0-1-amd64/fast/LICENSES/BSD-3-Clause.txt",
	"-rw-r--r-- root root /usr/lib/plugsched/6.1.0-1-amd64/fast/LICENSES/GPL-2.0-only.txt",
	"-rw-r--r-- root root /usr/lib/plugsched/6.1.0-1-amd64/fast/LICENSES/third-party.txt",
	"-rw-r--r-- root root /usr/lib/plugsched/6.1.0-1-amd64/fast/boundary.json.gz",
	"drwxr-xr-x root root /usr/lib/plugsched/6.1.0-1-amd64/fast/completions",
	"-rw-r--r-- root root /usr/lib/plugsched/6.1.0-1-amd64/fast/completions/bash",
	"drwxr-xr-x root root /usr/lib/plugsched/6.1.0-1-amd64/fast/man",
	"-rw-r--r-- root root /usr/lib/plugsched/6.1.0-1-amd64/fast/man/plugsched.8.gz",
	"-rw-r--r-- root root /usr/lib/plugsched/6.1.0-1-amd64/fast/package.json",
	"-rwxr-xr-x root root /usr/lib/plugsched/6.1.0-1-amd64/fast/plugsched",
	"-rw-r--r-- root root /usr/lib/plugsched/6.1.0-1-amd64/fast/plugsched.service",
	"-rw-r--r-- root root /usr/lib/plugsched/6.1.0-1-amd64/fast/scheduler.ko",
	"-rw-r--r-- root root /usr/lib/plugsched/6.1.0-1-amd64/fast/scheduler.yaml",
	"drwxr-xr-x root root /usr/share/doc/fast-6.1.0-1-amd64",
	"-rw-r--r-- root root /usr/share/doc/fast-6.1.0-1-amd64/changelog.gz",
	"-rw-r--r-- root root /usr/share/doc/fast-6.1.0-1-amd64/copyright",
}

func TestDeb(t *testing.T) {
	deb, _ := build(t, scheduler(t))
	for field, want := range map[string]string{
		"Package": "fast-6.1.0-1-amd64", "Version": "0.3+local", "Architecture": "amd64", "Maintainer": "Jane Doe <jane@example.org>",
		"Provides": "plugsched-scheduler-6.1.0-1-amd64", "Conflicts": "",
	} {
		if got := strings.TrimSpace(run(t, "dpkg-deb", "-f", deb, field)); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if got := run(t, "dpkg-deb", "-f", deb, "Description"); !strings.HasPrefix(got, "fast one\n") ||
		!strings.Contains(got, "Linux 6.1.0-1-amd64") {
		t.Errorf("description %q", got)
	}
	var got []string
	for _, l := range strings.Split(strings.TrimSpace(run(t, "dpkg-deb", "-c", deb)), "\n") {
		f := strings.Fields(l)
		path := strings.TrimSuffix(strings.TrimPrefix(f[5], "."), "/")
		if !slices.Contains([]string{"/usr", "/usr/lib", "/usr/share", "/usr/share/doc",
			"/usr/share/lintian", "/usr/share/lintian/overrides"}, path) {
			got = append(got, f[0]+" "+strings.Replace(f[1], "/", " ", 1)+" "+path)
		}
		if f[3] != "2023-11-14" || f[4] != "22:13" {
			t.Errorf("time: %s", l)
		}
	}
	if !slices.Equal(got, append(slices.Clone(wantFiles), "-rw-r--r-- root root /usr/share/lintian/overrides/fast-6.1.0-1-amd64")) {
		t.Errorf("files:\n%s", strings.Join(got, "\n"))
	}
	dir := t.TempDir()
	run(t, "dpkg-deb", "-R", deb, dir)
	for _, script := range []string{"preinst", "postinst", "prerm", "postrm"} {
		path := filepath.Join(dir, "DEBIAN", script)
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", script, st, err)
		}
		run(t, "sh", "-n", path)
	}
	p, err := installed.Read(filepath.Join(dir, installed.PackageDir(release, "fast")))
	if err != nil || p.String() != "fast-6.1.0-1-amd64 0.3+local" || p.Scheduler != "fast" ||
		p.Module != "plugsched_01234567" || p.BuildID != "00ab" {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestLintian: Debian's checker finds nothing to complain of that is not overridden with a reason,
// and no override is for nothing.
func TestLintian(t *testing.T) {
	t.Parallel() // it takes its time
	if _, err := exec.LookPath("lintian"); err != nil {
		t.Skip("lintian is not installed: run `make setup`")
	}
	args := []string{"--fail-on", "error,warning,info", "--display-info"}
	if os.Geteuid() == 0 {
		args = append(args, "--allow-root")
	}
	for name, maintainer := range map[string]string{"fast": "Jane Doe <jane@example.org>", "nobodys": "plugsched <plugsched@localhost>"} {
		s := scheduler(t)
		s.Name, s.Maintainer = name, maintainer
		program := filepath.Join(t.TempDir(), "main.c")
		if err := os.WriteFile(program, []byte("int main(void) { return 0; }\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, "gcc", "-static", "-o", s.Installer, program)
		run(t, "strip", "--remove-section=.comment", s.Installer)
		s.Documents["man/plugsched.8"] = []byte(".TH PLUGSCHED 8\n.SH NAME\nplugsched \\- update the scheduler\n")
		paths := buildAll(t, s)
		args = append(args, paths[0])
		if name == "fast" { // a package of debug information cannot have overrides, as for nobody's maintainer
			args = append(args, paths[2])
		}
	}
	cmd := exec.CommandContext(t.Context(), "lintian", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRPM(t *testing.T) {
	_, rpm := build(t, scheduler(t))
	query := func(format string) string { return run(t, "rpm", "-qp", "--qf", format, rpm) }
	if got := query("%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{BUILDHOST} %{BUILDTIME} %{PACKAGER}"); got != "fast-6.1.0-1-amd64 0.3+local 1 x86_64 localhost 1700000000 Jane Doe <jane@example.org>" {
		t.Error(got)
	}
	if got := query("[%{PROVIDES}\n]"); !strings.Contains(got, "plugsched-scheduler-6.1.0-1-amd64\n") {
		t.Errorf("provides %s", got)
	}
	if got := query("[%{CONFLICTS}\n]"); strings.Contains(got, "plugsched") {
		t.Errorf("conflicts %s", got)
	}
	got := strings.Split(strings.TrimSpace(query("[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]")), "\n")
	if !slices.Equal(got, wantFiles) {
		t.Errorf("files:\n%s", strings.Join(got, "\n"))
	}
	for tag, call := range map[string]string{"PREIN": "uname -r", "POSTIN": "package configure", "PREUN": "package remove",
		"POSTUN": "daemon-reload"} {
		if got := query("%{" + tag + "}"); !strings.Contains(got, call) {
			t.Errorf("%s: %s", tag, got)
		}
	}
}

// TestDebugPackages: what is known to debuggers lies where they look for it, and belongs to one build.
func TestDebugPackages(t *testing.T) {
	paths := buildAll(t, scheduler(t))
	const file = "/usr/lib/debug/.build-id/01/23456789abcdef0123456789abcdef01234567.debug"
	if got := filepath.Base(paths[2]); got != "fast-6.1.0-1-amd64-dbgsym_0.3+local_amd64.deb" {
		t.Error(got)
	}
	if got := strings.TrimSpace(run(t, "dpkg-deb", "-f", paths[2], "Depends")); got != "fast-6.1.0-1-amd64 (= 0.3+local)" {
		t.Errorf("depends on %s", got)
	}
	dir := t.TempDir()
	run(t, "dpkg-deb", "-x", paths[2], dir)
	if text, err := os.ReadFile(filepath.Join(dir, file)); string(text) != "contents of debug" {
		t.Errorf("%q, %v", text, err)
	}
	if got := filepath.Base(paths[3]); got != "fast-6.1.0-1-amd64-debuginfo-0.3+local-1.x86_64.rpm" {
		t.Error(got)
	}
	got := run(t, "rpm", "-qp", "--qf", "[%{FILENAMES}\n][%{REQUIRENAME} %{REQUIREVERSION}\n]", paths[3])
	if !strings.Contains(got, file+"\n") || !strings.Contains(got, "fast-6.1.0-1-amd64 0.3+local\n") {
		t.Errorf("%s", got)
	}
}

// TestScripts: an unsigned module is refused where only signed ones are taken, and a
// unit's name has no character that systemd does not allow.
func TestScripts(t *testing.T) {
	s := scheduler(t)
	dir := t.TempDir()
	text := func(name string) string {
		t.Helper()
		if err := s.render(name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := text("preinst"); !strings.Contains(got, "sig_enforce") || !strings.Contains(got, `" schedule_tick yield "`) ||
		!strings.Contains(got, "00ab") ||
		!strings.Contains(got, `"$running" = 'plugsched_01234567'`) {
		t.Error(got)
	}
	s.Signed = true
	if got := text("preinst"); strings.Contains(got, "sig_enforce") {
		t.Error("a signed module is refused")
	}
	if got := text("unit"); !strings.Contains(got, "\nConditionKernelVersion=6.1.0-1-amd64\n") ||
		!strings.Contains(got, "\nExecStart=/etc/plugsched/6.1.0-1-amd64/plugsched boot /etc/plugsched/6.1.0-1-amd64\n") {
		t.Error(got)
	}
	if got := installed.Unit("6.1.0+x"); got != "plugsched-6.1.0_x.service" {
		t.Error(got)
	}
}

func TestParseConfig(t *testing.T) {
	good := map[string]string{"name": "fast", "version": "1.0~rc1", "maintainer": "J <j@l>", "summary": "s"}
	if c, err := ParseConfig(good); err != nil || c != (Config{"fast", "1.0~rc1", "J <j@l>", "s"}) {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := ParseConfig(nil); err != nil || c != (Config{}) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []map[string]string{
		{"name": "Fast"}, {"name": "f"}, {"name": "fa st"}, {"name": "-fast"}, {"name": "../x"},
		{"version": "v1"}, {"version": "1-2"}, {"version": "1:2"}, {"version": "1 2"}, {"version": "1_2"},
		{"maintainer": "a\nDepends: b"}, {"summary": "a\nb"}, {"licence": "x"},
		{"name": strings.Repeat("f", 65)}, {"version": strings.Repeat("1.", 3000)},
	} {
		if c, err := ParseConfig(bad); err == nil || strings.Contains(err.Error(), "\n") || len(err.Error()) > 150 {
			t.Errorf("%v: %+v, %v", bad, c, err)
		}
	}
}

// TestBuildFails: what is missing is named, and nothing is left behind.
func TestBuildFails(t *testing.T) {
	for _, lose := range []func(*Scheduler) string{
		func(s *Scheduler) string { return s.Module }, func(s *Scheduler) string { return s.Boundary },
		func(s *Scheduler) string { return s.Installer },
	} {
		s := scheduler(t)
		name := lose(s)
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if _, err := Build(dir, s); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// TestThirdParty: the licence of every module that is linked into the installer goes
// along with it.
func TestThirdParty(t *testing.T) {
	text, err := plugsched.Licences.ReadFile("LICENSES/third-party.txt")
	if err != nil {
		t.Fatal(err)
	}
	list := run(t, "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Dir}}{{end}}{{end}}", "plugsched/cmd/plugsched-installer")
	dirs := slices.Compact(slices.Sorted(slices.Values(strings.Fields(list))))
	if len(dirs) == 0 {
		t.Fatal("no module is linked into the installer")
	}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "LICENSE*"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s has no licence: %v", dir, err)
		}
		for _, f := range files {
			if licence, err := os.ReadFile(f); err != nil || !bytes.Contains(text, licence) {
				t.Errorf("%s: run scripts/third-party (%v)", f, err)
			}
		}
	}
}
