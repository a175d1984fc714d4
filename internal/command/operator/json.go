// SPDX-License-Identifier: BSD-3-Clause

package operator

import (
	"plugsched/internal/operate/boot"
	"plugsched/internal/operate/top"
	"plugsched/scx"
)

// JSON is what the commands print with --json, an empty one of each, by the command's
// name. docs/operate/json.md is held against it.
func JSON() map[string]any {
	s := state{}
	return map[string]any{"install": s, "try": s, "confirm": s, "reject": s, "uninstall": s, "status": s,
		"list": packages{}, "history": entries{}, "doctor": diagnosis{}, "guard": boot.Guard{},
		"scx status": scx.Snapshot{}, "top": top.Frame{}}
}
