package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hometrip/gateway/internal/explain"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/eventlog"
)

const (
	// explainNodesTimeout is how long the other nodes may take to answer.
	explainNodesTimeout = 3 * time.Second

	// explainWithin is how long a request may take, the log and Redis included.
	explainWithin = 9 * time.Second

	maxExplainedUser = 256 // bytes
)

// A nodeAnswer is a node's answer about a user, as JSON.
type nodeAnswer struct {
	explain.Node
	Stays []rooms.Stay `json:"stays"`
}

// A nodeQuestion is a question to the other nodes, as JSON.
type nodeQuestion struct {
	User string `json:"user"`
}

// handleExplain answers GET /explain/{user}: what all nodes know of a user's
// connections, and with ?position= whether they were given that event.
func (g *Gateway) handleExplain(w http.ResponseWriter, r *http.Request) {
	user := r.PathValue("user")
	if len(user) > maxExplainedUser {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf("a user id of %d bytes, at most %d are allowed", len(user), maxExplainedUser)})
		return
	}
	log, position, err := parsePosition(r.URL.Query().Get("position"))
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), explainWithin)
	defer cancel()
	nodes, silent, trouble := g.askNodes(ctx, user)
	var event *explain.Event
	if position != 0 {
		event = g.lookAt(ctx, log, position)
	}
	answer := explain.Explain(user, nodes, event)
	answer.Silent, answer.Trouble = silent, trouble
	writeJSON(w, http.StatusOK, answer)
}

// parsePosition parses a position in the form of the gateway's log and of the
// answer to POST /events, or the offset of a client; "": none.
func parsePosition(text string) (log string, p eventlog.Position, err error) {
	switch o, ok := rooms.ParseOffset(text); {
	case text == "":
		return "", 0, nil
	case ok && o.Position > 0:
		return o.Log, eventlog.Position(o.Position), nil
	}
	p, ok := eventlog.ParsePosition(text)
	if !ok {
		return "", 0, fmt.Errorf("%.40q is no position: want one such as 1z, or an offset such as k3f9a.1z", text)
	}
	return "", p, nil
}

// lookAt describes the event at a position.
func (g *Gateway) lookAt(ctx context.Context, log string, p eventlog.Position) *explain.Event {
	e := &explain.Event{Position: uint64(p), Offset: p.String(), Log: log}
	s, err := g.consumer.Look(ctx, log, p)
	if err != nil {
		e.Trouble = err.Error()
		return e
	}
	e.Offset, e.Log = eventlog.Offset{Log: s.Log, Position: p}.String(), s.Log
	e.Found, e.Key, e.Name, e.Rooms, e.Published = s.Found, s.Key, s.Event, s.Rooms, s.Published
	e.Volatile, e.Latest, e.Trouble = s.Volatile, s.Latest, s.Trouble
	return e
}

// askNodes collects what this node, the other nodes and Redis know of a user.
// silent has the numbers of the nodes that did not answer in time.
func (g *Gateway) askNodes(ctx context.Context, user string) (nodes []explain.Node, silent, trouble []string) {
	own, err := g.ownAnswer(ctx, user)
	if err != nil {
		trouble = append(trouble, "this node: its event loops do not answer: "+err.Error())
	}
	nodes = append(nodes, own)
	if g.cluster == nil {
		return nodes, nil, trouble
	}
	question, _ := json.Marshal(nodeQuestion{user}) // never fails
	asking, cancel := context.WithTimeout(ctx, explainNodesTimeout)
	defer cancel()
	answers, numbers, err := g.cluster.Ask(asking, question)
	if err != nil {
		return nodes, nil, append(trouble, "the other nodes cannot be asked: "+err.Error())
	}
	for _, text := range answers {
		var k nodeAnswer
		if json.Unmarshal(text, &k) == nil {
			k.Node.Stays = k.Stays
			nodes = append(nodes, k.Node)
		}
	}
	for _, number := range numbers {
		silent = append(silent, strconv.FormatUint(uint64(number), 10))
	}
	gone, err := g.orphanedSessions(ctx, user, nodes)
	if err != nil {
		trouble = append(trouble, err.Error())
	}
	return append(nodes, gone...), silent, trouble
}

// orphanedSessions returns the sessions that Redis has but no node's answer:
// their nodes have ended, or do not answer.
func (g *Gateway) orphanedSessions(ctx context.Context, user string, nodes []explain.Node) (gone []explain.Node, err error) {
	known := make(map[string]bool)
	for i := range nodes {
		for k := range nodes[i].Stays {
			known[nodes[i].Stays[k].Session] = true
		}
	}
	records, err := g.cluster.Records(ctx, user)
	for _, r := range records {
		stay := r.Stay()
		if known[stay.Session] {
			continue
		}
		if r.Ended {
			stay.End.Until = r.At.Add(g.cfg().Recovery.Window)
		}
		gone = append(gone, explain.Node{ID: r.Node, Name: r.Node, Gone: true, Stays: []rooms.Stay{stay}})
	}
	return gone, err
}

// ownAnswer returns what this node knows of a user.
func (g *Gateway) ownAnswer(ctx context.Context, user string) (explain.Node, error) {
	n := explain.Node{ID: "this", Address: g.server.Addr()}
	if g.cluster != nil {
		n.ID, n.Name = g.cluster.Number(), g.cluster.Name()
	}
	stays, state, err := g.hub.Stays(ctx, user)
	n.Stays, n.Log, n.Position = stays, state.Log, state.Position
	return n, err
}

// answerNode answers the question of another node.
func (g *Gateway) answerNode(ctx context.Context, question []byte) []byte {
	var q nodeQuestion
	if json.Unmarshal(question, &q) != nil {
		return []byte("null")
	}
	n, err := g.ownAnswer(ctx, q.User)
	if err != nil {
		return []byte("null")
	}
	text, _ := json.Marshal(nodeAnswer{n, n.Stays}) // never fails
	return text
}
