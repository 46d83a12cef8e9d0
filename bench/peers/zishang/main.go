// Command zishang offers the gateway's events over zishang520/socket.io, the
// port of the Node server to Go.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/zishang520/socket.io/servers/socket/v3"
)

const isoMillis = "2006-01-02T15:04:05.000Z"

func main() {
	if err := run(); err != nil {
		log.Fatalln("zishang:", err)
	}
}

func run() error {
	opts := socket.DefaultServerOptions()
	interval, err := millis("PING_INTERVAL", 25*time.Second)
	if err != nil {
		return err
	}
	timeout, err := millis("PING_TIMEOUT", time.Minute)
	if err != nil {
		return err
	}
	opts.SetPingInterval(interval)
	opts.SetPingTimeout(timeout)
	opts.SetServeClient(false)
	server := socket.NewServer(nil, opts)
	p := &peer{server: server, secret: []byte(os.Getenv("JWT_SECRET")), bearer: "Bearer " + os.Getenv("PUBLISH_TOKEN")}
	server.Use(p.authenticate)
	if err := server.On("connection", p.connected); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", server.ServeHandler(nil))
	mux.HandleFunc("POST /events/{key}", p.event)
	mux.HandleFunc("/health", func(http.ResponseWriter, *http.Request) {})
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux)
}

func millis(name string, fallback time.Duration) (time.Duration, error) {
	text := os.Getenv(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s=%q: %w", name, text, err)
	}
	return time.Duration(n) * time.Millisecond, nil
}

// A peer is the server: the Socket.IO server, the secret of the tokens and the
// token of services.
type peer struct {
	server *socket.Server
	secret []byte
	bearer string
}

func (p *peer) authenticate(s *socket.Socket, next func(*socket.ExtendedError)) {
	token, _ := s.Handshake().Auth["token"].(string)
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return p.secret, nil },
		jwt.WithValidMethods([]string{"HS256"}))
	if err != nil {
		next(socket.NewExtendedError("Authentication error: "+err.Error(), nil))
		return
	}
	s.SetData(fmt.Sprint(claims["id"]))
	next(nil)
}

func (p *peer) connected(args ...any) {
	s := args[0].(*socket.Socket)
	user := userOf(s)
	s.Join(socket.Room("user:" + user))
	for name, handle := range map[string]func(*socket.Socket, socket.Room) map[string]any{
		"join_room": join, "leave_room": leave, "typing": typing("user_typing"), "stop_typing": typing("user_stop_typing"),
	} {
		// Only a reserved name is refused, and none of these is.
		_ = s.On(name, func(args ...any) { answer(s, args, handle) })
	}
	_ = s.Emit("connected", map[string]any{"socketId": s.Id(), "userId": user, "message": "Connected"})
}

func userOf(s *socket.Socket) string {
	user, _ := s.Data().(string)
	return user
}

// answer finds the room that an event is about, and gives its ack what handle
// says.
func answer(s *socket.Socket, args []any, handle func(*socket.Socket, socket.Room) map[string]any) {
	var result map[string]any
	if room, err := roomOf(args); err != nil {
		result = map[string]any{"error": err.Error()}
	} else {
		result = handle(s, room)
	}
	if len(args) == 0 {
		return
	}
	if ack, ok := args[len(args)-1].(socket.Ack); ok {
		ack([]any{result}, nil)
	}
}

func roomOf(args []any) (socket.Room, error) {
	var body map[string]any
	if len(args) > 0 {
		body, _ = args[0].(map[string]any)
	}
	kind, _ := body["roomType"].(string)
	id, _ := body["roomId"].(string)
	switch {
	case kind == "" || id == "":
		return "", errors.New("Missing roomType or roomId")
	case kind != "conversation" && kind != "notification":
		return "", errors.New("Invalid roomType")
	}
	return socket.Room(kind + ":" + id), nil
}

func join(s *socket.Socket, room socket.Room) map[string]any {
	if !s.Rooms().Has(room) {
		s.Join(room)
		tell(s, room, "user_joined")
	}
	return map[string]any{"success": true, "message": "Joined room: " + string(room)}
}

func leave(s *socket.Socket, room socket.Room) map[string]any {
	if s.Rooms().Has(room) {
		s.Leave(room)
		tell(s, room, "user_left")
	}
	return map[string]any{"success": true, "message": "Left room: " + string(room)}
}

func typing(event string) func(*socket.Socket, socket.Room) map[string]any {
	return func(s *socket.Socket, room socket.Room) map[string]any {
		if !s.Rooms().Has(room) {
			return map[string]any{"error": "Not in room"}
		}
		tell(s, room, event)
		return map[string]any{"success": true}
	}
}

// tell sends an event about s to the others in the room.
func tell(s *socket.Socket, room socket.Room, event string) {
	emit(s.To(room), event, map[string]any{
		"socketId": s.Id(), "userId": userOf(s), "room": room, "timestamp": time.Now().UTC().Format(isoMillis),
	})
}

func emit(to *socket.BroadcastOperator, event string, body map[string]any) {
	if err := to.Emit(event, body); err != nil {
		log.Println(event, err)
	}
}

func (p *peer) event(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != p.bearer {
		http.Error(w, "{}", http.StatusUnauthorized)
		return
	}
	var body map[string]any
	err := json.NewDecoder(r.Body).Decode(&body)
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

func (p *peer) deliver(key string, e map[string]any) error {
	if e["timestamp"] == nil {
		e["timestamp"] = time.Now().UTC().Format(isoMillis)
	}
	switch key {
	case "message.sent":
		emit(p.server.To(room("conversation", e["conversationId"])), "new_message",
			only(e, "conversationId", "senderId", "recipientId", "message", "timestamp"))
	case "notification.created":
		emit(p.server.To(room("user", e["userId"])), "new_notification",
			only(e, "notificationId", "type", "title", "message", "data", "timestamp"))
	default:
		return fmt.Errorf("event %q: want message.sent or notification.created", key)
	}
	return nil
}

func room(kind string, id any) socket.Room {
	return socket.Room(kind + ":" + fmt.Sprint(id))
}

func only(e map[string]any, fields ...string) map[string]any {
	body := make(map[string]any, len(fields))
	for _, field := range fields {
		body[field] = e[field]
	}
	return body
}
