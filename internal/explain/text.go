package explain

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/hometrip/gateway/rooms"
)

// Text returns the answer as text.
func (a *Answer) Text() string {
	var b strings.Builder
	if e := a.Event; e != nil {
		fmt.Fprintf(&b, "event %s: %s\n", e.Offset, visible(e.text()))
	}
	for _, number := range a.Silent {
		fmt.Fprintf(&b, "node %s does not answer\n", number)
	}
	for _, trouble := range a.Trouble {
		fmt.Fprintf(&b, "%s\n", visible(trouble))
	}
	for i := range a.Nodes {
		if n := &a.Nodes[i]; !n.Gone {
			fmt.Fprintf(&b, "node %s at %s: has delivered the log %s up to %s\n", n.ID, n.Address, n.Log, base36(n.Position))
		}
	}
	if len(a.Connections) == 0 {
		fmt.Fprintf(&b, "no connection of user %s is known\n", visible(a.User))
	}
	for i := range a.Connections {
		a.Connections[i].text(&b)
	}
	return b.String()
}

// visible escapes characters that a terminal would interpret or hide: names of
// users, rooms and keys come from outside.
func visible(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

func (e *Event) text() string {
	if !e.Found {
		return e.Trouble
	}
	text := e.Key
	if e.Name != "" {
		text += fmt.Sprintf(", %s for %s", e.Name, strings.Join(e.Rooms, ", "))
	}
	if !e.Published.IsZero() {
		text += ", published " + clock(e.Published)
	}
	if e.Trouble != "" {
		text += ": " + e.Trouble
	}
	return text
}

func (c *Connection) text(b *strings.Builder) {
	fmt.Fprintf(b, "\nsocket %s on node %s: %s\n", c.Socket, c.Node, c.State)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(b, "  %-10s %s\n", name, visible(fmt.Sprintf(format, args...)))
	}
	if c.Verdict != "" {
		line("got it", "%s: %s", c.Verdict, c.Why)
	}
	if c.Session != "" {
		line("session", "%s", c.Session)
	}
	if c.Transport != "" {
		since := ""
		if !c.Since.IsZero() {
			since = ", since " + clock(c.Since)
		}
		line("connection", "%s from %s%s", c.Transport, c.Address, since)
	}
	if r := c.Return; r != nil {
		line("came back", "%s: %s", clock(r.At), returnText(r))
	}
	if e := c.End; e != nil && !e.Orphan {
		line("ended", "%s: %s%s", clock(e.At), e.Reason, c.future())
	}
	line("given", "everything for it up to %s", base36(c.Given))
	for _, r := range c.Rooms {
		line("room", "%s", roomText(&r))
	}
	if c.Cut {
		line("room", "more, which are not kept")
	}
}

func (c *Connection) future() string {
	switch {
	case c.State == Away:
		return "; the client may come back until " + clock(c.End.Until)
	case c.End.Final:
		return "; nobody can come back to it"
	}
	return ""
}

func roomText(r *rooms.StayRoom) string {
	text := r.Name
	if r.Known {
		text += ", joined at " + base36(r.From)
	}
	if r.To != 0 {
		text += fmt.Sprintf(", left at %s: %s", base36(r.To), r.Why)
	}
	return text
}

func returnText(r *rooms.StayReturn) string {
	if r.Result != rooms.RecoveryDone.String() {
		return fmt.Sprintf("not recovered: %s (session %s, offset %q)", r.Result, r.Session, r.Offset)
	}
	return fmt.Sprintf("recovered; it had everything up to %s and was replayed %d events up to %s", base36(r.From), r.Events, base36(r.Through))
}
