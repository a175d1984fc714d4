// SPDX-License-Identifier: BSD-3-Clause

package boot

import (
	"net"
	"os"
	"strings"
)

// Notify has `systemctl status` show a line (sd_notify(3)). Without systemd it does
// nothing, and an error of it is nobody's concern.
func Notify(status string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	c.Write([]byte("STATUS=" + strings.ReplaceAll(status, "\n", " ")))
}
