package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const typedClient = `
import { io, type Socket } from "socket.io-client";
import type { ClientEvents, ServerEvents } from "./events";

const socket: Socket<ServerEvents, ClientEvents> = io("http://localhost:3002", { auth: { token: "…" } });
socket.on("new_message", ({ conversationId, messageId }) => socket.emit("mark_read", { conversationId, messageId }));
socket.on("message_read", ({ userId, room }) => console.log(userId?.toUpperCase(), room.length));
socket.on("user_typing", ({ userId }) => console.log(userId));
socket.emit("join_room", { roomType: "conversation", roomId: "42" }, (answer) => {
  if ("error" in answer) console.log(answer.error);
  else console.log(answer.members + 1);
});
// @ts-expect-error there is no such event
socket.emit("mark_unread", {});
// @ts-expect-error a room has an id
socket.emit("typing", { roomType: "conversation" });
// @ts-expect-error there is no such type of room
socket.emit("join_room", { roomType: "team", roomId: "42" });
`

// The AsyncAPI and OpenAPI documents of the console are valid. A TypeScript client
// compiles with its types, which include the events of the routes file.
func TestContractDocumentsAreValid(t *testing.T) {
	notOnReference(t, "it has no console")
	t.Parallel()
	g := start(t, "ROUTES_FILE="+absolute(t, "../../deploy/routes.example.yaml"))
	runCases(t, script(t, g, "default", caseArgs("documents.mjs")...))
	dir := t.TempDir()
	if err := os.Symlink(absolute(t, "js/node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	_, types, err := request(http.MethodGet, g.URL+"/console/events.d.ts", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "events.d.ts"), string(types))
	file := filepath.Join(dir, "client.ts")
	writeFile(t, file, typedClient)
	run(t, "node", absolute(t, "js/node_modules/typescript/bin/tsc"), "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler", file)
}

// The gateway serves each path and method of the OpenAPI document, and each status it
// returns is documented.
func TestOpenAPIPathsAreServed(t *testing.T) {
	notOnReference(t, "it has none of them")
	t.Parallel()
	g := start(t)
	_, text, err := request(http.MethodGet, g.URL+"/console/openapi.json", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct{ Responses map[string]any }
	}
	if err := json.Unmarshal(text, &document); err != nil || len(document.Paths) < 6 {
		t.Fatalf("%v: %s", err, text)
	}
	for path, methods := range document.Paths {
		for method, operation := range methods {
			where := strings.NewReplacer("{key}", "message.sent", "{id}", "42").Replace(path)
			status, body, err := request(strings.ToUpper(method), g.URL+where, http.Header{"Authorization": {"Bearer no"}}, "")
			if err != nil || strings.Contains(string(body), `"error":"Not found"`) {
				t.Errorf("%s %s: %d %s %v", method, where, status, body, err)
			}
			if operation.Responses[strconv.Itoa(status)] == nil {
				t.Errorf("%s %s: status %d, which the document does not list", method, where, status)
			}
		}
	}
}
