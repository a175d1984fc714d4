// SPDX-License-Identifier: BSD-3-Clause

package apply

import (
	"context"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"time"

	"plugsched/internal/develop/folder"
	"plugsched/internal/develop/git"
	"plugsched/internal/develop/patch"
	"plugsched/internal/develop/project"
)

// commitAll makes a commit of each patch that changes the tree, and moves the branch there at the end: whoever is interrupted
// before has changed nothing.
func commitAll(ctx context.Context, p *project.Project, s *series, a *Application) error {
	head, err := tried(ctx, p, s)
	if err != nil {
		return err
	}
	was := head
	index := filepath.Join(p.Dir, project.StateDir, "apply-index")
	defer os.Remove(index)
	// Who has the working directory's lock is alone here: these were left by one that was killed.
	if err := folder.Remove(index, index+".lock"); err != nil {
		return err
	}
	w := &committer{p.Git().With("GIT_INDEX_FILE=" + index)}
	if err := w.identify(ctx); err != nil {
		return err
	}
	if err := w.git.Run(ctx, "read-tree", head); err != nil {
		return err
	}
	if s.options != "" {
		text, err := os.ReadFile(filepath.Join(p.Dir, optionsHeader))
		if err != nil {
			return err
		}
		change := map[string]patch.Version{optionsHeader: {Is: withOptions(string(text), s.options)}}
		said := "Options of patches\n\n" + s.options
		if head, err = w.commit(ctx, head, change, nil, &patch.Patch{}, strings.ReplaceAll(said, "#define", "define")); err != nil {
			return err
		}
	}
	for n, pt := range s.patches {
		if len(s.changed[n]) == 0 {
			continue
		}
		if head, err = w.commit(ctx, head, s.changed[n], s.gone[n], pt, message(a.Patches[n], pt)); err != nil {
			return err
		}
		a.Patches[n].Commit = head
	}
	if head == was {
		return nil
	}
	if err := p.Git().Run(ctx, "merge", "-q", "--ff-only", head); err != nil {
		return err
	}
	a.Applied = true
	return nil
}

// tried returns the last commit, if it has the files that the patches were tried on. The user can have made another meanwhile,
// which whole files of the copy would undo.
func tried(ctx context.Context, p *project.Project, s *series) (head string, err error) {
	const files = "HEAD^{tree}"
	copied, err := s.p.Git().Output(ctx, "rev-parse", files)
	if err != nil {
		return "", err
	}
	both, err := p.Git().Output(ctx, "rev-parse", "HEAD", files)
	if err != nil {
		return "", err
	}
	head, now, _ := strings.Cut(both, "\n")
	if now != copied {
		return "", anotherCommit(p, head)
	}
	return head, nil
}

func anotherCommit(p *project.Project, head string) error {
	return project.Errorf("%s: got another commit (%.12s) while the patches were tried: run it again", p.Dir, head)
}

// message is what a commit of a patch says: what the patch did, and which parts of it are missing.
func message(r *PatchReport, p *patch.Patch) string {
	text := p.Subject + "\n"
	if p.Body != "" {
		text += "\n" + p.Body + "\n"
	}
	if r.Whole {
		return text
	}
	text += "\nLeft out, for this kernel:\n"
	for _, part := range r.Parts {
		if part.Verdict.lacks() {
			text += "- " + part.String() + "\n"
		}
	}
	return text
}

// committer makes commits beside the working tree.
type committer struct{ git git.Tree }

// identify lets plugsched sign for users of whom git does not know who they are.
func (w *committer) identify(ctx context.Context) error {
	err := w.git.Run(ctx, "var", "GIT_COMMITTER_IDENT")
	if git.ExitCode(err) == 0 {
		return err
	}
	w.git = w.git.With("GIT_COMMITTER_NAME=plugsched", "GIT_COMMITTER_EMAIL=plugsched@localhost",
		"GIT_AUTHOR_NAME=plugsched", "GIT_AUTHOR_EMAIL=plugsched@localhost")
	return nil
}

// commit makes one, and returns its id.
func (w *committer) commit(ctx context.Context, parent string, change map[string]patch.Version, gone map[string]bool, by *patch.Patch,
	message string) (string, error) {
	for path, v := range change {
		if gone[path] {
			if err := w.git.Run(ctx, "update-index", "--force-remove", "--", path); err != nil {
				return "", err
			}
			continue
		}
		blob, err := w.git.Feed(ctx, []byte(v.Is), "hash-object", "-w", "--stdin")
		if err != nil {
			return "", err
		}
		if err := w.git.Run(ctx, "update-index", "--add", "--cacheinfo", "100644,"+blob+","+path); err != nil {
			return "", err
		}
	}
	tree, err := w.git.Output(ctx, "write-tree")
	if err != nil {
		return "", err
	}
	return w.git.With(authorOf(by)...).Feed(ctx, []byte(message), "-c", "commit.gpgsign=false", "commit-tree", tree, "-p", parent)
}

// authorOf are the variables by which git knows who made a patch, and when.
func authorOf(p *patch.Patch) (env []string) {
	who, err := mail.ParseAddress(p.Author)
	if err != nil {
		name, rest, ok := strings.Cut(p.Author, "<")
		address, _, _ := strings.Cut(rest, ">")
		if !ok || strings.TrimSpace(name) == "" || strings.ContainsAny(p.Author, "\n\x00") {
			return nil
		}
		who = &mail.Address{Name: strings.TrimSpace(name), Address: strings.TrimSpace(address)}
	}
	name := who.Name
	if name == "" {
		name = who.Address
	}
	env = []string{"GIT_AUTHOR_NAME=" + name, "GIT_AUTHOR_EMAIL=" + who.Address}
	when, err := mail.ParseDate(p.Date)
	for _, layout := range []string{"Mon Jan 2 15:04:05 2006 -0700", time.RFC3339, "2006-01-02 15:04:05 -0700"} {
		if err != nil {
			when, err = time.Parse(layout, p.Date)
		}
	}
	if err == nil {
		env = append(env, "GIT_AUTHOR_DATE="+when.Format("2006-01-02T15:04:05-07:00"))
	}
	return env
}
