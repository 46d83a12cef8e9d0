package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// recoveryWindow is how long a client may be away: RECOVERY_WINDOW.
const recoveryWindow = 2 * time.Minute

// leastRecovered is how many of the returns within the window must be recovered,
// of a thousand.
const leastRecovered = 999

// A session is what a client has without being told that it was not recovered:
// one connection after the other.
type session struct {
	stays  []*stay
	joined time.Duration // the room, as far as the client knows; never: it has not
	result string        // why the client was not recovered to the session before; "": it did not come back
}

// sessions divides a client's connections.
func (c *client) sessions() (list []*session) {
	for _, s := range c.stays {
		if !s.recovered {
			list = append(list, &session{joined: never, result: s.result})
		}
		last := list[len(list)-1]
		last.stays = append(last.stays, s)
		last.joined = min(last.joined, s.joined)
	}
	return list
}

func (s *session) began() time.Duration { return s.stays[0].asked }

func (s *session) ended() time.Duration { return s.stays[len(s.stays)-1].ended }

func (s *session) highest() int {
	highest := -1
	for _, st := range s.stays {
		for _, r := range st.got {
			highest = max(highest, r.number)
		}
	}
	return highest
}

// returns counts the connections of clients that came back with a pid.
type returns struct {
	all     int
	within  tally // RECOVERY_WINDOW
	dead    tally // of these, after their gateway was killed
	apart   tally // of these within, while one of the two gateways was cut off from Redis, or Redis had a fault
	results map[string]int
}

// A tally is a number of returns, and how many of these were recovered.
type tally struct{ returns, recovered int }

func (t *tally) count(recovered bool) {
	t.returns++
	if recovered {
		t.recovered++
	}
}

func (t tally) String() string {
	return fmt.Sprintf("%d of %d (%.2f %%)", t.recovered, t.returns, 100*float64(t.recovered)/float64(max(t.returns, 1)))
}

// enough reports whether as many were recovered as must be. Redis has the only
// record of a session whose gateway was killed, so those are left out for which
// Redis had a fault, too.
func (r *returns) enough() bool {
	whole := tally{r.within.returns - r.apart.returns, r.within.recovered - r.apart.recovered}
	return whole.recovered*1000 >= whole.returns*leastRecovered
}

// back looks at a return.
func (j *judge) back(c *client, now *stay) {
	before, r := c.before(now), &j.returns
	result := now.result
	if now.recovered {
		result = "recovered"
	}
	if r.results == nil {
		r.results = make(map[string]int)
	}
	r.all++
	r.results[result]++
	if result == unsaid {
		j.accuse(j.during(now.asked), "%s was not recovered by gateway %d at %s, which has not said why", c.user, now.node, seconds(now.asked))
	}
	if now.asked-before.ended > recoveryWindow {
		return
	}
	r.within.count(now.recovered)
	if j.apart(before, now) {
		r.apart.count(now.recovered)
	}
	round := j.endedBy(before)
	if round == nil {
		return
	}
	round.returns.count(now.recovered)
	if round.kills(before.node) {
		r.dead.count(now.recovered)
	}
}

// apart reports whether Redis had a fault, or the way to it of one of two
// gateways, when a client went from one to the other, or shortly before.
func (j *judge) apart(before, now *stay) bool {
	for _, r := range j.rounds {
		for _, h := range r.faults {
			mine := h.to == theRedis || h.to == redisWay && (h.node == before.node || h.node == now.node)
			if mine && h.began <= now.asked && before.ended <= r.over {
				return true
			}
		}
	}
	return false
}

// before returns the connection before s, which is not the first.
func (c *client) before(s *stay) (last *stay) {
	for _, other := range c.stays {
		if other == s {
			return last
		}
		last = other
	}
	return nil
}

// kills reports whether a gateway was killed in the round.
func (r *round) kills(node int) bool {
	for _, h := range r.faults {
		if h.node == node && strings.HasPrefix(h.name, "kill -9") && h.to == aGateway {
			return true
		}
	}
	return false
}

// unsaid is the result of a client that was not recovered when no gateway has
// logged why.
const unsaid = "no reason"

// A telling is a line of a gateway's log about a client that came back.
type telling struct {
	Msg, User, Result string
	Time              time.Time
}

// explain fills in why clients were not recovered, from the logs of their
// gateways.
func (s *scenario) explain() error {
	for i, n := range s.cluster.nodes {
		told, err := n.tellings()
		if err != nil {
			return err
		}
		for _, c := range s.clients {
			for _, st := range c.stays {
				if st.node == i && st.returned && !st.recovered {
					st.result = s.whyNot(told[c.user], st)
				}
			}
		}
	}
	return nil
}

// whyNot finds the line that was logged while the client connected.
func (s *scenario) whyNot(told []telling, st *stay) string {
	why := unsaid
	for _, line := range told {
		at := line.Time.Sub(s.clock.began)
		if line.Result != "recovered" && at > st.dialed-logSlack && at < st.asked+logSlack {
			why = line.Result
		}
	}
	return why
}

// logSlack is how much the time of a line may differ: it has milliseconds.
const logSlack = 100 * time.Millisecond

// tellings are the lines of a gateway, all its processes, by user.
func (n *node) tellings() (map[string][]telling, error) {
	paths, err := filepath.Glob(filepath.Join(n.dir, "start-*", "output.log"))
	if err != nil {
		return nil, err
	}
	told := make(map[string][]telling)
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var t telling
			if strings.Contains(lines.Text(), "a client has come back") && json.Unmarshal(lines.Bytes(), &t) == nil {
				told[t.User] = append(told[t.User], t)
			}
		}
		f.Close()
	}
	return told, nil
}
