// Package console is the page to try the gateway with and to watch it: plain
// files in the binary, which need nothing from elsewhere.
//
//	GET  /                 the page
//	GET  /console/{file}   what it is made of
//	GET  /console/figures  the gateway's figures
//	POST /console/token    a token for ?user=, in development
//	GET  /console/{document}  what clients and services rely on, for programs
//
// It also serves socket.io-client under /socket.io/, see RegisterClient.
// page/socket.io.esm.min.js, client/socket.io.min.js and their licences are
// copied from npm by "make console-client".
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/hometrip/gateway/internal/bearer"
)

const (
	index  = "console.html"
	folder = "/console/"

	// maxUserID is the longest user id that the token endpoint accepts, in
	// bytes.
	maxUserID = 256
)

//go:embed page
var embedded embed.FS

// Config is the configuration of a Page.
type Config struct {
	Environment string
	Version     string
	Token       string // password for the page, or bearer token; "": none is asked for

	Publishing   bool // whether POST /events/{key} is open to anybody
	PublishToken bool // and wants a token

	// Figures serves the figures that the page shows. Nil: there are none.
	Figures http.Handler

	// Documents makes documents, by the names under which they are served.
	Documents map[string]func() []byte

	// Mint returns a token for a user. Nil: users have to bring a token.
	Mint func(user string) (string, error)

	// Local reports whether a request comes from this machine. Others get no
	// token from Mint.
	Local func(*http.Request) bool
}

// A Page is the console, rendered. Safe for concurrent use.
type Page struct {
	config Config
	files  map[string]*file // by pattern
}

// New renders the page.
func New(config Config) (*Page, error) {
	p := &Page{config: config, files: make(map[string]*file)}
	err := fs.WalkDir(embedded, "page", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		pattern := folder + path.Base(name)
		if path.Base(name) == index {
			pattern = "/{$}"
			if body, err = render(body, config); err != nil {
				return err
			}
		}
		p.files[pattern] = newFile(name, body)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	return p, nil
}

func render(text []byte, config Config) ([]byte, error) {
	t, err := template.New(index).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	err = t.Execute(&page, config)
	return page.Bytes(), err
}

// Register adds the console's endpoints to mux.
func (p *Page) Register(mux *http.ServeMux) {
	for pattern, f := range p.files {
		mux.Handle("GET "+pattern, p.guard(f))
	}
	if p.config.Figures != nil {
		mux.Handle("GET "+folder+"figures", p.guard(p.config.Figures))
	}
	for name, text := range p.config.Documents {
		mux.Handle("GET "+folder+name, p.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			newFile(name, text()).ServeHTTP(w, r)
		})))
	}
	if p.config.Mint != nil {
		mux.Handle("POST "+folder+"token", p.guard(http.HandlerFunc(p.token)))
	}
}

// guard requires the token, if there is one. A browser asks its user for it as
// the password of HTTP Basic; the user name does not matter.
func (p *Page) guard(next http.Handler) http.Handler {
	if p.config.Token == "" {
		return next
	}
	want := bearer.New(p.config.Token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, given, ok := r.BasicAuth()
		if !ok {
			given = bearer.Token(r.Header.Get("Authorization"))
		}
		if !want.Has(given) {
			w.Header().Set("WWW-Authenticate", `Basic realm="gateway console", charset="UTF-8"`)
			answer(w, http.StatusUnauthorized, "error", "want CONSOLE_TOKEN, as a password with any user name or as a bearer token")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// token answers with a token for a user. It is a POST, for which browsers send
// the origin of the page: Local refuses other pages than this one.
func (p *Page) token(w http.ResponseWriter, r *http.Request) {
	user := r.URL.Query().Get("user")
	switch {
	case !p.config.Local(r):
		answer(w, http.StatusForbidden, "error",
			"tokens are only made for this page on the gateway's own machine: paste the one the gateway printed, or one of \"gateway token\"")
	case user == "" || len(user) > maxUserID:
		answer(w, http.StatusBadRequest, "error", fmt.Sprintf("a user id of %d bytes, want 1 to %d", len(user), maxUserID))
	default:
		token, err := p.config.Mint(user)
		if err != nil {
			answer(w, http.StatusInternalServerError, "error", err.Error())
			return
		}
		answer(w, http.StatusOK, "token", token)
	}
}

func answer(w http.ResponseWriter, status int, name, value string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{name: value}) // whoever does not read it has gone
}

// contentPolicy lets the page run its own files and connect to its own gateway,
// and nothing else: no inline script or style, no frame, no form to another
// site.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// contentTypes does not depend on the tables of the host, as package mime does.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".json": "application/json; charset=utf-8",
	".svg":  "image/svg+xml",
	".ts":   "text/plain; charset=utf-8",
	".txt":  "text/plain; charset=utf-8",
}

// A file is a part of the page. Immutable.
type file struct {
	body        []byte
	contentType string
	etag        string
}

func newFile(name string, body []byte) *file {
	return &file{
		body:        body,
		contentType: contentTypes[path.Ext(name)],
		etag:        fmt.Sprintf(`"%x"`, sha256.Sum256(body)),
	}
}

func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", "no-cache") // kept, and asked about each time: a new gateway brings a new page
	h.Set("ETag", f.etag)
	// A browser adds the headers of a 304 to the copy that it has, so these are
	// set first.
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if strings.Contains(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(f.body)
}
