package main

import (
	"net/http"
	"time"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/console"
	"github.com/hometrip/gateway/upstream"
)

// Values of CONSOLE.
const (
	consoleAuto = "auto"
	consoleOn   = "true"
	consoleOff  = "false"
)

// developmentTTL is how long the tokens are good that development gives away.
const developmentTTL = 24 * time.Hour

// hasConsole reports whether GET / is the console.
func (c Config) hasConsole() bool {
	return c.Console == consoleOn || c.Console == consoleAuto && !c.deployed()
}

// mintsTokens reports whether the gateway makes tokens for who tries it.
func (c Config) mintsTokens() bool {
	return c.Environment == development && c.JWTSecret != ""
}

// showsFigures reports whether the console has figures to show: not if metrics
// are kept from who asks on PORT, and the console is not.
func (c Config) showsFigures() bool {
	return c.Metrics && (c.ConsoleToken != "" || c.MetricsToken == "" && c.AdminAddr == "")
}

// handleFigures answers the console once a second. It does without the names
// of rooms, which carry user ids.
func (g *Gateway) handleFigures(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, g.snapshot(0))
}

// console returns the page to try the gateway with, nil without.
func (g *Gateway) console() (*console.Page, error) {
	cfg := g.cfg()
	if !cfg.hasConsole() {
		return nil, nil
	}
	page := console.Config{
		Environment:  cfg.Environment,
		Version:      version(),
		Token:        cfg.ConsoleToken,
		Publishing:   cfg.PublishToken != "" || !cfg.deployed(),
		PublishToken: cfg.PublishToken != "",
		Local:        upstream.Local,
	}
	if cfg.showsFigures() {
		page.Figures = http.HandlerFunc(g.handleFigures)
	}
	if cfg.mintsTokens() {
		page.Mint = func(user string) (string, error) {
			return mint(cfg, auth.Grant{UserID: user, TTL: developmentTTL}, time.Now())
		}
	}
	return console.New(page)
}
