package load

import "golang.org/x/sys/unix"

// churner is the phase in which slots connect, authenticate and go, over and
// over: two of three say goodbye first, the third just closes.
type churner struct {
	l      *Loop
	args   ChurnArgs
	until  int64 // ns
	live   int
	again  []int32 // slots to dial in the next tick
	cycles uint64
	failed uint64
	times  recorder
}

func newChurner(l *Loop, args ChurnArgs) *churner {
	k := &churner{l: l, args: args, times: newRecorder()}
	for i := args.First; i < args.Last; i++ {
		k.again = append(k.again, i)
	}
	k.until = clock() + int64(args.For)
	return k
}

func (k *churner) tick(now int64) (int64, bool) {
	if now < k.until {
		for _, i := range k.again {
			k.live++
			if err := k.l.dial(i); err != nil {
				k.l.problem("%v", err)
				k.live--
				k.failed++
			}
		}
		k.again = k.again[:0]
	}
	if k.live == 0 && now >= k.until {
		return 0, true
	}
	return never, now-max(k.l.now, k.until) > int64(giveUpAfter)
}

func (k *churner) connected(c *conn) {
	k.times.add(k.l.now - c.at)
	k.cycles++
	k.live--
	if k.cycles%3 != 0 {
		k.l.minter.packet = k.l.dialect.appendGoodbye(k.l.minter.packet[:0])
		k.l.emit(c, k.l.minter.packet)
	}
	if c.step != stepClosed {
		k.again = append(k.again, k.l.indexOf(c))
		// A reset would lose the goodbye; a FIN leaves TIME_WAIT here, which
		// the many source addresses make room for.
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
		k.l.drop(c)
	}
}

func (k *churner) closed(c *conn, was step) {
	if was < stepReady {
		k.live--
		k.failed++
	}
	k.again = append(k.again, k.l.indexOf(c))
}

func (k *churner) finish(r *Result) {
	r.Units, r.Events = k.cycles, k.cycles
	r.Lost = k.failed
	r.Latency = k.times.h.Export()
}

func (k *churner) event(*conn, eventName, []byte) {}
func (k *churner) ack(*conn, []byte)              {}
