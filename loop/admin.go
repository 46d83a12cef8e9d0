package loop

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"
)

// An admin answers requests that are not Engine.IO (/health, /metrics and so
// on) with an ordinary http.Handler, outside of the event loops. Safe for
// concurrent use.
type admin struct {
	handler    http.Handler
	log        *slog.Logger
	authorised *crew // for requests with one of the service tokens, which must not wait for others
	others     *crew
}

func newAdmin(h http.Handler, log *slog.Logger) *admin {
	if h == nil {
		h = http.NotFoundHandler()
	}
	return &admin{handler: h, log: log, authorised: newCrew(), others: newCrew()}
}

// A crew limits the number of goroutines that answer batches of requests.
type crew struct {
	slots   chan struct{} // one for each batch whose handlers run
	batches atomic.Int64  // of these and of those that wait
	bytes   atomic.Int64  // of their requests
}

func newCrew() *crew { return &crew{slots: make(chan struct{}, adminHandlers)} }

// enlist reserves a place for one more batch and reports whether there was one.
// If no other batch is there, size is not limited.
func (c *crew) enlist(size int64) bool {
	batches, bytes := c.batches.Add(1), c.bytes.Add(size)
	if batches == 1 || batches <= adminBatches && bytes <= adminBytes {
		return true
	}
	c.batches.Add(-1)
	c.bytes.Add(-size)
	return false
}

// A job is one request for the handler, and its answer.
type job struct {
	exchange   *exchange
	request    []byte // head and body
	authorised bool   // with a service token, as all of its batch
	reply      reply
}

// serve answers requests of one connection in a goroutine of its own, unless
// too many wait already. Parts that handlers deferred with Later run after all
// of them have been called, outside of the limit for handlers.
func (a *admin) serve(h *httpConn, batch []job) {
	crew, size := a.others, int64(0)
	if batch[0].authorised {
		crew = a.authorised
	}
	for i := range batch {
		size += int64(len(batch[i].request))
	}
	if !crew.enlist(size) {
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
		records := make([]*recorder, len(batch))
		crew.slots <- struct{}{}
		for i := range batch {
			records[i] = a.answer(batch[i].request, remote)
			batch[i].request = nil
		}
		<-crew.slots
		crew.bytes.Add(-size)
		for i, rec := range records {
			a.finish(rec)
			batch[i].reply = rec.reply()
		}
		crew.batches.Add(-1)
		h.w.shard.Post(func(now time.Time) { h.finish(batch, now) })
	}()
}

// answer runs the handler.
func (a *admin) answer(whole []byte, remote string) *recorder {
	rec := &recorder{header: make(http.Header)}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(whole)))
	if err != nil {
		rec.status = http.StatusBadRequest
		return rec
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	rec.cancel, rec.line = cancel, whole[:min(len(whole), 80)]
	r.RemoteAddr = remote
	a.run(rec, func() { a.handler.ServeHTTP(rec, r.WithContext(ctx)) })
	return rec
}

// finish runs the part that the handler deferred with Later.
func (a *admin) finish(rec *recorder) {
	if rec.later != nil {
		a.run(rec, rec.later)
	}
	if rec.cancel != nil {
		rec.cancel()
	}
}

// run runs a part of a handler. If it panics, the answer is 500.
func (a *admin) run(rec *recorder, part func()) {
	defer func() {
		if r := recover(); r != nil {
			a.log.Error("panic in a request", "request", string(rec.line), "panic", r)
			rec.header, rec.body, rec.later = make(http.Header), bytes.Buffer{}, nil
			rec.status = http.StatusInternalServerError
		}
	}()
	part()
}

// A recorder is an http.ResponseWriter that stores the answer.
type recorder struct {
	header http.Header
	status int // 0: nothing written yet
	body   bytes.Buffer

	line   []byte // the beginning of the request, for the log
	cancel func() // of the request's context; nil: there is none
	later  func() // nil: the handler has answered
}

// Later defers the last part of a handler, which waits and then answers, until
// the handlers of the following requests on the connection have been called.
// The request's context lasts until then.
func (r *recorder) Later(part func()) { r.later = part }

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

// reply returns the recorded answer as the reply of an exchange. The exchange
// adds Content-Length and CORS headers.
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
