package loop

import (
	"fmt"
	"log/slog"
)

// A gnetLogger passes what gnet has to say on to the gateway's log. Safe for
// concurrent use.
type gnetLogger struct{ log *slog.Logger }

func (l *gnetLogger) Debugf(format string, args ...any) { l.say(l.log.Debug, format, args) }
func (l *gnetLogger) Infof(format string, args ...any)  { l.say(l.log.Debug, format, args) }
func (l *gnetLogger) Warnf(format string, args ...any)  { l.say(l.log.Warn, format, args) }
func (l *gnetLogger) Errorf(format string, args ...any) { l.say(l.log.Error, format, args) }

// Fatalf reports; the engine's end is what ends the process.
func (l *gnetLogger) Fatalf(format string, args ...any) { l.say(l.log.Error, format, args) }

func (l *gnetLogger) say(log func(string, ...any), format string, args []any) {
	log("gnet: " + fmt.Sprintf(format, args...))
}
