package publish

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hometrip/gateway/upstream/routes"
)

func TestBadJSONIsRefusedWithLineAndColumn(t *testing.T) {
	table, err := routes.NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &Publisher{Table: table, MaxBody: 100_000, Token: "t"}
	for body, want := range map[string]string{
		"":                                     "the body is empty",
		"{ no JSON":                            "line 1, column 3: invalid character 'n'",
		"{\n  \"conversationId\": 1,\n  é: 2}": "line 3, column 3: invalid character",
		"{\"é\": 1,}":                          "line 1, column 9: invalid character '}'",
		`{"conversationId": 1`:                 "line 1, column 20: unexpected end of JSON input",
		"{\"conversationId\": \"\xff\"}":       "line 1, column 21: byte 0xff is not UTF-8",
		strings.Repeat("[", 9000) + "1" + strings.Repeat("]", 9000): "nested too deep",
		`{'conversationId': 1, "password": "hunter2"}`:              "line 1, column 2: invalid character '\\''",
	} {
		r := httptest.NewRequest(http.MethodPost, "/events/message.sent", strings.NewReader(body))
		r.SetPathValue("key", "message.sent")
		r.Header.Set("Authorization", "Bearer t")
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		answer := strings.ReplaceAll(w.Body.String(), `\\`, `\`)
		if w.Code != http.StatusBadRequest || !strings.Contains(answer, want) || !strings.Contains(answer, `"reason":"not_json"`) {
			t.Errorf("%.40q: %d %s, want %s", body, w.Code, answer, want)
		}
		if strings.Contains(answer, "hunter2") || strings.Contains(answer, "no JSON") {
			t.Errorf("%.40q: the answer repeats the body: %s", body, answer)
		}
	}
}
