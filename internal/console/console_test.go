package console

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func serve(t *testing.T, config Config) http.Handler {
	t.Helper()
	p, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	p.Register(mux)
	return mux
}

var figures = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

func ask(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// everything returns the paths of the page and all files that it refers to.
func everything(t *testing.T, h http.Handler) []string {
	t.Helper()
	reference := regexp.MustCompile(`(?:from |src=|href=)"(/console/[^"]+)"`)
	paths := []string{"/"}
	for i := 0; i < len(paths); i++ {
		w := ask(h, "GET", paths[i])
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Fatalf("%s: %d, %d bytes", paths[i], w.Code, w.Body.Len())
		}
		for _, match := range reference.FindAllStringSubmatch(w.Body.String(), -1) {
			if !slices.Contains(paths, match[1]) {
				paths = append(paths, match[1])
			}
		}
	}
	return paths
}

func TestThePageHasAllItsFiles(t *testing.T) {
	h := serve(t, Config{})
	paths := everything(t, h)
	types := map[string]string{
		"/":                             "text/html; charset=utf-8",
		"/console/console.css":          "text/css; charset=utf-8",
		"/console/console.js":           "text/javascript; charset=utf-8",
		"/console/socket.io.esm.min.js": "text/javascript; charset=utf-8",
		"/console/icon.svg":             "image/svg+xml",
		"/console/licences.txt":         "text/plain; charset=utf-8",
	}
	for path, want := range types {
		if !slices.Contains(paths, path) {
			t.Errorf("no file of the page refers to %s", path)
		}
		if got := ask(h, "GET", path).Header().Get("Content-Type"); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	embeddedFiles, err := embedded.ReadDir("page")
	if err != nil || len(embeddedFiles) != len(paths) {
		t.Errorf("%d files are embedded, %d are used: %v", len(embeddedFiles), len(paths), paths)
	}
}

func TestThePageLoadsNothingForeignOrInline(t *testing.T) {
	h := serve(t, Config{Figures: figures, Publishing: true, PublishToken: true, Mint: func(string) (string, error) { return "", nil }})
	for _, path := range everything(t, h) {
		header := ask(h, "GET", path).Header()
		policy := header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy lacks %s", path, want)
			}
		}
		if strings.Contains(policy, "unsafe") || header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", path, header)
		}
	}
	page := ask(h, "GET", "/").Body.String()
	foreign := regexp.MustCompile(`<style|<script>|\s(style|on[a-z]+)=|(src|href)="(https?:)?//`)
	if found := foreign.FindString(page); found != "" {
		t.Errorf("the page has %s, which its policy forbids", found)
	}
}

func TestThePageIsCachedByETag(t *testing.T) {
	h := serve(t, Config{Version: "1"})
	for _, path := range everything(t, h) {
		w := ask(h, "GET", path)
		etag := w.Header().Get("ETag")
		if len(etag) < 10 || w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: headers %v", path, w.Header())
		}
		policy := w.Header().Get("Content-Security-Policy")
		w = ask(h, "GET", path, "If-None-Match", `"other", W/`+etag)
		if w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("%s: status %d with its ETag, want 304", path, w.Code)
		}
		if w.Header().Get("Content-Security-Policy") != policy {
			t.Errorf("%s: the Content-Security-Policy of a 304 differs", path)
		}
		if w := ask(h, "GET", path, "If-None-Match", `"other"`); w.Code != http.StatusOK {
			t.Errorf("%s: status %d with another ETag, want 200", path, w.Code)
		}
	}
	before, after := ask(h, "GET", "/"), ask(serve(t, Config{Version: "2"}), "GET", "/")
	if before.Header().Get("ETag") == after.Header().Get("ETag") {
		t.Error("the page of another version has the same ETag")
	}
}

