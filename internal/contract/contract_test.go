package contract

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/upstream/routes"
)

var word = regexp.MustCompile(`[a-zA-Z]+`)

// described returns the sorted field names of a body as the docs write it: {a, b}.
func described(body string) []string {
	list := word.FindAllString(body, -1)
	slices.Sort(list)
	return list
}

func TestTypesMatchTheDocumentedFields(t *testing.T) {
	for _, d := range rooms.ServerEventDocs() {
		if got, want := names(serverBodies[d.Name]), described(d.Body); !slices.Equal(got, want) {
			t.Errorf("%s has types of %q, and the members %q: add them to serverBodies in internal/contract/events.go", d.Name, got, want)
		}
	}
	if len(serverBodies) != len(rooms.ServerEventDocs()) || len(clientBodies) != len(rooms.ClientEventDocs()) {
		t.Errorf("types of %d and %d events, there are %d and %d", len(serverBodies), len(clientBodies), len(rooms.ServerEventDocs()), len(rooms.ClientEventDocs()))
	}
	for _, d := range rooms.ClientEventDocs() {
		if got, want := names(clientBodies[d.Name].body), described(d.Body); !slices.Equal(got, want) {
			t.Errorf("%s has types of %q, and the members %q: add them to clientBodies in internal/contract/events.go", d.Name, got, want)
		}
		for _, m := range clientBodies[d.Name].ack {
			if !strings.Contains(d.Ack, m.name+":") {
				t.Errorf("the answer to %s is %s, without %s", d.Name, d.Ack, m.name)
			}
		}
	}
}

func exampleTable(t *testing.T) *routes.Table {
	t.Helper()
	table, err := routes.LoadTable("../../deploy/routes.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestRoutesAndDeclaredEventsAreInTheDeclaration(t *testing.T) {
	text := TypeScript(exampleTable(t))
	for _, want := range []string{
		"\n  message_read(body: { conversationId: string | number; messageId?: unknown; socketId: string; userId: string | null; room: string; timestamp: string }): void;\n",
		"\n  mark_read(body: { conversationId: string | number; messageId?: unknown } & Record<string, unknown>, ack?: Ack<{ success: true }>): void;\n",
		"\n  trip_update(body: { timestamp: unknown } & Record<string, unknown>): void;\n",
		"\n  review_posted(body: { reviewId?: unknown; rating?: unknown; comment: unknown; type: string; timestamp: unknown }): void;\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the declaration lacks %s in\n%s", want, text)
		}
	}
}

// Every reference within the AsyncAPI and OpenAPI documents resolves, and the AsyncAPI
// document has the events of all tables.
func TestDocumentsAreComplete(t *testing.T) {
	for name, text := range map[string][]byte{"AsyncAPI": AsyncAPI(exampleTable(t), "1"), "OpenAPI": OpenAPI("1")} {
		var d any
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`"\$ref": "#/([^"]+)"`).FindAllSubmatch(text, -1) {
			at := d
			for key := range strings.SplitSeq(string(found[1]), "/") {
				at = at.(map[string]any)[key]
			}
			if at == nil {
				t.Errorf("%s refers to %s, which does not exist", name, found[1])
			}
		}
	}
	text := string(AsyncAPI(exampleTable(t), "1"))
	for _, want := range []string{"join_room", "user_joined", "mark_read", "message_read", "client.mark_read", "review.posted", "user.logout", "user.online", "room.vacated"} {
		if !strings.Contains(text, `"name": "`+want+`"`) {
			t.Errorf("%s is not in the AsyncAPI document", want)
		}
	}
}

// names returns the sorted names of members.
func names(members []member) (list []string) {
	for _, m := range members {
		list = append(list, m.name)
	}
	slices.Sort(list)
	return list
}
