package main

import (
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/config"
)

// memoName is the name of a memo among the descriptors in /proc/PID/fd.
const memoName = "gateway-settings"

// A memo publishes the settings in effect to "gateway doctor": in a memfd,
// which only processes that may read this process's memory can open. Owned by
// the reloader.
type memo struct{ file *os.File } // nil when there is none

func newMemo(log *slog.Logger) *memo {
	fd, err := unix.MemfdCreate(memoName, unix.MFD_CLOEXEC)
	if err == nil {
		err = unix.Fchmod(fd, 0o600)
	}
	if err != nil {
		log.Debug("gateway doctor cannot read the settings of this process", "error", err)
		return &memo{}
	}
	return &memo{os.NewFile(uintptr(fd), memoName)}
}

// write replaces the content by NAME=value, each followed by a zero byte.
func (m *memo) write(cfg *config.Config) {
	if m.file == nil {
		return
	}
	var b strings.Builder
	for _, s := range config.Settings() {
		b.WriteString(s.Name + "=" + s.Text(cfg) + "\x00")
	}
	_ = m.file.Truncate(0)
	_, _ = m.file.WriteAt([]byte(b.String()), 0)
}

func (m *memo) close() {
	if m.file != nil {
		m.file.Close()
	}
}
