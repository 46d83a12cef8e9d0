package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// rowLength is how long an attack lasts that needs no longer.
const rowLength = 3 * time.Second

// A row is one threat: who sends what, and what stops it.
type row struct {
	name   string
	threat string
	stops  string // limits and settings
	setup  *setup
	length time.Duration // 0: rowLength
	full   bool          // nobody else gets in, so /health is asked for on ADMIN_ADDR
	attack func(*attack)
	moved  []string // figures of the gateway that must have grown
	still  []string // and that must not have
}

// never are figures that no attack may move.
var never = []string{"panics_total", `sessions_closed_total{reason="panic"}`, `log_records_dropped_total`}

// rows are in the order of the threat table: from the first byte to the last.
var rows = slices.Concat(httpRows, frameRows, roomRows, limitRows, tokenRows)

func chooseRows(names string) ([]*row, error) {
	if names == "" {
		return rows, nil
	}
	var chosen []*row
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(rows, func(r *row) bool { return r.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("row %q: -list prints those there are", name)
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}

func printRows(w io.Writer) {
	for _, r := range rows {
		fmt.Fprintf(w, "%-16s %s\n%16s stopped by %s\n", r.name, r.threat, "", r.stops)
	}
}

func (r *row) lasts() time.Duration {
	if r.length > 0 {
		return r.length
	}
	return rowLength
}
