package loop

import (
	"net/http"
	"time"

	"github.com/hometrip/gateway/codec"
)

// prepareInterval is how often the answers of Config.Prepared are made anew. It
// is one of the few things that an idle process does: each time costs 0.3 ms.
const prepareInterval = time.Second

// answers are the replies that loops give without asking the handler, by path.
// Immutable: each round makes new ones.
type answers struct {
	made     time.Time
	draining bool // made after the drain had begun
	byPath   map[string]*reply
}

// prepare asks the handler for the answers of Config.Prepared. It blocks for as
// long as the handler does.
func (s *Server) prepare() {
	if len(s.config.Prepared) == 0 {
		return
	}
	a := &answers{
		made: time.Now(), draining: s.draining.Load(),
		byPath: make(map[string]*reply, len(s.config.Prepared)),
	}
	for _, path := range s.config.Prepared {
		rec := s.admin.answer([]byte("GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"), "")
		s.admin.finish(rec)
		r := rec.reply()
		a.byPath[path] = &r
	}
	s.answers.Store(a)
}

// keepPrepared calls prepare until the engine ends.
func (s *Server) keepPrepared() {
	every := time.NewTicker(prepareInterval)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			s.prepare()
		case <-s.ctx.Done():
			return
		}
	}
}

// prepared returns the answer to a request, nil when there is none that is
// young enough. One made before a drain began is never given behind that.
func (h *httpConn) prepared(head *codec.Head) *reply {
	a := h.w.server.answers.Load()
	if a == nil || time.Since(a.made) > preparedMaxAge || a.draining != h.w.server.draining.Load() {
		return nil
	}
	if method := string(head.Method); method != http.MethodGet && method != http.MethodHead {
		return nil
	}
	return a.byPath[string(head.Path)]
}

// authorised reports whether a request carries the token of a service.
func (h *httpConn) authorised(head *codec.Head) bool {
	is := h.w.server.live().Authorised
	if is == nil {
		return false
	}
	token := bearerToken(head)
	return token != "" && is(token)
}
