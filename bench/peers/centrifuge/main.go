// Command centrifuge offers the gateway's events over centrifugal/centrifuge,
// in that library's own JSON protocol: a join is a subscription to the room's
// channel, a typing an RPC, user:{id} a server-side subscription. A sender
// hears its own typing, which this library cannot leave out.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/golang-jwt/jwt/v5"
)

const isoMillis = "2006-01-02T15:04:05.000Z"

func main() {
	if err := run(); err != nil {
		log.Fatalln("centrifuge:", err)
	}
}

func run() error {
	node, err := centrifuge.New(centrifuge.Config{ClientChannelLimit: 1024})
	if err != nil {
		return err
	}
	ping, err := strconv.Atoi(os.Getenv("PING_INTERVAL"))
	if err != nil {
		return fmt.Errorf("PING_INTERVAL=%q: %w", os.Getenv("PING_INTERVAL"), err)
	}
	p := &peer{node: node, secret: []byte(os.Getenv("JWT_SECRET"))}
	node.OnConnecting(p.connecting)
	node.OnConnect(p.connected)
	if err := node.Run(); err != nil {
		return err
	}
	interval := time.Duration(ping) * time.Millisecond
	websocket := centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		CheckOrigin:        func(*http.Request) bool { return true },
		UseWriteBufferPool: true,
		WriteTimeout:       time.Minute, // as patient with slow readers as the others
		PingPongConfig:     centrifuge.PingPongConfig{PingInterval: interval, PongTimeout: interval / 2},
	})
	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", websocket)
	mux.HandleFunc("POST /events/{key}", p.event)
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux)
}

// A peer is the server: the node of centrifuge, and the secret of the tokens.
type peer struct {
	node   *centrifuge.Node
	secret []byte
}

func (p *peer) connecting(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(e.Token, claims, func(*jwt.Token) (any, error) { return p.secret, nil },
		jwt.WithValidMethods([]string{"HS256"}))
	if err != nil {
		return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
	}
	user := fmt.Sprint(claims["id"])
	return centrifuge.ConnectReply{
		Credentials:   &centrifuge.Credentials{UserID: user},
		Subscriptions: map[string]centrifuge.SubscribeOptions{"user:" + user: {}},
	}, nil
}

func (p *peer) connected(client *centrifuge.Client) {
	client.OnSubscribe(func(e centrifuge.SubscribeEvent, reply centrifuge.SubscribeCallback) {
		reply(centrifuge.SubscribeReply{}, nil)
		p.tell(client, e.Channel, "user_joined")
	})
	client.OnUnsubscribe(func(e centrifuge.UnsubscribeEvent) { p.tell(client, e.Channel, "user_left") })
	client.OnRPC(func(e centrifuge.RPCEvent, reply centrifuge.RPCCallback) {
		var body struct{ RoomType, RoomID string }
		if err := json.Unmarshal(e.Data, &body); err != nil || body.RoomID == "" {
			reply(centrifuge.RPCReply{}, centrifuge.ErrorBadRequest)
			return
		}
		room := body.RoomType + ":" + body.RoomID
		if !client.IsSubscribed(room) {
			reply(centrifuge.RPCReply{}, centrifuge.ErrorPermissionDenied)
			return
		}
		p.tell(client, room, "user_"+e.Method)
		reply(centrifuge.RPCReply{Data: []byte(`{"success":true}`)}, nil)
	})
}

// change is user_joined, user_left, user_typing and user_stop_typing.
type change struct {
	Event     string `json:"event"`
	SocketID  string `json:"socketId"`
	UserID    string `json:"userId"`
	Room      string `json:"room"`
	Timestamp string `json:"timestamp"`
}

func (p *peer) tell(client *centrifuge.Client, room, event string) {
	p.publish(room, change{event, client.ID(), client.UserID(), room, time.Now().UTC().Format(isoMillis)})
}

func (p *peer) publish(room string, body any) {
	data, err := json.Marshal(body)
	if err == nil {
		_, err = p.node.Publish(room, data)
	}
	if err != nil {
		log.Println("publish:", err)
	}
}

// A message is what clients get of message.sent.
type message struct {
	Event          string `json:"event"`
	ConversationID string `json:"conversationId"`
	SenderID       string `json:"senderId"`
	RecipientID    string `json:"recipientId"`
	Message        string `json:"message"`
	Timestamp      string `json:"timestamp"`
}

// A notification is what clients get of notification.created.
type notification struct {
	Event          string          `json:"event"`
	UserID         string          `json:"userId,omitempty"`
	NotificationID string          `json:"notificationId"`
	Type           string          `json:"type"`
	Title          string          `json:"title"`
	Message        string          `json:"message"`
	Data           json.RawMessage `json:"data"`
	Timestamp      string          `json:"timestamp"`
}

func (p *peer) event(w http.ResponseWriter, r *http.Request) {
	if strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") != os.Getenv("PUBLISH_TOKEN") {
		http.Error(w, "{}", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = p.deliver(r.PathValue("key"), body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"rooms":1}`)
}

func (p *peer) deliver(key string, body []byte) error {
	switch key {
	case "message.sent":
		m := message{Event: "new_message"}
		if err := json.Unmarshal(body, &m); err != nil {
			return err
		}
		p.publish("conversation:"+m.ConversationID, m)
	case "notification.created":
		n := notification{Event: "new_notification"}
		if err := json.Unmarshal(body, &n); err != nil {
			return err
		}
		user := n.UserID
		n.UserID = ""
		p.publish("user:"+user, n)
	default:
		return fmt.Errorf("event %q: want message.sent or notification.created", key)
	}
	return nil
}
