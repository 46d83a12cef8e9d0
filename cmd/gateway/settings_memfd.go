package main

import (
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/config"
)

// settingsMemfdName is the name of a settingsMemfd among the descriptors in /proc/PID/fd.
const settingsMemfdName = "gateway-settings"

// A settingsMemfd publishes the settings in effect for "gateway doctor", in a
// memfd that only processes that may read this process's memory can open. Owned
// by the reloader.
type settingsMemfd struct{ file *os.File } // nil when there is none

func newSettingsMemfd(log *slog.Logger) *settingsMemfd {
	fd, err := unix.MemfdCreate(settingsMemfdName, unix.MFD_CLOEXEC)
	if err == nil {
		err = unix.Fchmod(fd, 0o600)
	}
	if err != nil {
		log.Debug("gateway doctor cannot read the settings of this process", "error", err)
		return &settingsMemfd{}
	}
	return &settingsMemfd{os.NewFile(uintptr(fd), settingsMemfdName)}
}

// write replaces the content by NAME=value, each followed by a zero byte.
func (m *settingsMemfd) write(cfg *config.Config) {
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

func (m *settingsMemfd) close() {
	if m.file != nil {
		m.file.Close()
	}
}
