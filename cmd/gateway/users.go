package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/hometrip/gateway/codec"
	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster"
	"github.com/hometrip/gateway/rooms/cluster/presence"
	"github.com/hometrip/gateway/upstream/publish"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

const (
	maxAskedUsers   = 1000    // users of one POST /users
	maxUsersBody    = 2 << 20 // bytes of it
	usersAskTimeout = 2 * time.Second
)

// A presenceOutlet publishes events of presence to services: the port
// cluster.PresencePublisher.
type presenceOutlet struct{ *rabbitmq.Outlet }

// Publish implements cluster.PresencePublisher.
func (o presenceOutlet) Publish(e presence.Event, done func(error)) bool {
	return o.Outlet.Publish(rabbitmq.Message{Key: e.Key, ID: e.ID, Type: e.Key, Body: e.Body(), Published: e.At}, done)
}

// openPresence opens the presence, if it is enabled.
func (g *Gateway) openPresence() {
	cfg := g.cfg()
	if !cfg.Presence.Events {
		return
	}
	g.presenceOutlet = rabbitmq.NewOutlet(rabbitmq.OutletConfig{
		Addresses: cfg.RabbitMQAddresses(), Exchange: cfg.Presence.Exchange, Purpose: "presence", Eager: true, Logger: g.log,
	})
	g.presence = g.cluster.Presence(cluster.PresenceConfig{
		Grace: cfg.Recovery.PresenceGrace, LastSeen: cfg.Presence.LastSeen, Publisher: presenceOutlet{g.presenceOutlet},
	})
}

// presencePort returns the presence as a rooms.Presence, nil if there is none.
func (g *Gateway) presencePort() rooms.Presence {
	if g.presence == nil {
		return nil
	}
	return g.presence
}

// A userState is the state of a user in the answer to a service.
type userState struct {
	UserID   string     `json:"userId"`
	Online   bool       `json:"online"`
	Sockets  int        `json:"sockets"`
	Nodes    int        `json:"nodes"`
	Since    *time.Time `json:"since"`    // null: not online
	LastSeen *time.Time `json:"lastSeen"` // null: online, or not known
}

func newUserState(id string, u presence.User) userState {
	s := userState{UserID: id, Online: u.Sockets > 0, Sockets: u.Sockets, Nodes: u.Nodes}
	if !u.Since.IsZero() {
		s.Since = &u.Since
	}
	if !u.LastSeen.IsZero() {
		s.LastSeen = &u.LastSeen
	}
	return s
}

// registerUsers adds the endpoints for services about users.
func (g *Gateway) registerUsers(mux *http.ServeMux) {
	access := publish.Access{Token: g.cfg().Events.PublishToken, Local: !g.cfg().Deployed()}
	guarded := func(serve http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if access.Refused(w, r) {
				return
			}
			if g.presence == nil {
				writeJSON(w, http.StatusNotFound, map[string]string{"error": "not known: PRESENCE_EVENTS=true has the gateway keep who is online"})
				return
			}
			serve(w, r)
		}
	}
	mux.HandleFunc("GET /users/{id}", guarded(g.handleUser))
	mux.HandleFunc("POST /users", guarded(g.handleUsers))
}

func (g *Gateway) handleUser(w http.ResponseWriter, r *http.Request) {
	states, ok := g.userStates(w, r, []string{r.PathValue("id")})
	if ok {
		writeJSON(w, http.StatusOK, states[0])
	}
}

// handleUsers answers a request about many users.
func (g *Gateway) handleUsers(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Users []json.RawMessage `json:"users"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxUsersBody)).Decode(&ask)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": `want {"users": [id, …]}: ` + err.Error()})
		return
	}
	if len(ask.Users) > maxAskedUsers {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf("%d users, at most %d are allowed", len(ask.Users), maxAskedUsers)})
		return
	}
	ids := make([]string, len(ask.Users))
	for i, value := range ask.Users {
		id, ok := codec.ID(value)
		if !ok {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf("%.40s is no user id: want a text or a number", value)})
			return
		}
		ids[i] = string(id)
	}
	if states, ok := g.userStates(w, r, ids); ok {
		writeJSON(w, http.StatusOK, map[string]any{"users": states})
	}
}

// userStates reads the state of users. If Redis does not answer, it sends an
// error to the client.
func (g *Gateway) userStates(w http.ResponseWriter, r *http.Request, ids []string) ([]userState, bool) {
	ctx, cancel := context.WithTimeout(r.Context(), usersAskTimeout)
	defer cancel()
	list, err := g.presence.Users(ctx, ids)
	if err != nil {
		w.Header().Set("Retry-After", "1")
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": "Redis does not tell: " + err.Error()})
		return nil, false
	}
	states := make([]userState, len(ids))
	for i, u := range list {
		states[i] = newUserState(ids[i], u)
	}
	return states, true
}
