package main

import (
	"net/http"
	"time"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/console"
	"github.com/hometrip/gateway/internal/contract"
	"github.com/hometrip/gateway/upstream/publish"
)

// developmentTTL is the validity of the tokens that are issued in development.
const developmentTTL = 24 * time.Hour

// handleFigures answers the console, once a second. It leaves out the names of
// rooms, which contain user ids.
func (g *Gateway) handleFigures(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, g.snapshot(0))
}

// console returns the console's page, nil if it is off.
func (g *Gateway) console() (*console.Page, error) {
	cfg := g.cfg()
	if !cfg.HasConsole() {
		return nil, nil
	}
	page := console.Config{
		Environment:  cfg.Server.Environment,
		Version:      version(),
		Token:        cfg.Console.Token,
		Publishing:   cfg.Events.PublishToken != "" || !cfg.Deployed(),
		PublishToken: cfg.Events.PublishToken != "",
		Local:        publish.Local,
		Documents: map[string]func() []byte{
			"events.d.ts":   func() []byte { return []byte(contract.TypeScript(g.routes)) },
			"asyncapi.json": func() []byte { return contract.AsyncAPI(g.routes, version()) },
			"openapi.json":  func() []byte { return contract.OpenAPI(version()) },
		},
	}
	if cfg.ShowsFigures() {
		page.Figures = http.HandlerFunc(g.handleFigures)
	}
	if cfg.MintsTokens() {
		page.Mint = func(user string) (string, error) {
			return mint(cfg, auth.Grant{UserID: user, TTL: developmentTTL}, time.Now())
		}
	}
	return console.New(page)
}
