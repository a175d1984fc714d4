// SPDX-License-Identifier: BSD-3-Clause

package fetch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"plugsched/internal/durable"
	"plugsched/internal/outcome"
)

// aptConfig is the key of the context's value that names apt's configuration: all
// that runs for one fetch sees the same packages.
type aptConfig struct{}

func aptEnv(ctx context.Context) []string {
	if path, ok := ctx.Value(aptConfig{}).(string); ok {
		return []string{"APT_CONFIG=" + path}
	}
	return nil
}

var suiteRE = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

const archiveKeys = "/usr/share/keyrings/debian-archive-keyring.gpg"

// listsAge is how old package lists may be.
const listsAge = 24 * time.Hour

// lists makes what apt runs under the context see the packages that a fetch is about: those of the
// suite that was named, or, for a kernel of another architecture than this machine's, whose packages its
// apt need not know, of this machine's own suite.
func (f *fetcher) lists(ctx context.Context) (context.Context, error) {
	suite, foreign := f.opts.Suite, f.host.foreign(f.release)
	if suite == "" && foreign != "" {
		suite = f.host.codename()
	}
	if suite == "" {
		return ctx, nil
	}
	if foreign == "" {
		return inSuite(ctx, f.cache, suite, nil, f.opts.Expired, f.rep)
	}
	// apt takes a package of the first architecture where it has one, as of the kernel's build tools.
	return inSuite(ctx, f.cache, suite, []string{f.host.architecture(), foreign}, f.opts.Expired, f.rep)
}

// inSuite makes what apt runs under the context see the packages of one suite of
// Debian, and only those: of the architectures, the first of which apt takes for the machine's, or
// of those that it knows if there are none. Its lists are kept in the cache; the host's apt is not touched.
func inSuite(ctx context.Context, cache, suite string, architectures []string, expired bool, rep *reporter) (context.Context, error) {
	if !suiteRE.MatchString(suite) {
		return nil, errSuite(suite)
	}
	main, security := mirrors(ctx)
	dir, more := filepath.Join(cache, "apt", suite), ""
	if len(architectures) > 0 {
		dir += "_" + strings.Join(architectures, "_")
		more = fmt.Sprintf("APT::Architecture \"%s\";\n"+
			"APT::Architectures { \"%s\"; };\n", architectures[0], strings.Join(architectures, `"; "`))
	}
	for _, d := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	unlock, err := (&store{dir: dir, rep: rep}).lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	signed := ""
	if existing(archiveKeys) != "" {
		signed = "[signed-by=" + archiveKeys + "] "
	}
	sources := fmt.Sprintf("deb %s%s %s main\n", signed, main, suite)
	if !strings.Contains(suite, "-") && !slices.Contains([]string{"sid", "unstable", "experimental"}, suite) {
		sources += fmt.Sprintf("deb %s%s %s-security main\n", signed, security, suite)
	}
	conf := fmt.Sprintf(`Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "%[1]s/lists";
Dir::Cache "%[1]s";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Check-Valid-Until "%[2]t";
%[3]s`, dir, !expired, more)
	list, path := filepath.Join(dir, "sources.list"), filepath.Join(dir, "apt.conf")
	was, _ := os.ReadFile(list)
	for name, text := range map[string]string{list: sources, path: conf} {
		if err := durable.WriteFile(name, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	ctx = context.WithValue(ctx, aptConfig{}, path)
	mark := filepath.Join(dir, "updated")
	if st, err := os.Stat(mark); err == nil && string(was) == sources && time.Since(st.ModTime()) < listsAge {
		return ctx, nil
	}
	lists := Progress{Step: "download", Item: "the package lists of " + suite}
	rep.report(lists)
	if _, err := output(ctx, dir, "look up kernel packages", "apt-get", append(aptOptions(), "update", "--error-on=any")...); err != nil {
		return nil, explainLists(suite, err)
	}
	lists.Ended = true
	rep.report(lists)
	return ctx, durable.WriteFile(mark, nil, 0o644)
}

func errSuite(suite string) error {
	return outcome.With(outcome.Usage, fmt.Errorf("suite %q is not the name of a suite of Debian, such as trixie or sid", suite))
}

// expiredRE is apt's complaint about an archive that nobody signs anew any more.
var expiredRE = regexp.MustCompile(`Release file for \S+ is expired|is not valid yet|is expired \(invalid since`)

// explainLists names the option that helps.
func explainLists(suite string, err error) error {
	if expiredRE.MatchString(err.Error()) {
		return outcome.With(outcome.Precondition, fmt.Errorf("package lists of %s: %w; --expired takes them all the same", suite, err))
	}
	return fmt.Errorf("package lists of %s: %w", suite, err)
}

// BaseSuite is the suite that Target.Suite adds packages to, or itself: that of the programs
// which the kernel was built with. It is empty when the suite is not known.
func (t *Target) BaseSuite() string {
	base, _, _ := strings.Cut(t.Suite, "-")
	return base
}

// mirrors are the archives that the host's apt uses, or Debian's own.
func mirrors(ctx context.Context) (main, security string) {
	main, security = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"
	out, _ := output(ctx, "", "look up kernel packages", "apt-get", "indextargets", "--format", "$(LABEL) $(SITE)",
		"Created-By: Packages", "Origin: Debian")
	found := map[string]string{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 && found[f[0]] == "" {
			found[f[0]] = f[1]
		}
	}
	if s := found["Debian"]; s != "" {
		main = s
	}
	if s := found["Debian-Security"]; s != "" {
		security = s
	}
	return main, security
}

// Analysable lists, newest first, the releases of a flavour and series of which
// apt has the vmlinux. An empty suite means the host's own packages.
func Analysable(ctx context.Context, o Options, flavour, kernelSeries string) ([]string, error) {
	o.Release = kernelSeries + "-" + flavour
	f, err := newFetcher(&o)
	if err != nil {
		return nil, err
	}
	if ctx, err = f.lists(ctx); err != nil {
		return nil, err
	}
	names, err := aptNames(ctx, "linux-image-")
	if err != nil {
		return nil, err
	}
	return byImageVersion(ctx, slices.DeleteFunc(debugReleases(names, flavour), func(r string) bool {
		return series(r) != kernelSeries
	})), nil
}