// With CONSOLE_TOKEN the page, its files, tokens and figures require the token as a
// password or a bearer token.
func TestThePageRequiresItsToken(t *testing.T) {
	config := Config{
		Token:   "s3cret",
		Figures: figures,
		Mint:    func(string) (string, error) { return "token", nil },
		Local:   func(*http.Request) bool { return true },
	}
	guarded := serve(t, config)
	config.Token = ""
	open := serve(t, config)
	for _, c := range []struct {
		name, authorization string
		status              int
	}{
		{"nobody", "", 401},
		{"a password", "Basic YW55OnMzY3JldA==", 200}, // any:s3cret
		{"a wrong password", "Basic YW55OnMzY3JlVA==", 401},
		{"the token as user name", "Basic czNjcmV0OmFueQ==", 401},
		{"a bearer", "Bearer s3cret", 200},
		{"a wrong bearer", "Bearer s3cre", 401},
		{"an empty bearer", "Bearer ", 401},
		{"another scheme", "Digest s3cret", 401},
	} {
		requests := map[string]string{"/console/token?user=1": "POST", "/console/figures": "GET"}
		for _, path := range everything(t, open) {
			requests[path] = "GET"
		}
		for path, method := range requests {
			w := ask(guarded, method, path, "Authorization", c.authorization)
			if w.Code != c.status {
				t.Errorf("%s, %s: %d, want %d", c.name, path, w.Code, c.status)
			}
			if asked := w.Header().Get("WWW-Authenticate") != ""; asked != (c.status == 401) {
				t.Errorf("%s, %s: asks for a password: %v, want the opposite", c.name, path, asked)
			}
		}
	}
}

func TestTokensAreMintedForLocalRequestsOnly(t *testing.T) {
	local := true
	config := Config{
		Local: func(*http.Request) bool { return local },
		Mint: func(user string) (string, error) {
			if user == "bad" {
				return "", errors.New("no secret")
			}
			return "token of " + user, nil
		},
	}
	h := serve(t, config)
	for _, c := range []struct {
		method, user string
		local        bool
		status       int
		body         string
	}{
		{"POST", "a%26b", true, 200, `{"token":"token of a\u0026b"}`},
		{"POST", "ann", false, 403, "own machine"},
		{"POST", "", true, 400, "0 bytes, want 1 to 256"},
		{"POST", strings.Repeat("x", 257), true, 400, "257 bytes"},
		{"POST", "bad", true, 500, "no secret"},
		{"GET", "ann", true, 405, ""},
	} {
		local = c.local
		w := ask(h, c.method, "/console/token?user="+c.user)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s %.20q: %d %s, want %d %s", c.method, c.user, w.Code, w.Body, c.status, c.body)
		}
	}
	config.Mint = nil
	if w := ask(serve(t, config), "POST", "/console/token?user=ann"); w.Code != http.StatusNotFound {
		t.Errorf("without Mint: status %d, want 404", w.Code)
	}
}

func TestThePageShowsOnlyAvailableFeatures(t *testing.T) {
	mint := func(string) (string, error) { return "", nil }
	for _, c := range []struct {
		name          string
		config        Config
		has, hasNever []string
	}{
		{"development", Config{Environment: "development", Version: "v1<2", Publishing: true, Figures: figures, Mint: mint},
			[]string{"development", "v1&lt;2", `id="user"`, `id="publish"`, `id="figure-list"`}, []string{`id="publish-token"`, "No figures", "is closed"}},
		{"production", Config{Publishing: true, PublishToken: true, Figures: figures},
			[]string{`id="publish"`, `id="publish-token"`}, []string{`id="user"`}},
		{"closed", Config{}, []string{"Publishing over HTTP is closed", "No figures"}, []string{`id="publish"`, `id="figure-list"`, `id="user"`}},
	} {
		page := ask(serve(t, c.config), "GET", "/").Body.String()
		for _, want := range c.has {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the page lacks %s", c.name, want)
			}
		}
		for _, never := range c.hasNever {
			if strings.Contains(page, never) {
				t.Errorf("%s: the page has %s", c.name, never)
			}
		}
	}
}
