package loop

import (
	"fmt"
	"log/slog"
)

// A gnetLogger writes gnet's log messages to the gateway's log. Safe for
// concurrent use.
type gnetLogger struct{ log *slog.Logger }

func (l *gnetLogger) Debugf(format string, args ...any) { l.say(l.log.Debug, format, args) }
func (l *gnetLogger) Infof(format string, args ...any)  { l.say(l.log.Debug, format, args) }
func (l *gnetLogger) Errorf(format string, args ...any) { l.say(l.log.Error, format, args) }

// Warnf gets one message on Linux: an event for a connection that this round of
// epoll has closed already. There are hundreds when many clients disconnect.
func (l *gnetLogger) Warnf(format string, args ...any) { l.say(l.log.Debug, format, args) }

// Fatalf only logs; the process ends when the engine's Run returns.
func (l *gnetLogger) Fatalf(format string, args ...any) { l.say(l.log.Error, format, args) }

func (l *gnetLogger) say(log func(string, ...any), format string, args []any) {
	log("gnet: " + fmt.Sprintf(format, args...))
}
