package loop

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"time"
)

// An admin answers what is not Engine.IO (/health, /metrics and the like) with
// an ordinary http.Handler, off the event loops. Safe for concurrent use.
type admin struct {
	handler http.Handler
	log     *slog.Logger
	slots   chan struct{} // one for each batch being answered
	probes  chan struct{} // the same for /health and /ready, which must not wait
}

func newAdmin(h http.Handler, log *slog.Logger) *admin {
	if h == nil {
		h = http.NotFoundHandler()
	}
	return &admin{
		handler: h,
		log:     log,
		slots:   make(chan struct{}, adminRequests),
		probes:  make(chan struct{}, adminRequests),
	}
}

// A job is one request for the handler and what it is answered with.
type job struct {
	exchange *exchange
	request  []byte // head and body
	probe    bool   // for /health or /ready
	reply    reply
}

// serve answers requests of one connection, one after the other, in a
// goroutine of its own, for which there is a bounded number of slots.
func (a *admin) serve(h *httpConn, batch []job) {
	slots := a.slots
	if len(batch) == 1 && batch[0].probe {
		slots = a.probes
	}
	select {
	case slots <- struct{}{}:
	default:
		for i := range batch {
			batch[i].reply = reply{status: http.StatusServiceUnavailable, header: "Retry-After: 1\r\n"}
		}
		h.finish(batch, time.Now())
		return
	}
	remote := ""
	if addr := h.c.RemoteAddr(); addr != nil {
		remote = addr.String()
	}
	go func() {
		defer func() { <-slots }()
		for i := range batch {
			batch[i].reply = a.answer(batch[i].request, remote).reply()
		}
		h.w.shard.Post(func(now time.Time) { h.finish(batch, now) })
	}()
}

// answer runs the handler. A panic of it is answered with 500.
func (a *admin) answer(whole []byte, remote string) (rec *recorder) {
	rec = &recorder{header: make(http.Header)}
	defer func() {
		if r := recover(); r != nil {
			a.log.Error("panic in a request", "request", string(whole[:min(len(whole), 80)]), "panic", r)
			rec = &recorder{header: make(http.Header), status: http.StatusInternalServerError}
		}
	}()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(whole)))
	if err != nil {
		rec.status = http.StatusBadRequest
		return rec
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	r.RemoteAddr = remote
	a.handler.ServeHTTP(rec, r.WithContext(ctx))
	return rec
}

// A recorder is an http.ResponseWriter that keeps what it is given.
type recorder struct {
	header http.Header
	status int // 0: nothing written yet
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// reply turns what was recorded into an exchange's reply. Lengths and CORS are
// the exchange's business.
func (r *recorder) reply() reply {
	contentType, caching := r.header.Get("Content-Type"), r.header.Get("Cache-Control")
	for _, own := range []string{"Content-Type", "Content-Length", "Cache-Control", "Connection", "Date", "X-Content-Type-Options"} {
		r.header.Del(own)
	}
	var lines bytes.Buffer
	_ = r.header.Write(&lines) // to memory
	return reply{
		status:      max(r.status, http.StatusOK),
		contentType: contentType,
		caching:     caching,
		header:      lines.String(),
		body:        r.body.Bytes(),
	}
}
