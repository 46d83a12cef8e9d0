package upstream

import (
	"testing"
	"time"
)

// TestALogThatIsOpenedAtOnceHasBegunWhenItWasTried: a gateway that saw the one
// without the other would have its first clients connect anew.
func TestALogThatIsOpenedAtOnceHasBegunWhenItWasTried(t *testing.T) {
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
			t.Fatal("tried, and not begun")
		}
	}
}
