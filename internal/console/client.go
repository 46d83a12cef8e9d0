package console

import (
	_ "embed"
	"net/http"
	"strings"
)

//go:embed client/socket.io.min.js
var script []byte // for <script src>; it defines io

//go:embed page/socket.io.esm.min.js
var module []byte // for import

// RegisterClient adds socket.io-client to mux, at the path from which
// Socket.IO's own server serves it.
func RegisterClient(mux *http.ServeMux) {
	plain, esm := newClientFile(script), newClientFile(module)
	mux.Handle("GET /socket.io/socket.io.js", plain)
	mux.Handle("GET /socket.io/socket.io.min.js", plain)
	mux.Handle("GET /socket.io/socket.io.esm.min.js", esm)
}

// A clientFile is a build of socket.io-client, for pages of any origin.
type clientFile struct{ file }

func newClientFile(body []byte) *clientFile { return &clientFile{*newFile(".js", body)} }

func (f *clientFile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", "public, max-age=0")
	h.Set("ETag", f.etag)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if strings.Contains(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(f.body)
}
