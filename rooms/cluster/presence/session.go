package presence

import (
	"strconv"
	"time"

	"github.com/hometrip/gateway/rooms/cluster/wire"
)

// Steady reports whether no command has failed for a duration.
func (n *Core) Steady(d time.Duration, now time.Time) bool {
	return !n.steady.IsZero() && now.Sub(n.steady) >= d
}

// Lost records that Redis may have lost what was written: the connection was
// lost, or the database flushed.
func (n *Core) Lost(now time.Time) { n.fail(now) }

// fail makes this node begin the next session when Redis answers again.
func (n *Core) fail(now time.Time) {
	n.failed, n.steady = true, time.Time{}
	n.retry = now.Add(n.retries.Next())
	n.renewal = time.Time{}
	n.sweep.stop()
}

// begin begins the next session, for which all counts are written again.
func (n *Core) begin(now time.Time) {
	if n.known { // otherwise nothing was written in it
		n.former = append(n.former, n.session)
		n.former = n.former[max(0, len(n.former)-maxFormer):]
	}
	n.session++
	n.Stats.Sessions++
	n.known, n.failed, n.renewal = false, false, time.Time{}
	n.sweep.stop()
	n.window.Reset()
	for _, r := range n.all {
		if !r.flying {
			n.enqueue(r)
		}
	}
}

func (n *Core) sessionName(session uint64) string {
	return n.c.Node + "." + strconv.FormatUint(session, 36)
}

// renews fills a batch with the renewal of the lease.
func (n *Core) renews(f *flight, b *Batch, now time.Time) bool {
	if now.Before(n.renewal) || n.under(renewals) || n.under(farewell) {
		return false
	}
	if n.failed {
		n.begin(now)
	}
	f.what, f.session = renewals, n.session
	sweeps := n.Steady(n.c.Lease, now) && n.sweep.session == "" && len(n.forgets) == 0 && !n.under(forgotten)
	args := []string{n.sessionName(n.session), wire.Decimal(n.c.Lease.Milliseconds()), bit(n.known), bit(sweeps)}
	for _, s := range n.former {
		args = append(args, n.sessionName(s))
	}
	b.Commands = []Command{n.script(renew, []string{n.sessionsKey(), n.lockKey()}, args...)}
	return true
}

func (n *Core) tookRenewal(f *flight, replies []wire.Reply, err error, now time.Time) {
	switch {
	case err != nil || f.session != n.session:
	case replies[0].Text == "gone":
		n.begin(now)
	default:
		n.known, n.renewed = true, f.sent
		if n.steady.IsZero() {
			n.steady = now
		}
		n.renewal = f.sent.Add(n.c.Lease / renewalsPerLease) // so a late Redis does not make renewals rarer than its replies
		if dead := replies[0].Text; dead != "" {
			n.sweep.start(dead, 0)
		} else if n.sweep.session == "" && len(n.former) > 0 && n.registered() {
			n.sweep.start(n.sessionName(n.former[0]), n.c.Grace)
		}
	}
}

// registered reports whether Redis has the counts of all rooms.
func (n *Core) registered() bool {
	return n.known && !n.failed && len(n.queue) == 0 && n.inFlights == 0
}
