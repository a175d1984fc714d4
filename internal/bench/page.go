package bench
import "io"
func (r *Result) Page(w io.Writer) error { return nil }
func (r *Result) Markdown(w io.Writer) error { return nil }
