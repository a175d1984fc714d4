// SPDX-License-Identifier: BSD-3-Clause

//go:build guest

package guest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plugsched/internal/develop/project"
	"plugsched/internal/guest/vm"
	"plugsched/internal/kernel/fetch"
	suites "plugsched/test/kernels"
)

// shared is what the tests have in common: one working directory with the
// example's change committed, built once.
var shared struct {
	root, tool, load, work string
	release                string
	project                *project.Project
	target                 *fetch.Target
}

// initFlags name the files of a kernel that is not Debian's.
var initFlags = flag.String("init", os.Getenv("INIT"), "more arguments for plugsched init, such as --vmlinux, --headers, --source and --vmlinuz")

var release = flag.String("release", os.Getenv("RELEASE"), "kernel release, or series such as 6.12 (default: the newest with debug symbols)")

const flavour = "cloud-amd64"

var series = regexp.MustCompile(`^\d+\.\d+$`)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := setUp(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "guest tests: set-up:", err)
		os.Exit(1)
	}
	code := m.Run()
	closeIdle()
	if !withinBudget() {
		fmt.Fprintln(os.Stderr, "guest tests: too many guests: borrow one, or see budget in borrow_test.go")
		code = max(code, 1)
	}
	os.Exit(code)
}

func setUp(ctx context.Context) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	s := &shared
	s.root, s.tool, s.load = root, filepath.Join(root, "bin/plugsched"), filepath.Join(root, "test/load/schedload")
	if s.release = *release; s.release == "" {
		s.release, err = fetch.Newest(ctx, flavour)
	} else if series.MatchString(s.release) {
		s.release, err = fetch.NewestIn(ctx, flavour, s.release)
	}
	if err != nil {
		return err
	}
	s.work = filepath.Join(root, "build/test", s.release)
	fmt.Println("kernel", s.release, "in", s.work)
	suite, err := suites.Suite(s.release)
	if err != nil {
		return err
	}
	var suiteFlag []string
	if suite != "" {
		suiteFlag = []string{"--suite", suite}
	}
	for _, c := range [][]string{
		slices.Concat([]string{s.tool, "init", "--release", s.release}, suiteFlag, strings.Fields(*initFlags), []string{s.work}),
		{"git", "-C", s.work, "checkout", "-q", "-f", "-B", "test", "pristine"},
		{"git", "-C", s.work, "-c", "user.name=test", "-c", "user.email=test@localhost", "am", "-q", "--committer-date-is-author-date",
			filepath.Join(root, "examples/hello.patch")},
		{s.tool, "build", s.work},
	} {
		cmd := exec.CommandContext(ctx, c[0], c[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w (a kernel that is not Debian's is named by RELEASE and, in INIT, by init's flags)", strings.Join(c, " "), err)
		}
	}
	if s.project, err = project.Open(s.work); err != nil {
		return err
	}
	s.target, err = s.project.Target()
	return err
}

// plugsched runs the tool on this host. Whatever is built is checked too.
func plugsched(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	if len(args) == 2 && args[0] == "build" {
		checked, verdict := run(t, "check", args[1])
		out, code = run(t, args...)
		sameVerdict(t, checked, verdict, out, code)
		return out, code
	}
	return run(t, args...)
}

func run(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command(shared.tool, args...)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	spentBy(t, cmd)
	return string(b), cmd.ProcessState.ExitCode()
}

// sameVerdict holds what check says against what build does: each refusal and warning is said by
// both, and by nobody else.
func sameVerdict(t *testing.T, checked string, verdict int, built string, code int) {
	t.Helper()
	const page = "(docs/develop/refusals.md#"
	pick := func(text string) (list []string) {
		for line := range strings.Lines(strings.ReplaceAll(text, "plugsched: ", "")) {
			if strings.Contains(line, page) || strings.Contains(line, "warning: ") || code != 0 && code != 6 {
				line = strings.Replace(strings.Replace(line, "warning: ", "", 1), "error: ", "", 1)
				list = append(list, column.ReplaceAllString(line, "$1: "))
			}
		}
		slices.Sort(list)
		return list
	}
	if diff := cmp.Diff(pick(built), pick(checked)); diff != "" || verdict != code {
		t.Errorf("check ends with %d, build with %d; build - check:\n%s", verdict, code, diff)
	}
}

