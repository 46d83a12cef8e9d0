package cluster

import "time"

// hear notes that this node has its lease and its subscription at began, and
// has its clients told when it was without for so long that the others went on
// and did not wait for it.
//
// That Redis was away for all of them is no such case: then events wait, and a
// crowd that connects anew is the last thing a cluster needs that has just
// recovered. But a session of another node that was there before is proof that
// Redis was not, for it lasts as long as an unbroken connection.
func (k *keeper) hear(leases map[int64]string, began, now time.Time) {
	if !k.heardAt.IsZero() && now.Sub(k.heardAt) >= k.c.config.Lease && k.othersLast(leases) {
		k.c.stats.gaps.Add(1)
		k.c.config.Log.Warn("this node was cut off from redis and has missed events: its clients are to connect anew",
			"since", k.heardAt)
		k.c.config.Missed()
	}
	k.heardAt = began
	clear(k.others)
	for s, text := range leases {
		if text != "" {
			k.others[s] = struct{}{}
		}
	}
}

func (k *keeper) othersLast(leases map[int64]string) bool {
	for s := range k.others {
		if leases[s] != "" {
			return true
		}
	}
	return false
}
