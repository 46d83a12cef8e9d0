package upstream

import (
	"testing"
	"time"
)

// When the log is opened at the first attempt, begun must be closed no later than
// tried. A gateway that saw only tried would make its first clients reconnect.
func TestBegunIsClosedBeforeTried(t *testing.T) {
	for range 500 {
		b := newBoard(time.Now())
		go b.connected(time.Now(), "log")
		for tried := false; !tried; { // waiting would wake too late to see it
			select {
			case <-b.tried:
				tried = true
			default:
			}
		}
		select {
		case <-b.begun:
		default:
			t.Fatal("tried is closed before begun")
		}
	}
}