// column is that of FILE:LINE:COLUMN, which only check has.
var column = regexp.MustCompile(`^(\S+?:\d+):\d+: `)

// boot starts a guest with the tool, the load and the module, which ends with the test.
// Tests that leave a guest as it was borrow one instead. The console is kept, and scanned
// when the test ends: the kernel must have had a complaint that is expected, if any is,
// and no other.
func boot(t *testing.T, change func(*vm.Config), expected ...complaint) *vm.Machine {
	t.Helper()
	m := start(t, t.Context(), change)
	t.Cleanup(func() {
		judgeGuest(t, context.Background(), m, 0, expected)
		m.Close()
		spent(t, m.CPUTime())
	})
	return m
}

// spent notes what a test's guest, or a program, has used of the host's CPUs, for test/times,
// which adds up what is said more than once.
func spent(t *testing.T, cpu time.Duration) {
	t.Attr("cpu-seconds", fmt.Sprintf("%.1f", cpu.Seconds()))
}

// spentBy notes what a program that has ended used.
func spentBy(t *testing.T, cmd *exec.Cmd) {
	spent(t, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
}

// start boots a guest that lives as long as a context.
func start(t *testing.T, ctx context.Context, change func(*vm.Config)) *vm.Machine {
	t.Helper()
	dir := filepath.Join(shared.root, "build/test/console")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := vm.Config{Kernel: shared.target.Vmlinuz, CPUs: 4, Init: shared.tool,
		ConsoleLog: filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "_")+".log"),
		Files: []vm.File{
			{GuestPath: "/bin/plugsched", HostPath: shared.tool, Mode: 0o755},
			{GuestPath: "/bin/schedload", HostPath: shared.load, Mode: 0o755},
			{GuestPath: "/scheduler.ko", HostPath: shared.project.Module()},
		}}
	if change != nil {
		change(&cfg)
	}
	countBoot(t)
	m, err := vm.Boot(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// judgeGuest checks a guest's complaints but for the first ones, of which others know.
func judgeGuest(t *testing.T, ctx context.Context, m *vm.Machine, known int, expected []complaint) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := m.Settle(ctx); err != nil && m.Err() == nil {
		t.Errorf("console: %v", err)
	}
	for _, wrong := range judge(m.Faults()[known:], expected) {
		t.Errorf("%s (console: %s)", wrong, m.ConsolePath())
	}
}

// sh runs a shell command in a guest.
func sh(t *testing.T, m *vm.Machine, command string) (out string, code int) {
	t.Helper()
	r, err := m.Run(t.Context(), vm.Cmd{Argv: []string{"/bin/sh", "-c", command}, Timeout: 10 * time.Minute})
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return string(r.Stdout) + string(r.Stderr), r.ExitCode
}

// ok is sh for commands that must succeed.
func ok(t *testing.T, m *vm.Machine, command string) string {
	t.Helper()
	out, code := sh(t, m, command)
	if code != 0 {
		t.Fatalf("`%s` exited with %d:\n%s", command, code, out)
	}
	return strings.TrimSpace(out)
}

// site is where the kernel's function jumps to the module's, as FUNCTION+OFFSET.
func site(t *testing.T, function string) string {
	t.Helper()
	b, err := shared.project.Boundary()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range b.Find(function) {
		if f.Class.Border() {
			return fmt.Sprintf("%s+%d", f.Name, f.Jump)
		}
	}
	t.Fatalf("%s is not redirected", function)
	return ""
}

// await waits until something holds, up to a minute of the guest's own time, and returns
// whether it does.
func await(m *vm.Machine, holds func() bool) bool {
	for own := m.Stopwatch(); !holds(); time.Sleep(50 * time.Millisecond) {
		if own() > time.Minute {
			return false
		}
	}
	return true
}
